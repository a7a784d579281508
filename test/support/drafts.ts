import { createHash } from "node:crypto";
import { dataKey, schemaFingerprint } from "../../src/engine/catalog/identity.ts";
import type { Column, DataFile, Draft } from "../../src/engine/catalog/types.ts";
import type { Clock } from "../../src/engine/settings.ts";

export const COLUMNS: Column[] = [
  { id: 1, name: "worker_id", type: "BIGINT" },
  { id: 2, name: "name", type: "VARCHAR" },
];

/** A data file of `dataset` as a manifest describes it; the same `content` gives the same file. */
export function dataFile(dataset: string, content: string, overrides: Partial<DataFile> = {}): DataFile {
  const sha256 = createHash("sha256").update(content).digest("hex");
  return {
    key: dataKey(dataset, schemaFingerprint(COLUMNS), sha256),
    bytes: 100,
    rows: 10,
    sourceHash: `sha256:${sha256}`,
    stats: {
      worker_id: { min: "1", max: "10", nulls: 0 },
      name: { min: "Ada", max: null, nulls: 3 },
    },
    ...overrides,
  };
}

/** What a writer decides who wants `dataset` to hold `files`. */
export function draft(files: DataFile[], overrides: Partial<Draft> = {}): Draft {
  return {
    kind: "table",
    dropped: false,
    columns: COLUMNS,
    files,
    provenance: {
      operation: "replace",
      source: "./workers.csv",
      sourceHash: "sha256:00",
      options: { mode: "replace" },
    },
    ...overrides,
  };
}

export function tombstone(): Draft {
  return draft([], {
    dropped: true,
    provenance: { operation: "drop", source: "dataset-drop", sourceHash: "", options: {} },
  });
}

/** A clock that goes on by a second with every look at it. */
export function tickingClock(): Clock {
  let time = Date.parse("2026-01-01T00:00:00Z");
  return {
    now: () => {
      time += 1000;
      return new Date(time);
    },
  };
}
