import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { datasetId, manifestKey, schemaFingerprint } from "../../../src/engine/catalog/identity.ts";
import { decodeHead, decodeManifest, encodeManifest } from "../../../src/engine/catalog/manifest.ts";
import { seal } from "../../../src/engine/catalog/seal.ts";
import type { DataFile, Manifest } from "../../../src/engine/catalog/types.ts";
import { literal, openDuck } from "../../../src/engine/duckdb/duckdb.ts";
import { LakeError } from "../../../src/engine/kernel/errors.ts";
import { openScope, type Scope } from "../../../src/engine/kernel/scope.ts";
import { writeTable } from "../../../src/engine/parquet/manifest-table.ts";
import { COLUMNS, dataFile } from "../../support/drafts.ts";

const KEY = manifestKey("workers", 3);

describe("round trip", () => {
  test("of every field", async () => {
    const manifest = workers([dataFile("workers", "one"), dataFile("workers", "two", { rows: 7, bytes: 2 ** 40 })]);
    const bytes = await encodeManifest(manifest);
    expect(await decodeManifest(bytes, KEY)).toEqual(manifest);
    const { files: _, ...head } = manifest;
    expect(decodeHead(bytes, KEY)).toEqual(head);
  });

  test("of a tombstone, and of a version without files", async () => {
    const manifest = workers([], { dropped: true, parent: null });
    expect(await decodeManifest(await encodeManifest(manifest), KEY)).toEqual(manifest);
  });

  test("of strange names and values", async () => {
    const names = ["a b", '"quoted"', "ä€😀", "", "__proto__", "constructor", "new\nline", "nul\0", "12"];
    const columns = names.map((name, i) => ({ id: i + 1, name, type: `STRUCT("x ${i}" VARCHAR)` }));
    const stats = Object.fromEntries(
      names.map((name, i) => [name, { min: name, max: i % 2 ? null : "\u{10FFFF}", nulls: i }]),
    );
    const file = dataFile("workers", "x", { stats });
    const manifest = workers([file, dataFile("workers", "y", { stats: {} })], {
      columns,
      lastColumnId: 9,
      schemaFingerprint: schemaFingerprint(columns),
    });
    const decoded = await decodeManifest(await encodeManifest(manifest), KEY);
    expect(decoded).toEqual(manifest);
    expect(new Set(Object.keys(decoded.files[0]?.stats ?? {}))).toEqual(new Set(names));
  });

  test("of more files than one record batch holds", async () => {
    const files = Array.from({ length: 2500 }, (_, i) => dataFile("workers", `${i}`, { rows: i }));
    const manifest = workers(files);
    expect(await decodeManifest(await encodeManifest(manifest), KEY)).toEqual(manifest);
  });
});

describe("damage", () => {
  test("of any byte is noticed", async () => {
    const bytes = await encodeManifest(workers([dataFile("workers", "one")]));
    for (let at = 0; at < bytes.length; at++) {
      for (const mask of [0x01, 0x80, 0xff]) {
        const damaged = Uint8Array.from(bytes);
        damaged[at] = (damaged[at] ?? 0) ^ mask;
        expect(corruption(() => decodeHead(damaged, KEY))).toBe(`${KEY} is damaged: its checksum does not match.`);
      }
    }
  });

  test("of any length is noticed", async () => {
    const bytes = await encodeManifest(workers([dataFile("workers", "one")]));
    for (let length = 0; length < bytes.length; length++) {
      expect(corruption(() => decodeHead(bytes.subarray(0, length), KEY))).toMatch(/checksum/);
    }
    expect(corruption(() => decodeHead(Buffer.concat([bytes, Buffer.from([0])]), KEY))).toMatch(/checksum/);
    expect(corruption(() => decodeHead(Buffer.concat([Buffer.from([0]), bytes]), KEY))).toMatch(/checksum/);
  });

  test("behind a checksum that was made to fit gives a manifest or `corrupt`, and the next one is read all the same", {
    tags: ["slow"],
  }, async () => {
    const good = workers([dataFile("workers", "one")]);
    const bytes = await encodeManifest(good);
    const inner = unsealed(bytes);
    let refused = 0;
    for (let at = 0; at < inner.length - 8; at++) {
      const crafted = Uint8Array.from(inner);
      crafted[at] = (crafted[at] ?? 0) ^ 0x01;
      try {
        const decoded = await decodeManifest(seal(crafted), KEY);
        expect(decoded).toMatchObject({ name: "workers", version: 3, datasetId: good.datasetId });
      } catch (error) {
        expect(error).toMatchObject({ name: "LakeError", kind: "corrupt" });
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(1000);
    expect(await decodeManifest(bytes, KEY)).toEqual(good);
  });

  test("that makes the Parquet library panic costs its instance, because some 500 panics would wear it out", async () => {
    const load = (): unknown => createRequire(import.meta.url)("parquet-wasm");
    const bytes = await encodeManifest(workers([dataFile("workers", "one")]));
    const inner = unsealed(bytes);
    const before = load();
    let panics = 0;
    for (let at = inner.length - 9; at > 0 && panics === 0; at--) {
      const crafted = Uint8Array.from(inner);
      crafted[at] = (crafted[at] ?? 0) ^ 0x01;
      try {
        await decodeManifest(seal(crafted), KEY);
      } catch (error) {
        if (error instanceof LakeError && (error.cause as Error | undefined)?.name === "RuntimeError") panics++;
        else expect(load()).toBe(before);
      }
    }
    expect(panics).toBe(1);
    expect((await decodeManifest(bytes, KEY)).name).toBe("workers");
    expect(load()).not.toBe(before);
  });
});

describe("a well-formed manifest is refused when", () => {
  const good = workers([dataFile("workers", "one")]);
  const other = manifestKey("others", 3);
  const cases: [string, Record<string, unknown>, DataFile[], string?][] = [
    ["it has no metadata", {}, []],
    ["it lies under another name", head(good), good.files, other],
    ["it lies under another version", head(good), good.files, manifestKey("workers", 4)],
    ["a field is missing", { ...head(good), columns: undefined }, good.files],
    ["a field has another type", { ...head(good), rows: "10" }, good.files],
    ["a number is negative", { ...head(good), bytes: -1 }, good.files],
    ["its rows are not those of its files", { ...head(good), rows: 11 }, good.files],
    ["its bytes are not those of its files", { ...head(good), bytes: 11 }, good.files],
    ["a file is missing", head(good), []],
    ["there is a file too many", head(good), [...good.files, ...good.files]],
    ["its dataset id is another's", { ...head(good), datasetId: datasetId("others") }, good.files],
    ["its fingerprint is not its columns'", { ...head(good), schemaFingerprint: "00" }, good.files],
    ["a file lies outside of the lake", head(good), [dataFile("workers", "x", { key: "../../../etc/passwd" })]],
    ["a file belongs to another dataset", head(good), [dataFile("others", "x")]],
    ...[
      "INTEGER) FROM (SELECT 1",
      "INTEGER; DROP TABLE x",
      "INTEGER)--(",
      "",
      'STRUCT("a INTEGER)',
      "INTEGER /* */",
    ].map((type): [string, Record<string, unknown>, DataFile[]] => {
      const columns = [{ id: 1, name: "a", type }];
      const fields = { ...head(good), columns, schemaFingerprint: schemaFingerprint(columns) };
      return [`a column has the type ${type}`, fields, good.files];
    }),
    ["a file is a manifest", head(good), [dataFile("workers", "x", { key: KEY })]],
  ];
  test.each(cases)("%s", async (_, fields, files, key = KEY) => {
    const bytes = seal(await writeTable(new Map([["lakehouse", JSON.stringify(fields)]]), files));
    await expect(decodeManifest(bytes, key)).rejects.toMatchObject({
      name: "LakeError",
      kind: "corrupt",
      message: expect.stringContaining(key),
    });
  });

  test("its metadata is no JSON, or is not there", async () => {
    for (const metadata of [new Map([["lakehouse", "{oops"]]), new Map([["other", "{}"]]), new Map<string, string>()]) {
      const bytes = seal(await writeTable(metadata, []));
      expect(corruption(() => decodeHead(bytes, KEY))).toContain(KEY);
    }
  });

  test("a newer version wrote it, and says so", async () => {
    const json = JSON.stringify({ ...head(good), formatVersion: 2, columns: "something else" });
    const bytes = seal(await writeTable(new Map([["lakehouse", json]]), []));
    expect(corruption(() => decodeHead(bytes, KEY))).toBe(`${KEY} has format 2; this version reads format 1.`);
  });
});

test("what could not be read back is not written", async () => {
  const wrong: Manifest[] = [
    workers([dataFile("others", "x")]),
    workers([dataFile("workers", "x", { key: "data/workers/x.parquet" })]),
    { ...workers([]), rows: 1 },
    { ...workers([]), name: "Workers" },
    { ...workers([]), commitId: "1" },
    { ...workers([]), version: 0 },
  ];
  for (const manifest of wrong) {
    await expect(encodeManifest(manifest)).rejects.toMatchObject({ name: "LakeError", kind: "internal" });
  }
});

describe("DuckDB reads a manifest", () => {
  let scope: Scope;
  let folder: string;
  beforeEach(async () => {
    scope = openScope();
    folder = await mkdtemp(join(tmpdir(), "lakehouse-manifest-"));
    scope.defer(() => rm(folder, { recursive: true, force: true }));
  });
  afterEach(() => scope.close());

  test.each([1, 500])("with %i files", async (count) => {
    const files = Array.from({ length: count }, (_, i) => dataFile("workers", `${i}`, { rows: i + 1 }));
    const manifest = workers(files);
    const path = join(folder, "manifest.parquet");
    await writeFile(path, await encodeManifest(manifest));
    const duck = await openDuck(scope, {
      memoryBytes: 128 * 1024 ** 2,
      threads: 1,
      tempFolder: join(folder, "tmp"),
      maxTempBytes: 1024 ** 2,
      folders: [folder],
    });
    const connection = await duck.connect();
    scope.defer(() => connection.close());
    const rows = await connection.rows(
      `FROM (SELECT key, bytes, rows, source_hash, unnest(stats, recursive := true) FROM ${literal(path)})
       ORDER BY rows, "column" DESC LIMIT 2`,
    );
    const common = { key: files[0]?.key, bytes: "100", rows: "1", source_hash: files[0]?.sourceHash };
    expect(rows).toEqual([
      { ...common, column: "worker_id", min: "1", max: "10", nulls: "0" },
      { ...common, column: "name", min: "Ada", max: null, nulls: "3" },
    ]);
    const [metadata] = await connection.rows<{ json: string }>(
      `SELECT decode(value) AS json FROM parquet_kv_metadata(${literal(path)}) WHERE key = 'lakehouse'`,
    );
    expect(JSON.parse(metadata?.json ?? "")).toEqual(head(manifest));
    const [total] = await connection.rows(`SELECT count(*) AS files, sum(rows)::BIGINT AS rows FROM ${literal(path)}`);
    expect(total).toEqual({ files: `${count}`, rows: `${manifest.rows}` });
  });
});

function workers(files: DataFile[], overrides: Partial<Manifest> = {}): Manifest {
  return {
    formatVersion: 1,
    commitId: "11111111-2222-4333-8444-555555555555",
    version: 3,
    parent: 2,
    datasetId: datasetId("workers"),
    name: "workers",
    kind: "table",
    dropped: false,
    columns: COLUMNS,
    lastColumnId: 2,
    schemaFingerprint: schemaFingerprint(COLUMNS),
    rows: files.reduce((sum, { rows }) => sum + rows, 0),
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    fileCount: files.length,
    createdAt: "2026-01-01T00:00:00.000Z",
    updatedAt: "2026-01-02T00:00:00.000Z",
    provenance: {
      operation: "append",
      source: 'inline "text", ünïcode',
      sourceHash: "sha256:00",
      options: { mode: "append", nested: { list: [1, null, "x"] } },
      engine: "0.1.0",
    },
    files,
    ...overrides,
  };
}

function head({ files: _, ...fields }: Manifest): Record<string, unknown> {
  return fields;
}

/** The Parquet file inside of a sealed one: without the 32 bytes before the footer. */
function unsealed(sealed: Uint8Array): Uint8Array {
  const buffer = Buffer.from(sealed);
  const footer = buffer.length - 8 - buffer.readUInt32LE(buffer.length - 8);
  return Buffer.concat([buffer.subarray(0, footer - 32), buffer.subarray(footer)]);
}

function corruption(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof LakeError && error.kind === "corrupt") return error.message;
    throw error;
  }
  throw new Error("the damage was not noticed");
}
