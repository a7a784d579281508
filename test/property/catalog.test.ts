import fc from "fast-check";
import { expect, test } from "vitest";
import { openCatalog } from "../../src/engine/catalog/catalog.ts";
import type { Catalog } from "../../src/engine/catalog/types.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import { openScope } from "../../src/engine/kernel/scope.ts";
import { openMemoryStore } from "../../src/engine/store/memory.ts";
import type { Store } from "../../src/engine/store/store.ts";
import { dataFile, draft, tickingClock, tombstone } from "../support/drafts.ts";
import { type Fault, faultyStore } from "../support/faulty-store.ts";

const NAMES = ["alpha", "beta", "gamma"];

type Command =
  | { do: "append" | "replace" | "drop" | "load" | "versions"; name: string; via: number }
  | { do: "refresh" | "reopen"; via: number };

const via = fc.nat({ max: 1 });
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom("append" as const, "append" as const, "replace" as const, "drop" as const),
      name: fc.constantFrom(...NAMES),
      via,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom("load" as const, "versions" as const),
      name: fc.constantFrom(...NAMES),
      via,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("refresh" as const, "reopen" as const), via }) },
);

/** The truth: for each dataset its versions, each the contents of its files, or null for a drop. */
type Model = Map<string, (string[] | null)[]>;

const open = (store: Store): Promise<Catalog> =>
  openCatalog(openScope(), store, {
    refreshMs: 0,
    clock: tickingClock(),
    log: () => undefined,
    engineVersion: "test",
  });

const contents = (model: Model, name: string): string[] | null => model.get(name)?.at(-1) ?? null;

/** What the command makes of the newest version; undefined for nothing. */
function next(
  current: string[] | null,
  what: "append" | "replace" | "drop",
  content: string,
): string[] | null | undefined {
  if (what === "drop") return current === null ? undefined : null;
  return what === "append" ? [...(current ?? []), content] : [content];
}

test("two catalogs over one store behave like a list of versions", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 25 }), async (commands) => {
      const scope = openScope();
      try {
        const store = openMemoryStore(scope);
        const catalogs = [await open(store), await open(store)];
        const model: Model = new Map();
        for (const [step, command] of commands.entries()) await run(command, `${step}`, catalogs, store, model);
        for (const catalog of [...catalogs, await open(store)]) await expectSame(catalog, model);
      } finally {
        await scope.close();
      }
    }),
    { numRuns: 30 },
  );
});

async function run(command: Command, content: string, catalogs: Catalog[], store: Store, model: Model): Promise<void> {
  const catalog = catalogs[command.via] ?? (await open(store));
  switch (command.do) {
    case "reopen":
      catalogs[command.via] = await open(store);
      return;
    case "refresh":
      return catalog.refresh();
    case "load":
      return expectNewest(catalog, model, command.name);
    case "versions":
      return expectVersions(catalog, model, command.name);
    default: {
      const { name } = command;
      const after = next(contents(model, name), command.do, content);
      const { committed } = await commit(catalog, name, command.do, content);
      expect(committed).toBe(after !== undefined);
      if (after !== undefined) model.set(name, [...(model.get(name) ?? []), after]);
    }
  }
}

test("whatever the store does, what was acknowledged is there, and the rest is there wholly or not at all", async () => {
  const faults = fc.uniqueArray(
    fc.tuple(
      fc.integer({ min: 1, max: 60 }),
      fc.constantFrom<Fault>("error", "error-after", "stop-before", "stop-after"),
    ),
    { maxLength: 6, selector: ([operation]) => operation },
  );
  const writes = fc.array(
    fc.record({
      do: fc.constantFrom("append" as const, "append" as const, "replace" as const, "drop" as const),
      name: fc.constantFrom(...NAMES),
    }),
    { minLength: 1, maxLength: 12 },
  );
  await fc.assert(
    fc.asyncProperty(writes, faults, async (commands, faultList) => {
      const scope = openScope();
      try {
        const store = openMemoryStore(scope);
        const faulty = faultyStore(store, new Map(faultList));
        const acknowledged: { name: string; version: number; commitId: string; content: string; what: string }[] = [];
        try {
          const catalog = await open(faulty);
          for (const [step, { do: what, name }] of commands.entries()) {
            try {
              const { manifest, committed } = await commit(catalog, name, what, `${step}`);
              if (committed && manifest) acknowledged.push({ ...manifest, content: `${step}`, what });
            } catch (error) {
              expect(error).toBeInstanceOf(LakeError);
            }
          }
        } catch (error) {
          // The store failed while the catalog was opened.
          expect(error).toBeInstanceOf(LakeError);
        }

        const reopened = await open(store);
        expect(reopened.unreadable()).toEqual([]);
        const contentsSeen = new Map<string, string>();
        for (const name of NAMES) {
          const { heads: versions } = await reopened.versions(name).catch(() => ({ heads: [] }));
          // Consecutive, each on its parent: nothing half there, nothing twice.
          expect(versions.map(({ version }) => version)).toEqual(versions.map((_, i) => versions.length - i));
          expect(versions.map(({ parent }) => parent ?? 0)).toEqual(versions.map((_, i) => versions.length - i - 1));
          expect(new Set(versions.map(({ commitId }) => commitId)).size).toBe(versions.length);
          for (const { provenance, version } of versions) {
            const earlier = contentsSeen.get(`${name} ${provenance.source}`);
            expect(earlier, `step ${provenance.source} was committed as ${earlier} and ${version}`).toBeUndefined();
            contentsSeen.set(`${name} ${provenance.source}`, `${version}`);
          }
          for (const head of versions.filter(({ dropped }) => !dropped)) {
            expect((await reopened.load(name, head.version)).fileCount).toBe(head.fileCount);
          }
          for (const commit of acknowledged.filter((one) => one.name === name)) {
            expect(versions.find(({ version }) => version === commit.version)?.commitId).toBe(commit.commitId);
          }
        }

        for (const name of NAMES) {
          const { manifest } = await commit(reopened, name, "replace", "afterwards");
          expect((await reopened.load(name)).commitId).toBe(manifest?.commitId);
        }
      } finally {
        await scope.close();
      }
    }),
    { numRuns: 60 },
  );
});

function commit(catalog: Catalog, name: string, what: "append" | "replace" | "drop", content: string) {
  const provenance = { operation: "replace" as const, source: content, sourceHash: content, options: {} };
  return catalog.commit(name, (current) => {
    const alive = current && !current.dropped ? current : undefined;
    if (what === "drop") return alive && { ...tombstone(), provenance: { ...provenance, operation: "drop" } };
    const kept = what === "append" ? (alive?.files ?? []) : [];
    return draft([...kept, dataFile(name, content)], { provenance });
  });
}

async function expectSame(catalog: Catalog, model: Model): Promise<void> {
  await catalog.refresh();
  expect(catalog.list().map(({ name }) => name)).toEqual(NAMES.filter((name) => contents(model, name) !== null));
  for (const name of NAMES) {
    await expectNewest(catalog, model, name);
    await expectVersions(catalog, model, name);
  }
}

async function expectNewest(catalog: Catalog, model: Model, name: string): Promise<void> {
  const expected = contents(model, name);
  if (expected === null) {
    await expect(catalog.load(name)).rejects.toMatchObject({ kind: "not_found" });
    return;
  }
  const manifest = await catalog.load(name);
  expect(manifest.version).toBe(model.get(name)?.length);
  expect(manifest.files).toEqual(expected.map((content) => dataFile(name, content)));
}

async function expectVersions(catalog: Catalog, model: Model, name: string): Promise<void> {
  const expected = model.get(name);
  if (!expected) {
    await expect(catalog.versions(name)).rejects.toMatchObject({ kind: "not_found" });
    return;
  }
  const versions = (await catalog.versions(name)).heads.reverse();
  expect(versions.map(({ dropped, fileCount }) => (dropped ? null : fileCount))).toEqual(
    expected.map((files) => files?.length ?? null),
  );
  for (const [i, files] of expected.entries()) {
    if (files) expect((await catalog.load(name, i + 1)).files).toEqual(files.map((content) => dataFile(name, content)));
  }
}
