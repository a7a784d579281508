import { itemCount } from "../../catalog/browse.ts";
import type { Catalog, Head, Manifest } from "../../catalog/types.ts";
import { identifier } from "../../duckdb/duckdb.ts";
import { insertJson } from "../../duckdb/json-rows.ts";
import { mapAhead } from "../../kernel/map-ahead.ts";
import { shownSource } from "../guard/shown-source.ts";
import type { Builtin } from "../snapshot.ts";

const LOADS_AHEAD = 16;
const ROWS_PER_STATEMENT = 200;

/** Statements that create a table of the catalog: a row per dataset, per retained version, or per current file. */
export function catalogTable(name: Builtin, catalog: Catalog): AsyncIterable<string> {
  return TABLES[name](catalog);
}

const TABLES: Record<Builtin, (catalog: Catalog) => AsyncIterable<string>> = {
  lakehouse_datasets: (catalog) =>
    tableOf(
      "lakehouse_datasets",
      {
        name: "VARCHAR",
        kind: "VARCHAR",
        version: "BIGINT",
        rows: "BIGINT",
        bytes: "BIGINT",
        files: "BIGINT",
        columns: "STRUCT(name VARCHAR, type VARCHAR)[]",
        source: "VARCHAR",
        created_at: "TIMESTAMPTZ",
        updated_at: "TIMESTAMPTZ",
        dataset_id: "VARCHAR",
        schema_fingerprint: "VARCHAR",
      },
      eachHead(catalog, async (head) => [datasetRow(head)]),
    ),
  lakehouse_versions: (catalog) =>
    tableOf(
      "lakehouse_versions",
      {
        name: "VARCHAR",
        version: "BIGINT",
        operation: "VARCHAR",
        rows: "BIGINT",
        bytes: "BIGINT",
        files: "BIGINT",
        dropped: "BOOLEAN",
        source: "VARCHAR",
        committed_at: "TIMESTAMPTZ",
        schema_fingerprint: "VARCHAR",
        commit_id: "VARCHAR",
      },
      eachHead(catalog, async (head) => (await catalog.versions(head.name)).heads.map(versionRow)),
    ),
  lakehouse_files: (catalog) =>
    tableOf(
      "lakehouse_files",
      {
        name: "VARCHAR",
        version: "BIGINT",
        file: "VARCHAR",
        rows: "BIGINT",
        bytes: "BIGINT",
        source_hash: "VARCHAR",
        stats: 'STRUCT("column" VARCHAR, min VARCHAR, max VARCHAR, nulls BIGINT)[]',
      },
      eachHead(catalog, async (head) => fileRows(await catalog.load(head.name, head.version))),
    ),
};

type Row = Record<string, unknown>;

async function* eachHead(catalog: Catalog, rowsOf: (head: Head) => Promise<Row[]>): AsyncGenerator<Row> {
  for await (const rows of mapAhead(catalog.list(), LOADS_AHEAD, rowsOf)) yield* rows;
}

function datasetRow(head: Head): Row {
  return {
    name: head.name,
    kind: head.kind,
    version: head.version,
    rows: itemCount(head),
    bytes: head.bytes,
    files: head.fileCount,
    columns: head.columns.map(({ name, type }) => ({ name, type })),
    source: shownSource(head.provenance),
    created_at: head.createdAt,
    updated_at: head.updatedAt,
    dataset_id: head.datasetId,
    schema_fingerprint: head.schemaFingerprint,
  };
}

function versionRow(head: Head): Row {
  return {
    name: head.name,
    version: head.version,
    operation: head.provenance.operation,
    rows: itemCount(head),
    bytes: head.bytes,
    files: head.fileCount,
    dropped: head.dropped,
    source: shownSource(head.provenance),
    committed_at: head.updatedAt,
    schema_fingerprint: head.schemaFingerprint,
    commit_id: head.commitId,
  };
}

function fileRows(manifest: Manifest): Row[] {
  return manifest.files.map((file) => ({
    name: manifest.name,
    version: manifest.version,
    file: file.key,
    rows: file.rows,
    bytes: file.bytes,
    source_hash: file.sourceHash,
    stats: Object.entries(file.stats).map(([column, stats]) => ({ column, ...stats })),
  }));
}

/** Statements for a temporary table, with some rows each, so that a large catalog does not become one large text. */
async function* tableOf(
  name: string,
  columns: Record<string, string>,
  rows: AsyncIterable<Row>,
): AsyncGenerator<string> {
  const definitions = Object.entries(columns).map(([column, type]) => `${identifier(column)} ${type}`);
  yield `CREATE OR REPLACE TEMP TABLE ${name} (${definitions.join(", ")})`;
  let batch: Row[] = [];
  for await (const row of rows) {
    batch.push(row);
    if (batch.length < ROWS_PER_STATEMENT) continue;
    yield insertJson(name, columns, batch);
    batch = [];
  }
  if (batch.length > 0) yield insertJson(name, columns, batch);
}
