import { expect } from "vitest";
import { openRandom, sorted } from "./vectors.ts";

/** Rows or items by id; undefined for a dataset that is dropped, or never was. */
export type Content = ReadonlyMap<string, string> | undefined;

export type Write = { after: Content } & (
  | { do: "append" | "replace" | "upsert"; values: ReadonlyMap<string, string> }
  | { do: "delete"; ids: string[] }
  | { do: "restore"; version: number }
  | { do: "create" | "drop" }
);

/** What a client remembers of a dataset that it alone writes to, one write after the other. */
export interface Ledger {
  name: string;
  kind: "table" | "vectors";
  content: Content;
  /** The newest version that it knows of. An index gets others by itself, when it is compacted. */
  version: number;
  /** Versions that were acknowledged. */
  versions: Map<number, Content>;
  /** Asked for, and not answered yet, or never. */
  pending: Write | undefined;
}

export function openLedger(name: string, kind: Ledger["kind"]): Ledger {
  return { name, kind, content: undefined, version: 0, versions: new Map(), pending: undefined };
}

/** A write that changes something; `tag` is in everything that it writes, and nothing else has it. */
export function chooseWrite(ledger: Ledger, tag: string, dice: number): Write {
  const random = openRandom(dice + 1);
  random();
  const roll = random();
  const { content, kind } = ledger;
  const back = restorable(ledger);
  if (back.length > 0 && roll < 0.08) {
    const [version, after] = back[Math.floor(random() * back.length)] ?? [0, undefined];
    return { do: "restore", version, after };
  }
  if (!content) return kind === "vectors" ? { do: "create", after: new Map() } : replace(tag);
  if (roll < 0.2) return { do: "drop", after: undefined };
  if (kind === "table") {
    if (roll < 0.45) return replace(tag);
    const values = rows(tag);
    return { do: "append", values, after: new Map([...content, ...values]) };
  }
  if (roll < 0.45 && content.size > 0) {
    const ids = [...content.keys()].filter(() => random() < 0.3);
    if (ids.length > 0) {
      return { do: "delete", ids, after: new Map([...content].filter(([id]) => !ids.includes(id))) };
    }
  }
  // Now and then so many that graphs of them are saved.
  const [from, size] = roll > 0.9 ? [0, 300] : [Math.floor(random() * 300), 3];
  const values = new Map(Array.from({ length: size }, (_, i) => [`i${from + i}`, tag]));
  return { do: "upsert", values, after: new Map([...content, ...values]) };
}

/** What was acknowledged with another content than there is now. */
function restorable({ versions, content }: Ledger): [number, Content][] {
  return [...versions].filter(([, then]) => then && printed(then) !== printed(content)).slice(-4);
}

function replace(tag: string): Write {
  const values = rows(tag);
  return { do: "replace", values, after: values };
}

/** Several, to see that all of them come or none. */
const rows = (tag: string): Map<string, string> => new Map([0, 1, 2].map((row) => [`${tag}-${row}`, tag]));

export function acknowledge(ledger: Ledger, version: number): void {
  const { pending } = ledger;
  if (!pending) throw new Error("nothing was asked for");
  const next = ledger.version + 1;
  if (ledger.kind === "table") expect(version, `${ledger.name}: ${pending.do}`).toBe(next);
  else expect(version, `${ledger.name}: ${pending.do}`).toBeGreaterThanOrEqual(next);
  Object.assign(ledger, { content: pending.after, version, pending: undefined });
  ledger.versions.set(version, pending.after);
}

/** Whether what is there now has everything that was acknowledged, and what was not wholly or not at all. */
export function settle(ledger: Ledger, seen: Content): "nothing" | "done" | "not done" {
  const { pending, content } = ledger;
  if (!pending) {
    expect(printed(seen), `${ledger.name} has lost something`).toBe(printed(content));
    return "nothing";
  }
  const allowed = [printed(content), printed(pending.after)];
  expect(allowed, `${ledger.name}: ${pending.do} was done in part`).toContain(printed(seen));
  const done = printed(seen) === printed(pending.after);
  Object.assign(ledger, { pending: undefined, ...(done && { content: seen, version: ledger.version + 1 }) });
  return done ? "done" : "not done";
}

export function printed(content: Content): string {
  return content ? sorted([...content].map(([id, value]) => `${id}=${value}`)).join(",") : "none";
}

/** What a statement says about a dataset in one row. */
export function contentSql({ name, kind }: Pick<Ledger, "name" | "kind">): string {
  const value = kind === "table" ? "v" : "json_extract_string(metadata, '$.v')";
  return `SELECT string_agg(id || '=' || ${value}, ',' ORDER BY id) FROM ${name}`;
}

export function parseContent(row: unknown): Content {
  const text = typeof row === "string" ? row : "";
  return new Map(text === "" ? [] : text.split(",").map((pair) => pair.split("=") as [string, string]));
}

export function csvOf(values: ReadonlyMap<string, string>): string {
  return `id,v\n${[...values].map(([id, value]) => `${id},${value}`).join("\n")}\n`;
}

export function itemsOf(values: ReadonlyMap<string, string>) {
  return [...values].map(([id, value]) => ({ id, vector: [Number(id.slice(1)) + 1, 1, 0.5], metadata: { v: value } }));
}
