import { type Connection, identifier, literal, literalList } from "../duckdb/duckdb.ts";
import { LakeError } from "../errors.ts";
import type { ConvertContext, Converted, Converter, IngestNotes, Source } from "./types.ts";
import { writeParquet } from "./write.ts";

/**
 * Parquet as it is on disk becomes Parquet as the lake wants it: our field ids, compression and row groups. Values and
 * types stay; repeated and empty column names are changed and reported. The footer is judged before any work:
 * `limit` for more rows than `context.maxRows`, `invalid` for what is damaged, encrypted or holds a type that DuckDB
 * would round.
 */
export const convertParquet: Converter = async (source, context) => {
  if (source.compression !== "none") {
    throw new LakeError("invalid", `${source.label} is a compressed Parquet file, which cannot be read in place.`, {
      hint: "Decompress it first; Parquet compresses its own pages.",
    });
  }
  const connection = await context.duck.connect();
  try {
    return await reencode(connection, source, context);
  } catch (error) {
    throw sourceError(error, source);
  } finally {
    connection.close();
  }
};

async function reencode(connection: Connection, source: Source, context: ConvertContext): Promise<Converted> {
  const { signal } = context;
  const [footer] = await connection.rows<{ rows: string; groups: string; bytes: string }>(
    `SELECT
       (SELECT num_rows FROM parquet_file_metadata(${literal(source.path)})) AS rows,
       sum(group_rows) AS groups, sum(group_bytes) AS bytes
     FROM (SELECT any_value(row_group_num_rows) AS group_rows, sum(total_uncompressed_size) AS group_bytes
           FROM parquet_metadata(${literal(source.path)}) GROUP BY row_group_id)`,
    { signal },
  );
  const rows = Math.max(Number(footer?.rows ?? 0), Number(footer?.groups ?? 0));
  refuseTooManyRows(source, rows, context.maxRows);
  const names = await topLevelNames(connection, source, signal);
  const columns = await describeParquet(connection, [source.path], signal);
  const files = await writeParquet(connection, selectParquet(columns, [source.path]), columns, context, {
    rowBytes: rows > 0 ? Number(footer?.bytes ?? 0) / rows : 0,
  });
  const renamed = columns.flatMap(({ name }, index) => {
    const from = names[index];
    return from === undefined || from === name ? [] : [{ from, to: name }];
  });
  return {
    columns,
    files,
    rows: files.reduce((sum, file) => sum + file.rows, 0),
    notes: { ...noNotes(), renamed_columns: renamed },
  };
}

/** Throws `limit` when a source says that it has more rows than one ingest may write. */
export function refuseTooManyRows(source: Source, rows: number, maxRows: number): void {
  if (rows <= maxRows) return;
  throw new LakeError("limit", `${source.label} has ${rows} rows; one ingest may write ${maxRows}.`, {
    hint: "Ingest part of it, or raise max_ingest_rows (LAKEHOUSE_MAX_INGEST_ROWS).",
  });
}

/** Columns of Parquet files that have one schema, under the names DuckDB gives them. */
export async function describeParquet(
  connection: Connection,
  paths: string[],
  signal: AbortSignal | undefined,
): Promise<{ name: string; type: string }[]> {
  const described = await connection.rows<{ column_name: string; column_type: string }>(
    `DESCRIBE FROM ${readParquet(paths)}`,
    { signal },
  );
  return described.map(({ column_name, column_type }) => ({ name: column_name, type: column_type }));
}

export function selectParquet(columns: readonly { name: string }[], paths: string[]): string {
  return `SELECT ${columns.map(({ name }) => identifier(name)).join(", ")} FROM ${readParquet(paths)}`;
}

export function noNotes(): IngestNotes {
  return { kept_as_text: [], skipped_rows: null, renamed_columns: [], encoding: null, converted: [], dialect: null };
}

function readParquet(paths: string[]): string {
  return `read_parquet(${literalList(paths)}, hive_partitioning = false)`;
}

/** A list takes three levels, and DuckDB twice as long to read with every list in a list. */
const MAX_LEVELS = 48;

interface SchemaElement {
  name: string;
  num_children: string | null;
  type: string | null;
  converted_type: string | null;
  logical_type: string | null;
  precision: string | null;
}

/** Names of the top-level columns as the file has them; DuckDB shows them only after making them unique. */
async function topLevelNames(connection: Connection, source: Source, signal: AbortSignal | undefined) {
  const elements = await connection.rows<SchemaElement>(
    `SELECT name, num_children, type, converted_type, logical_type, precision
     FROM parquet_schema(${literal(source.path)})`,
    { signal },
  );
  const names: string[] = [];
  // The schema is a tree written depth first, each element followed by its children.
  const open: { name: string; left: number }[] = [];
  for (const element of elements) {
    const parent = open.at(-1);
    if (parent) {
      parent.left -= 1;
      if (open.length === 1) names.push(element.name);
      refuseRounded(source, element, [...open.slice(1).map(({ name }) => name), element.name].join("."));
    }
    if (open.length > MAX_LEVELS) {
      throw new LakeError("invalid", `${source.label} nests its types deeper than ${MAX_LEVELS} levels.`, {
        hint: "Write the inner levels as JSON text.",
      });
    }
    open.push({ name: element.name, left: Number(element.num_children ?? 0) });
    while (open.at(-1)?.left === 0) open.pop();
  }
  return names;
}

/** DuckDB reads decimals of more than 38 digits as DOUBLE. */
function refuseRounded(source: Source, element: SchemaElement, path: string): void {
  if (element.converted_type !== "DECIMAL" && !element.logical_type?.startsWith("Decimal")) return;
  if (Number(element.precision ?? 0) <= 38) return;
  throw new LakeError(
    "invalid",
    `${source.label}: column "${path}" is a DECIMAL(${element.precision}); 38 digits fit.`,
    {
      hint: "Write it as DECIMAL(38, s) or as text.",
    },
  );
}

/** DuckDB's words about a file, in terms of what the caller named. */
function sourceError(error: unknown, source: Source): unknown {
  if (!(error instanceof LakeError) || error.kind === "limit" || error.kind === "conflict") return error;
  if (!error.message.includes(source.path)) {
    // Damage inside a page surfaces without the file's name.
    if (error.kind !== "internal" && !/TProtocol|Parquet|decompress|Thrift/i.test(error.message)) return error;
  }
  const text = `${error.message} ${error.cause instanceof Error ? error.cause.message : ""}`;
  const [what, hint] = explain(text);
  return new LakeError("invalid", `${source.label} ${what}`, { hint, cause: error });
}

function explain(text: string): [what: string, hint: string] {
  if (/encrypt/i.test(text)) return ["is an encrypted Parquet file.", "Write it again without encryption."];
  if (/at least one non-root column/.test(text)) {
    return ["has no columns.", "A dataset needs at least one column."];
  }
  if (/magic bytes|too small/.test(text)) {
    return [
      "is not a Parquet file, or is cut short: its last four bytes are not PAR1.",
      "Check that it was copied completely, or pass the right `format`.",
    ];
  }
  if (/Not implemented|Unsupported|not supported/i.test(text)) {
    return [`holds something DuckDB cannot read: ${reason(text)}`, "Write it with plainer types or encodings."];
  }
  return [`is damaged: ${reason(text)}`, "Write the file again and retry."];
}

/** The last clause of DuckDB's first line: the part after labels and paths. */
function reason(text: string): string {
  const line = (text.split("\n", 1)[0] ?? "").replace(/'[^']*\/[^']*'|"[^"]*\/[^"]*"/g, "the file");
  return line.replace(/^(?:[A-Z][A-Za-z ]+ error: |DuckDB could not read or write: )/, "").trim();
}
