import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openCatalog } from "../../../src/engine/catalog/catalog.ts";
import { datasetId, manifestKey } from "../../../src/engine/catalog/identity.ts";
import { encodeManifest } from "../../../src/engine/catalog/manifest.ts";
import type { Catalog, Changes } from "../../../src/engine/catalog/types.ts";
import type { LakeError } from "../../../src/engine/kernel/errors.ts";
import { inWords } from "../../../src/engine/kernel/next-step.ts";
import { openScope, type Scope } from "../../../src/engine/kernel/scope.ts";
import { openMemoryStore } from "../../../src/engine/store/memory.ts";
import type { Store, StoredObject } from "../../../src/engine/store/store.ts";
import { TOOL_WORDS } from "../../../src/tools/words.ts";
import { COLUMNS, dataFile, draft, tickingClock, tombstone } from "../../support/drafts.ts";
import { faultyStore } from "../../support/faulty-store.ts";

let scope: Scope;
let store: Store;
let logged: string[];

beforeEach(() => {
  scope = openScope();
  store = openMemoryStore(scope);
  logged = [];
});
afterEach(() => scope.close());

const open = (from: Store = store, refreshMs = 0): Promise<Catalog> =>
  openCatalog(scope, from, {
    refreshMs,
    clock: tickingClock(),
    log: (_level, message, fields) => logged.push(`${message} ${JSON.stringify(fields)}`),
    engineVersion: "0.0.1",
  });

const put = (catalog: Catalog, name: string, ...contents: string[]) =>
  catalog.commit(name, () => draft(contents.map((content) => dataFile(name, content))));

const names = (catalog: Catalog): string[] => catalog.list().map(({ name }) => name);

describe("a commit", () => {
  test("makes the next version and fills in what a draft does not say", async () => {
    const catalog = await open();
    const first = await put(catalog, "workers", "a");
    expect(first).toEqual({
      committed: true,
      manifest: {
        formatVersion: 1,
        commitId: expect.stringMatching(/^[0-9a-f-]{36}$/),
        version: 1,
        parent: null,
        datasetId: "4ee908eb-05e4-5c26-a4ad-4ca54bb01062",
        name: "workers",
        kind: "table",
        dropped: false,
        columns: COLUMNS,
        lastColumnId: 2,
        schemaFingerprint: expect.stringMatching(/^[0-9a-f]{64}$/),
        rows: 10,
        bytes: 100,
        fileCount: 1,
        createdAt: "2026-01-01T00:00:01.000Z",
        updatedAt: "2026-01-01T00:00:01.000Z",
        provenance: {
          operation: "replace",
          source: "./workers.csv",
          sourceHash: "sha256:00",
          options: { mode: "replace" },
          engine: "0.0.1",
        },
        files: [dataFile("workers", "a")],
      },
    });
    const { manifest } = await put(catalog, "workers", "a", "b");
    expect(manifest).toMatchObject({
      version: 2,
      parent: 1,
      rows: 20,
      bytes: 200,
      fileCount: 2,
      createdAt: "2026-01-01T00:00:01.000Z",
      updatedAt: "2026-01-01T00:00:02.000Z",
    });
    expect(manifest?.commitId).not.toBe(first.manifest?.commitId);
    expect(await catalog.load("workers")).toEqual(manifest);
    expect(await (await open()).load("workers")).toEqual(manifest);
  });

  test("decides on the newest manifest, and may decide that there is nothing to do", async () => {
    const catalog = await open();
    const seen: (number | undefined)[] = [];
    const look = () =>
      catalog.commit("workers", (current) => {
        seen.push(current?.version);
        return undefined;
      });
    expect(await look()).toEqual({ manifest: undefined, committed: false });
    const { manifest } = await put(catalog, "workers", "a");
    expect(await look()).toEqual({ manifest, committed: false });
    expect(seen).toEqual([undefined, 1]);
    expect((await catalog.versions("workers")).heads).toHaveLength(1);
  });

  test("keeps counting field ids when columns go", async () => {
    const catalog = await open();
    await put(catalog, "workers", "a");
    const [id] = COLUMNS;
    await catalog.commit("workers", () => draft([], { columns: id ? [id] : [] }));
    expect((await catalog.load("workers")).lastColumnId).toBe(2);
    await catalog.commit("workers", () => draft([], { columns: [{ id: 3, name: "new", type: "DATE" }] }));
    expect((await catalog.load("workers")).lastColumnId).toBe(3);
  });

  test("loses nothing when twenty of one process come at once", async () => {
    const catalog = await open();
    const commits = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        catalog.commit("workers", (current) => draft([...(current?.files ?? []), dataFile("workers", `${i}`)])),
      ),
    );
    const versions = commits.map(({ manifest }) => manifest?.version ?? 0).sort((a, b) => a - b);
    expect(versions).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    const { files } = await catalog.load("workers");
    expect(new Set(files.map(({ key }) => key)).size).toBe(20);
  });

  test("that always loses ends in a conflict, and changes nothing", { tags: ["slow"] }, async () => {
    const catalog = await open();
    await put(catalog, "workers", "a");
    const loser: Store = { ...store, put: async () => false, get: async (key) => store.get(key) };
    const rival = await open();
    let decided = 0;
    const losing = (await open(loser)).commit("workers", async () => {
      decided++;
      await put(rival, "workers", `${decided}`);
      return draft([dataFile("workers", "never")]);
    });
    await expect(losing).rejects.toMatchObject({
      kind: "conflict",
      hint: expect.stringContaining("Nothing was changed"),
    });
    expect((await catalog.versions("workers")).heads).toHaveLength(1 + decided);
  });

  test("refuses names that are none, with a better one", async () => {
    const catalog = await open();
    await expect(put(catalog, "My Data", "a")).rejects.toMatchObject({
      kind: "invalid",
      hint: expect.stringContaining("my_data"),
    });
  });

  test("leaves everything as it was when deciding throws or is cancelled", async () => {
    const catalog = await open();
    const boom = new Error("boom");
    await expect(catalog.commit("workers", () => Promise.reject(boom))).rejects.toBe(boom);
    const stop = new AbortController();
    const cancelled = catalog.commit(
      "workers",
      () => {
        stop.abort();
        return draft([]);
      },
      { signal: stop.signal },
    );
    await expect(cancelled).rejects.toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining("cancelled"),
    });
    await expect(catalog.load("workers")).rejects.toMatchObject({ kind: "not_found" });
  });

  test("is acknowledged once when the store's answer is lost on the way", async () => {
    // Operations: list (open), list (newest), put.
    const catalog = await open(faultyStore(store, new Map([[3, "error-after"]])));
    expect(await put(catalog, "workers", "a")).toMatchObject({ committed: true, manifest: { version: 1 } });
    expect((await catalog.versions("workers")).heads).toHaveLength(1);
  });

  test("is acknowledged once when the store repeats a put by itself and loses to its first attempt", async () => {
    const repeating: Store = {
      ...store,
      put: async (key, body, options) => {
        await store.put(key, body, options);
        return store.put(key, body, options);
      },
    };
    const catalog = await open(repeating);
    expect(await put(catalog, "workers", "a")).toMatchObject({ committed: true, manifest: { version: 1 } });
    expect((await catalog.versions("workers")).heads).toHaveLength(1);
  });

  test("fails as the store did when it did not arrive, and can be tried again", async () => {
    const catalog = await open(
      faultyStore(
        store,
        new Map([
          [3, "error"],
          [4, "error"],
        ]),
      ),
    );
    await expect(put(catalog, "workers", "a")).rejects.toMatchObject({ message: "The store does not answer." });
    expect(await put(catalog, "workers", "a")).toMatchObject({ committed: true, manifest: { version: 1 } });
  });

  test.each(["error", "error-after"] as const)(
    "is put again after a failure (%s), because what has arrived may not have been synced",
    async (fault) => {
      const faulty = faultyStore(store, new Map([[3, fault]]));
      const puts: (boolean | string)[] = [];
      const catalog = await open({
        ...faulty,
        put: async (...args: Parameters<typeof faulty.put>) => {
          try {
            const created = await faulty.put(...args);
            puts.push(created);
            return created;
          } catch (error) {
            puts.push("failed");
            throw error;
          }
        },
      });
      expect(await put(catalog, "workers", "a")).toMatchObject({ committed: true });
      expect(puts).toEqual(["failed", fault === "error"]);
    },
  );

  test("says that its outcome is unknown when the store is gone", async () => {
    const catalog = await open(faultyStore(store, new Map([[3, "stop-after"]])));
    await expect(put(catalog, "workers", "a")).rejects.toMatchObject({
      kind: "unavailable",
      message: "The store failed while workers@1 was committed; it may or may not be.",
      hint: expect.arrayContaining([{ action: "describe" }]),
    });
    expect((await (await open()).load("workers")).version).toBe(1);
  });
});

describe("a drop", () => {
  test("hides the dataset, says how to reach it, and keeps its versions", async () => {
    const catalog = await open();
    const { manifest } = await put(catalog, "workers", "a");
    await catalog.commit("workers", () => tombstone());
    expect(names(catalog)).toEqual([]);
    for (const reader of [catalog, await open()]) {
      expect(names(reader)).toEqual([]);
      for (const version of [undefined, 2]) {
        const error = await reader.load("workers", version).catch((thrown: LakeError) => thrown);
        expect(error).toMatchObject({ kind: "not_found", message: 'Dataset "workers" was dropped at version 2.' });
        expect(inWords((error as LakeError).hint ?? "", TOOL_WORDS)).toBe(
          '"workers@1" can still be read, and brought back: ' +
            'ingest {name: "workers", sql: "SELECT * FROM \\"workers@1\\""}',
        );
      }
      expect(await reader.load("workers", 1)).toEqual(manifest);
      expect((await reader.versions("workers")).heads.map(({ version, dropped }) => [version, dropped])).toEqual([
        [2, true],
        [1, false],
      ]);
    }
  });

  test("is what the next commit sees, and the dataset that comes back is a new one with the same id", async () => {
    const catalog = await open();
    await put(catalog, "workers", "a");
    await catalog.commit("workers", () => tombstone());
    const { manifest } = await catalog.commit("workers", (current) => {
      expect(current).toMatchObject({ version: 2, dropped: true, createdAt: "2026-01-01T00:00:01.000Z" });
      return draft([dataFile("workers", "b")]);
    });
    expect(manifest).toMatchObject({
      version: 3,
      parent: 2,
      datasetId: datasetId("workers"),
      createdAt: "2026-01-01T00:00:03.000Z",
    });
    expect(names(catalog)).toEqual(["workers"]);
  });
});

describe("loading", () => {
  test("an unknown name is answered with the nearest ones", async () => {
    const catalog = await open();
    await put(catalog, "workers", "a");
    await put(catalog, "placements", "a");
    for (const name of ["wrokers", "Workers", "worker"]) {
      await expect(catalog.load(name)).rejects.toMatchObject({
        kind: "not_found",
        message: `Unknown dataset "${name}". Did you mean workers?`,
        hint: [{ action: "list" }, " shows every dataset."],
        facts: { nearest: ["workers"] },
      });
    }
    for (const name of ["", "../etc", "x".repeat(5000), "a@1"]) {
      await expect(catalog.load(name)).rejects.toMatchObject({ kind: "not_found" });
      await expect(catalog.load(name, 1)).rejects.toMatchObject({ kind: "not_found" });
      await expect(catalog.versions(name)).rejects.toMatchObject({ kind: "not_found" });
    }
  });

  test("old versions, and says which there are", async () => {
    const catalog = await open();
    await put(catalog, "workers", "a");
    await put(catalog, "workers", "b");
    expect((await catalog.load("workers", 1)).files).toEqual([dataFile("workers", "a")]);
    expect((await catalog.load("workers", 2)).files).toEqual([dataFile("workers", "b")]);
    for (const version of [3, 0, -1, 1.5, Number.NaN, 2 ** 60]) {
      await expect(catalog.load("workers", version)).rejects.toMatchObject({
        kind: "not_found",
        message: `Dataset "workers" has no version ${version}.`,
        hint: "It has versions 1 to 2.",
      });
    }
  });

  test("sees what others committed up to this moment, one version or many", async () => {
    const [one, two] = [await open(), await open()];
    await put(one, "workers", "a");
    expect((await two.load("workers")).version).toBe(1);
    await put(one, "workers", "b");
    expect((await two.load("workers")).version).toBe(2);
    for (let i = 0; i < 5; i++) await put(one, "workers", `${i}`);
    expect((await two.load("workers")).version).toBe(7);
    expect(two.list().map(({ version }) => version)).toEqual([7]);
    await one.commit("workers", () => tombstone());
    await expect(two.load("workers")).rejects.toMatchObject({ kind: "not_found" });
    expect(names(two)).toEqual([]);
  });

  test("reads each manifest once", async () => {
    await put(await open(), "workers", "a");
    const gets: string[] = [];
    const counting: Store = {
      ...store,
      get: (key) => {
        gets.push(key);
        return store.get(key);
      },
    };
    const catalog = await open(counting);
    gets.length = 0;
    for (let i = 0; i < 10; i++) await catalog.load("workers");
    for (let i = 0; i < 10; i++) await catalog.load("workers", 1);
    expect(gets).toEqual([manifestKey("workers", 1)]);
    await put(catalog, "workers", "b");
    await catalog.load("workers");
    expect(gets).toHaveLength(1);
  });
});

describe("refreshing", () => {
  test("two catalogs over one store see each other", async () => {
    const [one, two] = [await open(), await open()];
    const heard: Changes[] = [];
    two.onChange((changes) => heard.push(changes));
    await put(one, "a_first", "x");
    await put(one, "b_second", "x");
    expect(names(two)).toEqual([]);
    await two.refresh();
    expect(names(two)).toEqual(["a_first", "b_second"]);
    await put(one, "a_first", "y");
    await one.commit("b_second", () => tombstone());
    await put(one, "c_third", "z");
    await two.refresh();
    await two.refresh();
    expect(two.list()).toEqual(one.list());
    expect(heard).toEqual([
      { added: ["a_first", "b_second"], updated: [], removed: [] },
      { added: ["c_third"], updated: ["a_first"], removed: ["b_second"] },
    ]);
  });

  test("reads only what is new", async () => {
    const writer = await open();
    for (let i = 0; i < 20; i++) await put(writer, `d${i}`, "x");
    let gets = 0;
    const catalog = await open({
      ...store,
      get: (key) => {
        gets++;
        return store.get(key);
      },
    });
    expect(gets).toBe(20);
    await catalog.refresh();
    expect(gets).toBe(20);
    await put(writer, "d7", "y");
    await catalog.refresh();
    expect(gets).toBe(21);
  });

  test("one that was asked for during another sees what came in between", async () => {
    const [one, two] = [await open(), await open()];
    const early = two.refresh();
    await put(one, "workers", "a");
    const late = two.refresh();
    await Promise.all([early, late, two.refresh()]);
    expect(names(two)).toEqual(["workers"]);
  });

  test("happens by itself, and ends with the scope", async () => {
    const catalog = await open(store, 5);
    const heard = new Promise<Changes>((resolve) => {
      catalog.onChange(resolve);
    });
    await put(await open(), "workers", "a");
    expect(await heard).toEqual({ added: ["workers"], updated: [], removed: [] });
  });

  test("that fails is tried again, and what is known stays served", async () => {
    await put(await open(), "workers", "a");
    const network: { away: boolean } = { away: false };
    const catalog = await open({
      ...store,
      list: (prefix, options) => {
        if (network.away) throw new Error("away");
        return store.list(prefix, options);
      },
    });
    network.away = true;
    await expect(catalog.refresh()).rejects.toThrow("away");
    expect(names(catalog)).toEqual(["workers"]);
    network.away = false;
    await catalog.refresh();
  });

  test("never takes back a commit of its own that the list did not have yet", async () => {
    const listing: { meanwhile?: () => Promise<unknown> } = {};
    const catalog = await open({
      ...store,
      async *list(prefix, options) {
        const objects: StoredObject[] = [];
        for await (const object of store.list(prefix, options)) objects.push(object);
        const { meanwhile } = listing;
        delete listing.meanwhile;
        await meanwhile?.();
        yield* objects;
      },
    });
    await put(catalog, "workers", "a");
    listing.meanwhile = () => put(catalog, "workers", "b");
    await catalog.refresh();
    expect(catalog.list().map(({ version }) => version)).toEqual([2]);
  });

  test("notices versions and datasets that were taken away by hand", async () => {
    const catalog = await open();
    await put(catalog, "workers", "a");
    await put(catalog, "workers", "b");
    await put(catalog, "others", "a");
    await store.delete(manifestKey("workers", 2));
    await store.delete(manifestKey("others", 1));
    const heard: Changes[] = [];
    catalog.onChange((changes) => heard.push(changes));
    await catalog.refresh();
    expect(catalog.list().map(({ name, version }) => `${name}@${version}`)).toEqual(["workers@1"]);
    expect(heard).toEqual([{ added: [], updated: ["workers"], removed: ["others"] }]);
    expect(await put(catalog, "workers", "c")).toMatchObject({ committed: true, manifest: { version: 2, parent: 1 } });
  });
});

describe("listeners", () => {
  test("hear of commits at once, until they stop", async () => {
    const catalog = await open();
    const heard: Changes[] = [];
    const stop = catalog.onChange((changes) => heard.push(changes));
    await put(catalog, "workers", "a");
    await put(catalog, "workers", "b");
    await catalog.commit("workers", () => undefined);
    await catalog.commit("workers", () => tombstone());
    await put(catalog, "workers", "c");
    await catalog.refresh();
    stop();
    await put(catalog, "workers", "d");
    expect(heard).toEqual([
      { added: ["workers"], updated: [], removed: [] },
      { added: [], updated: ["workers"], removed: [] },
      { added: [], updated: [], removed: ["workers"] },
      { added: ["workers"], updated: [], removed: [] },
    ]);
  });

  test("that fail harm neither the commit nor each other", async () => {
    const catalog = await open();
    let heard = 0;
    catalog.onChange(() => {
      throw new Error("boom");
    });
    catalog.onChange(() => heard++);
    expect(await put(catalog, "workers", "a")).toMatchObject({ committed: true });
    expect(heard).toBe(1);
    expect(logged).toEqual(['a catalog listener failed {"error":"Error: boom"}']);
  });
});

describe("an unreadable manifest", () => {
  const damage = async (name: string, version: number): Promise<() => Promise<unknown>> => {
    const key = manifestKey(name, version);
    const good = await store.get(key);
    await store.put(key, new Uint8Array(100).fill(7));
    return () => store.put(key, good ?? new Uint8Array());
  };

  test("is named, the version before is served, and it comes back when it is repaired", async () => {
    const writer = await open();
    await put(writer, "workers", "a");
    await put(writer, "workers", "b");
    await put(writer, "others", "a");
    const repair = await damage("workers", 2);

    const catalog = await open();
    const heard: Changes[] = [];
    catalog.onChange((changes) => heard.push(changes));
    const reason = `${manifestKey("workers", 2)} is damaged: its checksum does not match.`;
    expect(catalog.unreadable()).toEqual([{ name: "workers", version: 2, reason }]);
    expect(catalog.list().map(({ name, version }) => `${name}@${version}`)).toEqual(["others@1", "workers@1"]);
    expect((await catalog.load("workers")).version).toBe(1);
    expect((await catalog.versions("workers")).heads.map(({ version }) => version)).toEqual([1]);
    await expect(catalog.load("workers", 2)).rejects.toMatchObject({ kind: "corrupt", message: reason });
    await catalog.refresh();
    expect(logged).toHaveLength(1);

    await repair();
    await catalog.refresh();
    expect(catalog.unreadable()).toEqual([]);
    expect((await catalog.load("workers")).version).toBe(2);
    expect(heard).toEqual([{ added: [], updated: ["workers"], removed: [] }]);
  });

  test("that was never readable is missing from the list, and heals with the next load", async () => {
    await put(await open(), "workers", "a");
    const repair = await damage("workers", 1);
    const catalog = await open();
    expect(names(catalog)).toEqual([]);
    expect(catalog.unreadable()).toMatchObject([{ name: "workers", version: 1 }]);
    await expect(catalog.load("workers")).rejects.toMatchObject({ kind: "corrupt" });
    await repair();
    expect((await catalog.load("workers")).version).toBe(1);
    expect(names(catalog)).toEqual(["workers"]);
    expect(catalog.unreadable()).toEqual([]);
  });

  test("that another process leaves behind is noticed by a load", async () => {
    const catalog = await open();
    await put(catalog, "workers", "a");
    await put(await open(), "workers", "b");
    await damage("workers", 2);
    expect((await catalog.load("workers")).version).toBe(1);
    expect(catalog.unreadable()).toMatchObject([{ name: "workers", version: 2 }]);
    expect(names(catalog)).toEqual(["workers"]);
  });

  test("stops commits to its dataset until it is repaired or removed", async () => {
    const writer = await open();
    await put(writer, "workers", "a");
    await put(writer, "workers", "b");
    await damage("workers", 2);
    const catalog = await open();
    await expect(put(catalog, "workers", "c")).rejects.toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining(`Cannot commit to workers, because its newest version is unreadable`),
      hint: expect.stringContaining("remove it"),
    });
    expect((await catalog.versions("workers")).heads).toHaveLength(1);
    await store.delete(manifestKey("workers", 2));
    expect(await put(catalog, "workers", "c")).toMatchObject({ committed: true, manifest: { version: 2, parent: 1 } });
    expect(catalog.unreadable()).toEqual([]);
  });

  test("of a name that is a copy of another dataset's is refused", async () => {
    const catalog = await open();
    await put(catalog, "workers", "a");
    await store.put(manifestKey("impostor", 1), (await store.get(manifestKey("workers", 1))) ?? new Uint8Array());
    await catalog.refresh();
    expect(names(catalog)).toEqual(["workers"]);
    expect(catalog.unreadable()).toMatchObject([{ name: "impostor", reason: expect.stringContaining("workers@1") }]);
  });

  test("among a thousand hides none of the others", { tags: ["slow"] }, async () => {
    const { manifest } = await put(await open(openMemoryStore(scope)), "d0", "x");
    if (!manifest) throw new Error("no manifest");
    for (let i = 0; i < 1000; i++) {
      const name = `d${i}`;
      const copy = { ...manifest, name, datasetId: datasetId(name), files: [dataFile(name, "x")] };
      await store.put(manifestKey(name, 1), await encodeManifest(copy));
    }
    const repair = await damage("d500", 1);

    const catalog = await open();
    expect(catalog.list()).toHaveLength(999);
    expect(catalog.unreadable().map(({ name }) => name)).toEqual(["d500"]);
    await repair();
    await catalog.refresh();
    expect(catalog.list()).toHaveLength(1000);
    expect(catalog.unreadable()).toEqual([]);
  });
});

test("foreign files in the catalog are ignored", async () => {
  await store.put("catalog/README.md", new Uint8Array(1));
  await store.put("catalog/workers/notes.parquet", new Uint8Array(1));
  await store.put("catalog/Workers/00000000000000000001.parquet", new Uint8Array(1));
  const catalog = await open();
  expect(catalog.list()).toEqual([]);
  expect(catalog.unreadable()).toEqual([]);
  expect(await put(catalog, "workers", "a")).toMatchObject({ committed: true, manifest: { version: 1 } });
});
