import { describe, expect, test } from "vitest";
import {
  assertDatasetName,
  DATASET_NAME,
  dataKey,
  datasetId,
  isDataKey,
  manifestKey,
  parseManifestKey,
  parseReference,
  schemaFingerprint,
} from "../../../src/engine/catalog/identity.ts";
import type { LakeError } from "../../../src/engine/kernel/errors.ts";
import { byCodeUnit } from "../../../src/engine/store/key.ts";

test("dataset ids are pinned (computed with Python's uuid.uuid5)", () => {
  expect(datasetId("workers")).toBe("4ee908eb-05e4-5c26-a4ad-4ca54bb01062");
  expect(datasetId("a")).toBe("e407b3cd-f733-5b16-8857-e7238483c721");
  expect(datasetId("sales_2024")).toBe("6a616fc8-6dbf-5872-9482-880dfeadf31c");
  expect(datasetId("x".repeat(63))).toBe("a815d36a-8625-5fa7-9085-e49a7976657a");
});

test("schema fingerprints are pinned (computed with Python's hashlib)", () => {
  const fingerprint = (...columns: [string, string][]): string =>
    schemaFingerprint(columns.map(([name, type]) => ({ name, type })));
  expect(fingerprint()).toBe("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  expect(fingerprint(["worker_id", "BIGINT"], ["name", "VARCHAR"])).toBe(
    "d80535afc272634fc927130cf544357bfffe4cd4acb20e4cdf4eff671af6fd7c",
  );
  expect(fingerprint(["name", "VARCHAR"], ["worker_id", "BIGINT"])).toBe(
    "42f845a680f97bdfabc2b872b358977050b249696e4ec8595ece5ece11b22156",
  );
  expect(fingerprint(["größe", "DECIMAL(18,3)"], ["tags", "VARCHAR[]"])).toBe(
    "37901927f2a117b6564c5c0c5b8248a8a1f93278cd3569e7ba935b6a0a5df1a6",
  );
});

test("field ids are not part of the fingerprint", () => {
  const columns = [{ id: 1, name: "a", type: "INTEGER" }];
  expect(schemaFingerprint(columns.map((column) => ({ ...column, id: 7 })))).toBe(schemaFingerprint(columns));
});

describe("dataset names", () => {
  test.each(["a", "workers", "w_2", "select", "x".repeat(63)])("%s is one", (name) => {
    expect(() => assertDatasetName(name)).not.toThrow();
  });

  test.each([
    ["Workers", "workers"],
    ["my data", "my_data"],
    ["2024 sales", "t_2024_sales"],
    ["Café Größe", "cafe_gro_e"],
    ["café.csv", "cafe_csv"],
    ["__x__", "x"],
    ["", "dataset"],
    ["日本", "dataset"],
    ["workers@3", "workers_3"],
    ["../etc/passwd", "etc_passwd"],
    ["a'; DROP TABLE x; --", "a_drop_table_x"],
    [`${"a".repeat(62)}_b`, "a".repeat(62)],
    ["x".repeat(64), "x".repeat(63)],
    ["x\n", "x"],
  ])("%j is none, and %s is offered", (name, corrected) => {
    let thrown: LakeError | undefined;
    try {
      assertDatasetName(name);
    } catch (error) {
      thrown = error as LakeError;
    }
    expect(thrown?.kind).toBe("invalid");
    expect(thrown?.hint).toContain(`for example ${corrected}.`);
    expect(DATASET_NAME.test(corrected)).toBe(true);
  });
});

describe("references", () => {
  test("name a dataset, or one of its versions", () => {
    expect(parseReference("workers")).toEqual({ name: "workers" });
    expect(parseReference("workers@3")).toEqual({ name: "workers", version: 3 });
    expect(parseReference("Wrong Name@12")).toEqual({ name: "Wrong Name", version: 12 });
  });

  test.each([
    "workers@",
    "workers@0",
    "workers@-1",
    "workers@1.5",
    "workers@x",
    "workers@1@2",
    "workers@ 3",
    "w@9007199254740993",
    "w@99999999999999999999",
  ])("%j names no version", (reference) => {
    expect(() => parseReference(reference)).toThrow(expect.objectContaining({ kind: "invalid" }));
  });

  test("are refused with a version where none is expected", () => {
    expect(parseReference("workers", "a dataset")).toEqual({ name: "workers" });
    expect(() => parseReference("workers@3", "a dataset")).toThrow(
      '"workers@3" names one version; expected a dataset.',
    );
  });
});

describe("keys", () => {
  test("are pinned", () => {
    expect(manifestKey("workers", 42)).toBe("catalog/workers/00000000000000000042.parquet");
    expect(dataKey("workers", "ab", "cd")).toBe("data/workers/ab/cd.parquet");
  });

  test("of manifests sort by version and are read back", () => {
    const versions = [1, 2, 9, 10, 99, 100, Number.MAX_SAFE_INTEGER];
    const keys = versions.map((version) => manifestKey("w", version));
    expect(keys.toSorted(byCodeUnit)).toEqual(keys);
    expect(keys.map(parseManifestKey)).toEqual(versions.map((version) => ({ name: "w", version })));
  });

  test.each([
    "catalog/w/1.parquet",
    "catalog/w/00000000000000000000.parquet",
    "catalog/W/00000000000000000001.parquet",
    "catalog/w/00000000000000000001.parquet.bak",
    "catalog/w/x/00000000000000000001.parquet",
    "data/w/00000000000000000001.parquet",
    "catalog/w/99999999999999999999.parquet",
  ])("%s is no manifest's", (key) => {
    expect(parseManifestKey(key)).toBeUndefined();
  });

  test("of data files belong to one dataset", () => {
    const key = dataKey("workers", "a".repeat(64), "0".repeat(64));
    expect(isDataKey(key, "workers")).toBe(true);
    expect(isDataKey(key, "others")).toBe(false);
    expect(isDataKey("data/workers/../../etc/passwd", "workers")).toBe(false);
    expect(isDataKey(dataKey("workers", "A".repeat(64), "0".repeat(64)), "workers")).toBe(false);
  });
});
