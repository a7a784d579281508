import { rm } from "node:fs/promises";
import { type Connection, identifier, literalList } from "../../duckdb/duckdb.ts";
import { LakeError } from "../../kernel/errors.ts";
import { arrowToParquet } from "../../parquet/arrow-ipc.ts";
import { readEachColumn } from "../each-column.ts";
import { describeParquet, noNotes } from "../parquet/parquet.ts";
import type { ConvertContext, Converter } from "../types.ts";
import { writeParquet } from "../write.ts";

/** Part of the progress that reaching Parquet takes; encoding it our way takes the rest. */
const FIRST_PART = 0.6;

/**
 * Arrow IPC, file or stream (`.arrow`, `.feather`, `.ipc`). DuckDB has no reader for it, so batches become Parquet in a
 * worker first, and that becomes ours as any other Parquet does. Throws `invalid` naming a column whose type has no
 * Parquet form, or what is damaged; `limit` beyond `context.maxRows`.
 */
export const convertArrow: Converter = async (source, context) => {
  if (source.compression !== "none") {
    throw new LakeError("invalid", `${source.label} is compressed as a whole, which Arrow files cannot be.`, {
      hint: "Decompress it first; LZ4 inside an Arrow file is fine.",
    });
  }
  const { signal, onProgress } = context;
  const {
    files: parts,
    fields,
    converted,
    renamed: inner,
  } = await arrowToParquet({ path: source.path, folder: context.folder, maxRows: context.maxRows }, source.label, {
    signal,
    onProgress: onProgress && ((fraction) => onProgress(fraction * FIRST_PART)),
  });
  const connection = await context.duck.connect();
  try {
    const read = await describeParquet(connection, parts, signal);
    if (context.onColumn) {
      const columns = read.map(({ name }, at) => ({ select: identifier(name), name: fields[at]?.name ?? name }));
      await readEachColumn(
        connection,
        `read_parquet(${literalList(parts)}, hive_partitioning = false)`,
        columns,
        context,
      );
    }
    const fine = read.filter((_, index) => fields[index]?.isZonedNanos).map(({ name }) => name);
    const whole = await wholeMicros(connection, parts, fine, context);
    const told = converted.filter(({ column, to }) => !(to === "TIMESTAMP_NS" && isIn(whole, column, read, fields)));
    const projection = read.map(({ name }, index) => {
      if (whole.has(name)) return `CAST(${identifier(name)} AS TIMESTAMP) AT TIME ZONE 'UTC' AS ${identifier(name)}`;
      const cast = fields[index]?.cast;
      return cast === undefined ? identifier(name) : `CAST(${identifier(name)} AS ${cast}) AS ${identifier(name)}`;
    });
    const select = `SELECT ${projection.join(", ")} FROM read_parquet(${literalList(parts)}, hive_partitioning = false)`;
    const described = await connection.rows<{ column_name: string; column_type: string }>(`DESCRIBE ${select}`, {
      signal,
    });
    const columns = described.map(({ column_name, column_type }) => ({ name: column_name, type: column_type }));
    const files = await writeParquet(connection, select, columns, {
      ...context,
      onProgress: onProgress && ((fraction) => onProgress(FIRST_PART + fraction * (1 - FIRST_PART))),
    }).catch(async (error: unknown) => {
      if (!(error instanceof LakeError && error.kind === "invalid")) throw error;
      const wrong = await failingCast(connection, parts, read, fields);
      if (wrong === undefined) throw error;
      throw new LakeError("invalid", `${source.label}: column ${JSON.stringify(wrong)} holds text that is not JSON.`, {
        hint: "Correct it, or write the column as plain text, without the extension type arrow.json.",
        cause: error,
      });
    });
    await Promise.all(parts.map((path) => rm(path)));
    const renamed = columns.flatMap(({ name }, index) => {
      const from = fields[index]?.name ?? name;
      return from === name ? [] : [{ from, to: name }];
    });
    return {
      columns,
      files,
      rows: files.reduce((sum, file) => sum + file.rows, 0),
      notes: { ...noNotes(), renamed_columns: [...renamed, ...inner], converted: told },
    };
  } finally {
    connection.close();
  }
};

/** The first column with a value that its cast refuses; only JSON is cast from what may be anything. */
async function failingCast(
  connection: Connection,
  parts: string[],
  read: readonly { name: string }[],
  fields: readonly { cast: string | undefined }[],
): Promise<string | undefined> {
  for (const [index, { name }] of read.entries()) {
    const cast = fields[index]?.cast;
    if (cast === undefined || !/\bJSON\b/.test(cast)) continue;
    const tried = `SELECT count(CAST(${identifier(name)} AS ${cast})) FROM read_parquet(${literalList(parts)})`;
    const isRight = await connection.rows(tried).then(
      () => true,
      () => false,
    );
    if (!isRight) return name;
  }
  return undefined;
}

/** Those of the columns of nanoseconds without a part of a microsecond, unless the dataset has nanoseconds already. */
async function wholeMicros(
  connection: Connection,
  parts: string[],
  names: readonly string[],
  { target, signal }: ConvertContext,
): Promise<Set<string>> {
  const open = names.filter(
    (name) => !target?.columns.some((column) => column.name === name && column.type === "TIMESTAMP_NS"),
  );
  if (open.length === 0) return new Set();
  const asked = open.map((name, at) => `bool_and(epoch_ns(${identifier(name)}) % 1000 = 0) AS c${at}`);
  const [row] = await connection.rows<Record<string, boolean | null>>(
    `SELECT ${asked.join(", ")} FROM read_parquet(${literalList(parts)}, hive_partitioning = false)`,
    { signal },
  );
  return new Set(open.filter((_, at) => row?.[`c${at}`] !== false));
}

/** Whether a column of the file, by the name that it has there, is one of `names`. */
function isIn(
  names: ReadonlySet<string>,
  column: string,
  read: readonly { name: string }[],
  fields: readonly { name: string; isZonedNanos: boolean }[],
): boolean {
  return fields.some((field, at) => field.isZonedNanos && field.name === column && names.has(read[at]?.name ?? ""));
}
