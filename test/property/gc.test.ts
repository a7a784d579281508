import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openCatalog } from "../../src/engine/catalog/catalog.ts";
import { putDataFiles } from "../../src/engine/catalog/data-files.ts";
import type { Catalog } from "../../src/engine/catalog/types.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import { openScope } from "../../src/engine/kernel/scope.ts";
import { openMemoryStore } from "../../src/engine/store/memory.ts";
import type { Store } from "../../src/engine/store/store.ts";
import { collectGarbage } from "../../src/engine/upkeep/gc.ts";
import { restore } from "../../src/engine/upkeep/restore.ts";
import { dataFile, draft, tombstone } from "../support/drafts.ts";
import { type Fault, faultyStore } from "../support/faulty-store.ts";

const NAMES = ["alpha", "beta"];
/** Few, so that writers want what gc is about to delete. */
const CONTENTS = ["one", "two", "three"];
const GRACE_MS = 1000;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "lakehouse-gc-"));
  for (const content of CONTENTS) await writeFile(join(folder, content), content);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const log = (): void => undefined;

/** `store`, every operation of which takes a while before and after it: others come between. */
function slowStore(store: Store, seed: number): Store {
  let state = seed;
  const pause = async (): Promise<void> => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    for (let ticks = (state >>> 16) % 6; ticks > 0; ticks--) await setImmediate();
  };
  const slowly = async <T>(work: () => Promise<T>): Promise<T> => {
    await pause();
    const result = await work();
    await pause();
    return result;
  };
  return {
    ...store,
    get: (key) => slowly(() => store.get(key)),
    put: (key, body, options) => slowly(() => store.put(key, body, options)),
    has: (key) => slowly(() => store.has(key)),
    delete: (key) => slowly(() => store.delete(key)),
    async *list(prefix, options) {
      for await (const object of store.list(prefix, options)) {
        yield object;
        await pause();
      }
    },
  };
}

type Write = { do: "replace" | "append" | "drop" | "restore"; name: string; content: string; back: number };

const write: fc.Arbitrary<Write> = fc.record({
  do: fc.constantFrom("replace" as const, "replace" as const, "append" as const, "drop" as const, "restore" as const),
  name: fc.constantFrom(...NAMES),
  content: fc.constantFrom(...CONTENTS),
  back: fc.integer({ min: 1, max: 3 }),
});

interface World {
  store: Store;
  clock: { now(): Date };
  catalog: Catalog;
}

/** True when it was acknowledged as a new version. */
async function perform({ store, clock, catalog }: World, { do: what, name, content, back }: Write): Promise<boolean> {
  if (what === "drop") {
    const { committed } = await catalog.commit(name, (current) =>
      current && !current.dropped ? tombstone() : undefined,
    );
    return committed;
  }
  if (what === "restore") {
    const newest = (await catalog.versions(name, 1)).heads[0]?.version ?? 0;
    return !(await restore(catalog, `${name}@${Math.max(1, newest - back)}`)).unchanged;
  }
  const file = dataFile(name, content);
  const still = await putDataFiles(store, clock, [{ key: file.key, path: join(folder, content) }]);
  const { committed } = await catalog.commit(name, async (current) => {
    await still();
    const kept = what === "append" && current && !current.dropped ? current.files : [];
    return draft([...kept.filter(({ key }) => key !== file.key), file]);
  });
  return committed;
}

async function expectWhole(store: Store, clock: { now(): Date }): Promise<Map<string, number>> {
  const catalog = await open(store, clock);
  expect(catalog.unreadable()).toEqual([]);
  const newest = new Map<string, number>();
  for (const name of NAMES) {
    const { heads } = await catalog.versions(name).catch(() => ({ heads: [] }));
    // Without gaps, so that one look tells whether there is a newer one.
    expect(heads.map(({ version }) => version)).toEqual(heads.map((_, at) => (heads[0]?.version ?? 0) - at));
    newest.set(name, heads[0]?.version ?? 0);
    for (const { version } of heads.filter(({ dropped }) => !dropped)) {
      for (const { key } of (await catalog.load(name, version)).files) {
        const content = await store.get(key);
        expect(content, `${name}@${version} has lost ${key}`).toBeDefined();
        expect(key).toContain(
          createHash("sha256")
            .update(Buffer.from(content ?? []))
            .digest("hex"),
        );
      }
    }
  }
  return newest;
}

const open = (store: Store, clock: { now(): Date }): Promise<Catalog> =>
  openCatalog(openScope(), store, { refreshMs: 0, clock, log, engineVersion: "test" });

const gc = (store: Store, clock: { now(): Date }, versions: number) =>
  collectGarbage(
    { store, clock, log },
    { delete: true, retention: { versions, ageMs: 0, graceMs: GRACE_MS }, ingestTimeoutMs: 10 },
  );

test("gc beside writers and beside another gc takes nothing that was committed", async () => {
  let deleted = 0;
  const round = fc.record({
    writers: fc.array(fc.array(write, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 3 }),
    gcs: fc.array(fc.integer({ min: 1, max: 2 }), { minLength: 1, maxLength: 2 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(round, { minLength: 3, maxLength: 8 }), fc.nat(), async (rounds, seed) => {
      const scope = openScope();
      try {
        let time = Date.parse("2026-01-01T00:00:00Z");
        const clock = { now: () => new Date(time) };
        const bare = openMemoryStore(scope, clock);
        const acknowledged = new Map(NAMES.map((name) => [name, 0]));
        for (const [at, { writers, gcs }] of rounds.entries()) {
          // What was stored in the last round is old now, and whoever was at work then has ended.
          time += 2 * GRACE_MS;
          const store = slowStore(bare, seed + at);
          const writing = writers.map(async (writes) => {
            const world = { store, clock, catalog: await open(store, clock) };
            for (const each of writes) {
              const committed = await perform(world, each).catch((error: unknown) => {
                // A version to restore that is not there.
                if (error instanceof LakeError && error.kind === "not_found") return false;
                throw error;
              });
              if (committed) acknowledged.set(each.name, (acknowledged.get(each.name) ?? 0) + 1);
            }
          });
          const collecting = gcs.map(async (versions) => {
            deleted += (await gc(store, clock, versions)).files;
          });
          await Promise.all([...writing, ...collecting]);
          expect(await expectWhole(bare, clock)).toEqual(acknowledged);
        }
      } finally {
        await scope.close();
      }
    }),
    { numRuns: 60 },
  );
  expect(deleted).toBeGreaterThan(20);
}, 120_000);

test("a gc that stops at any operation leaves everything readable, and the next one ends its work", async () => {
  const faults: Fault[] = ["stop-before", "stop-after", "error", "error-after"];
  for (const fault of faults) {
    let stopped = 0;
    for (let at = 1; ; at++) {
      const scope = openScope();
      try {
        let time = Date.parse("2026-01-01T00:00:00Z");
        const clock = { now: () => new Date(time) };
        const store = openMemoryStore(scope, clock);
        const world = { store, clock, catalog: await open(store, clock) };
        for (const name of NAMES) {
          for (const content of [...CONTENTS, "one"]) {
            await perform(world, { do: "replace", name, content, back: 0 });
            time += 2 * GRACE_MS;
          }
        }
        await gc(store, clock, 2);
        time += 2 * GRACE_MS;
        await perform(world, { do: "replace", name: "alpha", content: "two", back: 0 });
        time += 2 * GRACE_MS;
        // Has files to delete and versions to remove.
        const faulty = faultyStore(store, new Map([[at, fault]]));
        const outcome = await gc(faulty, clock, 1).catch((error: unknown) => error);
        if (outcome instanceof Error) {
          expect(outcome).toBeInstanceOf(LakeError);
          stopped++;
        }
        await expectWhole(store, clock);
        if (faulty.operations() < at) break;

        time += 2 * GRACE_MS;
        await gc(store, clock, 1);
        time += 2 * GRACE_MS;
        await gc(store, clock, 1);
        const newest = await expectWhole(store, clock);
        expect([...newest.values()]).toEqual([5, 4]);
        expect(await keys(store, "data/")).toHaveLength(2);
        expect(await keys(store, "catalog/")).toHaveLength(2);
        expect(await keys(store, "gc/sweep.")).toEqual([]);
      } finally {
        await scope.close();
      }
    }
    expect(stopped).toBeGreaterThan(10);
  }
}, 120_000);

async function keys(store: Store, prefix: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list(prefix)) found.push(key);
  return found;
}
