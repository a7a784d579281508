import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { dataKey, schemaFingerprint } from "../../../src/engine/catalog/identity.ts";
import type { Column, Manifest } from "../../../src/engine/catalog/types.ts";
import { literal } from "../../../src/engine/duckdb/duckdb.ts";
import { openScope } from "../../../src/engine/kernel/scope.ts";
import { openQueryEngine } from "../../../src/engine/query/duckdb/query.ts";
import type { SearchVectors } from "../../../src/engine/query/search/vector-hits.ts";
import type { QueryEngine } from "../../../src/engine/query/types.ts";
import type { EngineSettings } from "../../../src/engine/settings.ts";
import { testSettings } from "../../support/lake.ts";
import { openParquetLake, type ParquetLake } from "../../support/parquet-lake.ts";

export const DIMENSION = 3;

export interface SegmentItem {
  id: string;
  /** Left out: the item is deleted. */
  vector?: number[];
  text?: string;
  metadata?: Record<string, unknown>;
}

/** A lake with indexes of Parquet segments, and a query engine over it with a search of the test's own. */
export interface IndexLake extends AsyncDisposable {
  lake: ParquetLake;
  query: QueryEngine;
  /** Commits one more segment; the first `baseFiles` of all segments are the base. */
  segment(name: string, items: SegmentItem[], baseFiles: number): Promise<Manifest>;
}

const COLUMNS: Column[] = [
  { id: 1, name: "id", type: "VARCHAR" },
  { id: 2, name: "vector", type: `FLOAT[${DIMENSION}]` },
  { id: 3, name: "text", type: "VARCHAR" },
  { id: 4, name: "metadata", type: "JSON" },
];

export async function openIndexLake(
  search?: SearchVectors,
  settings: Partial<EngineSettings> = {},
): Promise<IndexLake> {
  const lake = await openParquetLake();
  const scope = openScope();
  const { store, catalog, bare, folder } = lake;
  const all = testSettings(folder, settings);
  const query = openQueryEngine(scope, { store, catalog, settings: all, ...(search && { search }) });
  const live = new Map<string, Set<string>>();
  let files = 0;

  const segment = async (name: string, items: SegmentItem[], baseFiles: number): Promise<Manifest> => {
    const path = join(folder, `segment${files++}.parquet`);
    const connection = await bare.connect();
    const rows = items.map(
      ({ id, vector, text, metadata }) =>
        `(${literal(id)}, ${vector ? `[${vector.join(", ")}]` : "NULL"}::FLOAT[], ${text === undefined ? "NULL" : literal(text)}, ${
          metadata === undefined ? "NULL" : literal(JSON.stringify(metadata))
        }, ${vector === undefined}, false)`,
    );
    await connection.run(
      `COPY (FROM (VALUES ${rows.join(", ")}) AS t(id, vector, text, metadata, deleted, from_dataset))
       TO ${literal(path)} (FORMAT parquet)`,
    );
    connection.close();
    const bytes = await readFile(path);
    const sha256 = Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).toString("hex");
    const key = dataKey(name, schemaFingerprint(COLUMNS), sha256);
    await store.put(key, bytes, { ifAbsent: true });
    const ids = live.get(name) ?? new Set();
    live.set(name, ids);
    for (const { id, vector } of items) {
      if (vector) ids.add(id);
      else ids.delete(id);
    }
    const nulls = (of: (item: SegmentItem) => unknown): number => items.filter((item) => of(item) === undefined).length;
    const stats = {
      id: { min: "a", max: "z", nulls: 0 },
      vector: { min: "0", max: "1", nulls: nulls((item) => item.vector) },
      text: { min: null, max: null, nulls: nulls((item) => item.text) },
    };
    const file = { key, bytes: bytes.length, rows: items.length, sourceHash: `sha256:${sha256}`, stats };
    const { manifest } = await catalog.commit(name, (current) => ({
      kind: "vectors",
      dropped: false,
      columns: COLUMNS,
      files: [...(current?.files ?? []), file],
      index: { dimension: DIMENSION, metric: "cosine", model: null, count: ids.size, baseFiles, source: null },
      provenance: { operation: current ? "upsert" : "create", source: "test", sourceHash: "", options: {} },
    }));
    if (!manifest) throw new Error("nothing was committed");
    return manifest;
  };

  return {
    lake,
    query,
    segment,
    [Symbol.asyncDispose]: async () => {
      await scope.close();
      await lake[Symbol.asyncDispose]();
    },
  };
}
