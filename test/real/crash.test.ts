import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Engine, openEngine } from "../../src/engine/engine.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import { openScope, type Scope } from "../../src/engine/kernel/scope.ts";
import { openMemoryStore } from "../../src/engine/store/memory.ts";
import type { Store } from "../../src/engine/store/store.ts";
import { goneProcess } from "../engine/jobs/support.ts";
import { VECTOR } from "../support/embedder.ts";
import { type Fault, faultyStore } from "../support/faulty-store.ts";
import { testSettings } from "../support/lake.ts";
import {
  acknowledge,
  type Content,
  chooseWrite,
  contentSql,
  csvOf,
  itemsOf,
  type Ledger,
  openLedger,
  parseContent,
  printed,
  settle,
  type Write,
} from "../support/ledger.ts";
import { openRandom } from "../support/vectors.ts";

/** What the engine takes for its store in memory. */
const given = vi.hoisted(() => ({ store: undefined as Store | undefined }));
vi.mock("../../src/engine/store/memory.ts", async (original) => {
  const real = await original<{ openMemoryStore: typeof openMemoryStore }>();
  return { ...real, openMemoryStore: (...args: [Scope]) => given.store ?? real.openMemoryStore(...args) };
});

const HOUR = 3_600_000;
/** What a process that is gone was writing. */
const TORN = `put-${hostname().replace(/[^A-Za-z0-9]/g, "")}-${await goneProcess()}-00000000-0000-4000-8000-000000000000`;

let scope: Scope;
let folder: string;
let time: number;
const clock = { now: () => new Date(time) };

beforeEach(async () => {
  scope = openScope();
  folder = await mkdtemp(join(tmpdir(), "lakehouse-crash-"));
  scope.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  time = Date.parse("2026-01-01T00:00:00Z");
});
afterEach(async () => {
  given.store = undefined;
  await scope.close();
});

type Step = { of: "rows" | "items" | "gc"; dice: number };

const script: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    of: fc.constantFrom("rows" as const, "items" as const, "items" as const, "rows" as const, "gc" as const),
    dice: fc.nat(2 ** 31 - 1),
  }),
  { minLength: 8, maxLength: 14 },
);

function newStore(): Store {
  given.store = undefined;
  return openMemoryStore(scope, clock);
}

/** An engine over `store`, which outlives it. */
async function openOver(store: Store): Promise<Engine> {
  given.store = { ...store, close: async () => undefined };
  const settings = testSettings(folder, { vector: { ...VECTOR, quietMs: 5 }, clock, log: () => undefined });
  return openEngine({ ...settings, data: "memory" });
}

async function perform(engine: Engine, { name }: Ledger, write: Write): Promise<number> {
  switch (write.do) {
    case "append":
    case "replace":
      return (await engine.ingest({ name, source: { text: csvOf(write.values) }, mode: write.do })).version;
    case "upsert":
      return (await engine.upsert(name, itemsOf(write.values))).version;
    case "delete":
      return (await engine.deleteItems({ index: name, ids: write.ids })).version;
    case "create":
      return (await engine.createIndex({ name, dimension: 3 })).version;
    case "drop":
      return (await engine.drop(name)).version;
    case "restore":
      return (await engine.restore(`${name}@${write.version}`)).version;
  }
}

async function read(engine: Engine, ledger: Ledger): Promise<Content> {
  try {
    return parseContent((await engine.query(contentSql(ledger))).rows[0]?.[0]);
  } catch (error) {
    if (error instanceof LakeError && error.kind === "not_found") return undefined;
    throw error;
  }
}

/** Only the newest version stays for sure. */
async function gc(engine: Engine, ledgers: Ledger[]): Promise<void> {
  for (const { versions } of ledgers) versions.clear();
  await engine.gc({ delete: true, retention: { versions: 1, ageMs: 0, graceMs: 2 * HOUR } });
}

interface Change {
  key: string;
  /** Undefined: deleted. */
  bytes: Uint8Array | undefined;
}

/** `store`, and every change that was made to it, in order. */
function recorded(store: Store): { store: Store; changes: Change[] } {
  const changes: Change[] = [];
  return {
    changes,
    store: {
      ...store,
      put: async (key, body, options) => {
        const created = await store.put(key, body, options);
        if (created) changes.push({ key, bytes: await store.get(key) });
        return created;
      },
      delete: async (key) => {
        const was = await store.has(key);
        await store.delete(key);
        if (was) changes.push({ key, bytes: undefined });
      },
    },
  };
}

interface Moment {
  ledger: Ledger;
  before: Content;
  after: Content;
  /** Changes when it was asked for, and when it was acknowledged. */
  from: number;
  to: number;
}

test("after a crash between any two changes what was acknowledged is there, and the rest wholly or not at all", async () => {
  let images = 0;
  const did = new Set<string>();
  await fc.assert(
    fc.asyncProperty(script, async (steps) => {
      const { moments, changes, ledgers } = await runScript(steps, did);
      const image = await mkdtemp(join(folder, "image-"));
      for (let n = 0; n <= changes.length; n++) {
        await expectImage(image, moments, ledgers, n, changes[n]);
        images++;
        const change = changes[n];
        if (!change) break;
        const path = join(image, change.key);
        if (!change.bytes) await rm(path);
        else {
          await mkdir(dirname(path), { recursive: true });
          await writeFile(path, change.bytes);
        }
      }
    }),
    { numRuns: 4, endOnFailure: true, examples: [[ofEverything()]] },
  );
  expect(images).toBeGreaterThan(30);
  for (const what of ["append", "replace", "upsert", "delete", "gc"]) expect([...did]).toContain(what);
}, 900_000);

const EVERYTHING = [
  ...["replace rows", "append rows", "create items", "upsert items", "upsert items", "delete items", "gc"],
  ...[
    "append rows",
    "append rows",
    "restore rows",
    "upsert items",
    "drop rows",
    "replace rows",
    "append rows",
    "delete items",
    "gc",
  ],
];

/** The script that does just these: chance alone leaves some out. */
function ofEverything(): Step[] {
  const ledgers = { rows: openLedger("rows", "table"), items: openLedger("items", "vectors") };
  return EVERYTHING.map((step, at) => {
    if (step === "gc") {
      for (const { versions } of Object.values(ledgers)) versions.clear();
      return { of: "gc", dice: 0 };
    }
    const [wanted, of] = step.split(" ") as [Write["do"], "rows" | "items"];
    const ledger = ledgers[of];
    let dice = 0;
    while (chooseWrite(ledger, `s${at}`, dice).do !== wanted) dice++;
    ledger.pending = chooseWrite(ledger, `s${at}`, dice);
    acknowledge(ledger, ledger.version + 1);
    return { of, dice };
  });
}

async function runScript(steps: Step[], did: Set<string>) {
  const { store, changes } = recorded(newStore());
  const engine = await openOver(store);
  const ledgers = { rows: openLedger("rows", "table"), items: openLedger("items", "vectors") };
  const all = [ledgers.rows, ledgers.items];
  const moments: Moment[] = [];
  try {
    for (const [at, { of, dice }] of steps.entries()) {
      time += HOUR;
      if (of === "gc") {
        did.add("gc");
        await gc(engine, all);
        continue;
      }
      const ledger = ledgers[of];
      const write = chooseWrite(ledger, `s${at}`, dice);
      did.add(write.do);
      const moment = { ledger, before: ledger.content, after: write.after, from: changes.length };
      ledger.pending = write;
      acknowledge(ledger, await perform(engine, ledger, write));
      moments.push({ ...moment, to: changes.length });
    }
  } finally {
    await engine.close();
  }
  return { moments, changes, ledgers: all };
}

/** Opens what a crash after `n` changes leaves on a disk: the next one may have been written in part, nameless. */
async function expectImage(
  image: string,
  moments: Moment[],
  ledgers: Ledger[],
  n: number,
  torn: Change | undefined,
): Promise<void> {
  const data = join(folder, "lake");
  await rm(data, { recursive: true, force: true });
  await cp(image, data, { recursive: true });
  await mkdir(join(data, ".spool"), { recursive: true });
  const half = torn?.bytes?.subarray(0, torn.bytes.length / 2) ?? "";
  await writeFile(join(data, ".spool", TORN), half);

  const engine = await openEngine(testSettings(folder));
  try {
    expect(await engine.verify()).toMatchObject({ ok: true, problems: [] });
    for (const ledger of ledgers) {
      const seen = await read(engine, ledger);
      const mine = moments.filter((moment) => moment.ledger === ledger);
      const acknowledged = mine.findLast(({ to }) => to <= n)?.after;
      const open = mine.find(({ from, to }) => from <= n && n < to);
      const allowed = [printed(acknowledged), ...(open ? [printed(open.after)] : [])];
      expect(allowed, `${ledger.name} after ${n} changes`).toContain(printed(seen));
    }
    const again: Ledger[] = ledgers.map(({ name, kind }) => openLedger(name, kind));
    for (const ledger of again) {
      ledger.content = await read(engine, ledger);
      const write = chooseWrite(ledger, "again", n);
      await perform(engine, ledger, write);
      expect(printed(await read(engine, ledger))).toBe(printed(write.after));
    }
    expect(await readdir(join(data, ".spool"))).not.toContain(TORN);
  } finally {
    await engine.close();
  }
}

const FAULTS: Fault[] = ["error", "error-after", "stop-before", "stop-after"];

test("whatever a store does to the engine, what was acknowledged is there, and the rest wholly or not at all", async () => {
  let [failed, acknowledged] = [0, 0];
  await fc.assert(
    fc.asyncProperty(script, fc.nat(2 ** 31 - 1), async (steps, seed) => {
      const store = newStore();
      const random = openRandom(seed + 1);
      const ledgers = { rows: openLedger("rows", "table"), items: openLedger("items", "vectors") };
      for (const [at, { of, dice }] of steps.entries()) {
        time += HOUR;
        // Each step may meet a fault at any of its operations, the first of the engine that it finds included.
        const fault = FAULTS[Math.floor(random() * FAULTS.length)] ?? "error";
        const faulty = faultyStore(store, new Map([[1 + Math.floor(random() * 30), fault]]));
        const ledger = of === "gc" ? undefined : ledgers[of];
        const engine = await openOver(faulty);
        try {
          if (ledger) {
            ledger.pending = chooseWrite(ledger, `s${at}`, dice);
            acknowledge(ledger, await perform(engine, ledger, ledger.pending));
            acknowledged++;
          } else await gc(engine, Object.values(ledgers));
        } catch (error) {
          expect(error).toBeInstanceOf(LakeError);
          expect((error as LakeError).kind).toBe("unavailable");
          failed++;
        } finally {
          await engine.close();
        }
        const reader = await openOver(store);
        try {
          for (const each of Object.values(ledgers)) settle(each, await read(reader, each));
          expect(await reader.verify()).toMatchObject({ ok: true, problems: [] });
        } finally {
          await reader.close();
        }
      }
    }),
    { numRuns: 6, endOnFailure: true },
  );
  expect(failed).toBeGreaterThan(10);
  expect(acknowledged).toBeGreaterThan(10);
}, 600_000);
