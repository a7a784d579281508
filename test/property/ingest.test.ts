import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openWriter, STREAMED } from "../../src/cli/formats.ts";
import { type Connection, identifier, literal, openDuck } from "../../src/engine/duckdb/duckdb.ts";
import { type Engine, openEngine } from "../../src/engine/engine.ts";
import type { IngestRequest } from "../../src/engine/ingest/request.ts";
import type { Json } from "../../src/engine/kernel/json.ts";
import { openScope, type Scope } from "../../src/engine/kernel/scope.ts";
import { type GeneratedColumn, generatedColumns, ROWS, selectOf } from "../support/generated.ts";
import { testSettings } from "../support/lake.ts";

/** More of them: LAKEHOUSE_PROPERTY_RUNS=500. */
const RUNS = Number(process.env.LAKEHOUSE_PROPERTY_RUNS ?? 6);

let scope: Scope;
let folder: string;
let engine: Engine;
let bare: Connection;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "property-ingest-"));
  await mkdir(join(folder, "inbox"));
  engine = await openEngine(testSettings(folder));
  scope = openScope();
  const duck = await openDuck(scope, {
    folders: [join(folder, "inbox")],
    memoryBytes: 256 * 2 ** 20,
    threads: 2,
    tempFolder: join(folder, "tmp"),
    maxTempBytes: 2 ** 30,
  });
  bare = await duck.connect();
});
afterAll(async () => {
  bare.close();
  await scope.close();
  await engine.close();
  await rm(folder, { recursive: true, force: true });
});

const MAX = { maxRows: 100, maxBytes: 2 ** 22 };
const COPIES = {
  parquet: "FORMAT parquet, GEOPARQUET_VERSION 'NONE'",
  json: "FORMAT json, ARRAY true",
  ndjson: "FORMAT json",
  csv: "FORMAT csv",
};
type Kind = "sql" | keyof typeof COPIES;
const FILES = ["parquet", "json", "ndjson", "csv"] as const;

/** A source with these rows, and the SQL that reads it without the lake; undefined where DuckDB cannot write it. */
async function sourceOf(kind: Kind, select: string, name: string): Promise<Given | undefined> {
  if (kind === "sql") return { source: { sql: select }, read: `(${select})` };
  const path = join(folder, "inbox", `${name}.${kind}`);
  try {
    await bare.run(`COPY (${select}) TO ${literal(path)} (${COPIES[kind]})`);
  } catch {
    return undefined;
  }
  return { source: { path }, read: kind === "parquet" ? `read_parquet(${literal(path)})` : undefined };
}

interface Given {
  source: IngestRequest["source"];
  /** Undefined where types are a matter of taste. */
  read: string | undefined;
}

let datasets = 0;

/** Loads, looks at it in every way, appends, and looks again. Returns whether it was loaded. */
async function loadAndLook(kind: Kind, columns: readonly GeneratedColumn[]): Promise<boolean> {
  const name = `t${datasets++}`;
  const given = await sourceOf(kind, selectOf(columns, "all"), name);
  const other = await sourceOf(kind, selectOf(columns, "other"), `${name}_more`);
  if (!given || !other) return false;
  try {
    await engine.ingest({ name, source: given.source });
  } catch (error) {
    refusedByName(error, kind === "sql" ? "" : `${name}.${kind}`, columns);
    return false;
  }
  const { manifest } = await engine.describe(name);
  const names = manifest.columns.map((column) => column.name);
  if (given.read !== undefined) await compare(kind, name, given.read, columns, manifest.columns);
  await look(name, names, ROWS);
  try {
    await engine.ingest({ name, source: other.source, mode: "append" });
  } catch (error) {
    // What types were inferred from may not be in one row.
    if (given.read !== undefined) throw error;
    refusedByName(error, `${name}_more.${kind}`, columns, name);
    return true;
  }
  await look(name, names, ROWS + 1);
  await look(`${name}@1`, names, ROWS);
  return true;
}

/** A refusal says which file or which column it is about, and what to do. */
function refusedByName(error: unknown, file: string, columns: readonly GeneratedColumn[], dataset?: string): void {
  const { name, kind, message, hint } = error as { name: string; kind: string; message: string; hint?: string };
  expect(name, String((error as Error).stack)).toBe("LakeError");
  // What a statement may not cast to is refused before it runs.
  if (kind === "denied" && message.includes("BIGNUM")) return;
  expect(["invalid", "conflict", "limit"], message).toContain(kind);
  const named = [...columns.map((column) => JSON.stringify(column.name)), ...columns.map((column) => column.name)];
  const subjects = [file, dataset ?? "", ...named].filter((subject) => subject !== "");
  expect(
    subjects.some((subject) => message.includes(subject)),
    message,
  ).toBe(true);
  expect(hint, message).toBeDefined();
}

/** Every value is what DuckDB reads from the source: as text, and as a result where the type is the same. */
async function compare(
  kind: Kind,
  name: string,
  read: string,
  columns: readonly GeneratedColumn[],
  stored: readonly { name: string; type: string }[],
): Promise<void> {
  const described = await bare.rows<{ column_name: string; column_type: string }>(`DESCRIBE FROM ${read}`);
  expect(stored.map((column) => column.name)).toEqual(described.map(({ column_name }) => column_name));
  for (const [at, column] of columns.entries()) {
    const from = described[at + 1]?.column_type ?? "";
    const to = stored[at + 1]?.type ?? "";
    const quoted = identifier(column.name);
    if (to === "JSON" && from !== "JSON") continue;
    const asText = `CAST(${quoted} AS VARCHAR)`;
    // DuckDB reads these from Parquet as TIME WITH TIME ZONE in UTC, and as a UNION's fields without names.
    const isOther = kind === "parquet" && /TIME WITH TIME ZONE|STRUCT\([A-Z]+[,)]/.test(from);
    const rightText = isOther ? `CAST(CAST(${quoted} AS ${to}) AS VARCHAR)` : asText;
    const [right, got] = [
      await bare.rows<{ v: string | null }>(`SELECT ${rightText} AS v FROM ${read} ORDER BY n`),
      await engine.query(`SELECT ${asText} FROM ${name} ORDER BY n`, MAX),
    ];
    expect(got.rows.flat(), `${column.name} ${from} → ${to}`).toEqual(right.map(({ v }) => v));
  }
}

/** Nothing that was acknowledged fails when it is looked at. */
async function look(reference: string, names: readonly string[], rows: number): Promise<void> {
  const table = identifier(reference);
  const all = await engine.query(`FROM ${table} ORDER BY n`, MAX);
  expect(all.row_count).toBe(rows);
  expect(all.columns.map(({ name }) => name)).toEqual(names);
  for (const [at, name] of names.entries()) {
    const column = identifier(name);
    const one = await engine.query(`SELECT ${column} FROM ${table} ORDER BY n`, MAX);
    expect(one.rows.flat(1), name).toEqual(all.rows.map((row) => row[at]));
    const is = `${column} IS NOT DISTINCT FROM (SELECT ${column} FROM ${table} WHERE n = 0)`;
    expect((await engine.query(`SELECT 1 FROM ${table} WHERE ${is}`, MAX)).row_count, name).toBeGreaterThan(0);
    const known = await engine.query(`SELECT count(${column})::INTEGER FROM ${table} WHERE ${column} IS NOT NULL`, MAX);
    expect(known.rows[0]?.[0], name).toBe(all.rows.filter((row) => row[at] !== null).length);
  }
  expect((await engine.query(`DESCRIBE ${table}`, MAX)).row_count).toBe(names.length);
  await summarize(table, names);
  expect((await engine.describe(reference)).manifest.rows).toBe(rows);
  await exportAll(table, all.rows);
}

/** DuckDB has no average of some types and values, and fails as a whole: then the hint says what to do. */
async function summarize(table: string, names: readonly string[]): Promise<void> {
  const summary = await engine.query(`SUMMARIZE ${table}`, MAX).catch((error: { hint?: string }) => {
    expect(error.hint, String(error)).toContain("SUMMARIZE SELECT *");
    return undefined;
  });
  if (summary) expect(summary.row_count).toBe(names.length);
}

async function exportAll(table: string, rows: readonly Json[][]): Promise<void> {
  for (const format of STREAMED) {
    let text = "";
    let writer: ReturnType<typeof openWriter> | undefined;
    await engine.stream(`FROM ${table} ORDER BY n`, {
      onRows: async (some, columns) => {
        if (!writer) {
          writer = openWriter(format, columns);
          text += writer.head;
        }
        text += writer.rows(some);
      },
    });
    text += writer?.tail ?? "";
    if (format === "json") {
      const exported = (JSON.parse(text) as object[]).map((row) => cells(Object.values(row)));
      expect(exported).toEqual(rows.map((row) => cells(row)));
    }
    if (format === "ndjson")
      expect(
        text
          .trimEnd()
          .split("\n")
          .map((line) => JSON.parse(line)).length,
      ).toBe(rows.length);
    if (format === "markdown") expect(text.trimEnd().split("\n").length).toBe(rows.length + 2);
  }
}

/** In any order: JavaScript has its own for keys such as 1. */
function cells(row: readonly unknown[]): string[] {
  return row.map((cell) => JSON.stringify(cell)).sort();
}

test(
  "what was loaded can be selected, described, filtered, exported and appended to, and is what it was",
  async () => {
    let loaded = 0;
    await fc.assert(
      fc.asyncProperty(generatedColumns, fc.constantFrom("sql" as const, ...FILES), async (columns, kind) => {
        const taken = columns.filter(({ name }) => name !== "n");
        if (await loadAndLook(kind, taken)) loaded += 1;
      }),
      {
        numRuns: RUNS,
        ...(process.env.LAKEHOUSE_PROPERTY_SEED && { seed: Number(process.env.LAKEHOUSE_PROPERTY_SEED) }),
        endOnFailure: true,
      },
    );
    // Else too little was put to the test.
    expect(loaded).toBeGreaterThan(RUNS / 3);
  },
  60_000 + RUNS * 10_000,
);
