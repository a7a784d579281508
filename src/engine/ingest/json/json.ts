import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Connection, identifier, literal } from "../../duckdb/duckdb.ts";
import { foldedName } from "../../duckdb/folded-name.ts";
import { LakeError } from "../../kernel/errors.ts";
import { runWorker } from "../../kernel/run-worker.ts";
import { decompress } from "../compression/decompress.ts";
import { noNotes } from "../parquet/parquet.ts";
import type { ConvertContext, Converted, Converter, IngestNotes, Source } from "../types.ts";
import { uniqueNames } from "../unique-names.ts";
import { writeParquet } from "../write.ts";
import type { Example } from "./json-copy.ts";
import { KIND } from "./json-kinds.ts";
import { type ColumnSurvey, RECORDS_ARE_OBJECTS } from "./json-survey.ts";
import { type Decision, decideType, widthOf } from "./json-types.ts";
import type { JsonSurvey, JsonTask } from "./json-worker.ts";

type KeptAsText = IngestNotes["kept_as_text"][number];

/** Share of reading in the progress; the rest is writing. */
const FIRST_PART = 0.5;
/** DuckDB buffers twice as much, which has to hold the longest record. */
const READ_BYTES = 2 * 1024 ** 2;
/** Smaller for lists and objects, which take many times their text in memory. */
const NESTED_READ_BYTES = 256 * 1024;
const SPARE_BYTES = 1024;

/**
 * JSON (a list of objects, or objects one after the other) and NDJSON. DuckDB's reader rounds numbers, ignores damage and
 * drops keys that it did not sample, so a worker reads the whole source first: it checks the grammar, infers the type of
 * every column from all of its values, and writes the records one a line for DuckDB to read with these types.
 *
 * A column is BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP or TIMESTAMP WITH TIME ZONE when every value is one and none is
 * rounded by it; STRUCT, LIST or MAP when every value is an object or list; JSON when those are mixed with plain values
 * or too irregular; else VARCHAR. Throws `invalid` with line and column, `limit` beyond `context.maxRows`.
 */
async function convertRecords(source: Source, context: ConvertContext, lines: boolean): Promise<Converted> {
  const connection = await context.duck.connect();
  const records = join(context.folder, "records.ndjson");
  try {
    const path = await decompress(source, context);
    const survey = await surveyJson(source, path, records, context, lines);
    if (path !== source.path) await rm(path);
    if (survey.columns.length === 0) throw noColumns(source, survey);
    const converted = await convert(connection, records, survey, context);
    await rm(records);
    return {
      ...converted,
      notes: { ...converted.notes, encoding: survey.encoding === "utf-8" ? null : survey.encoding },
    };
  } finally {
    connection.close();
  }
}

export const convertJson: Converter = (source, context) => convertRecords(source, context, false);
export const convertNdjson: Converter = (source, context) => convertRecords(source, context, true);

function surveyJson(
  source: Source,
  path: string,
  records: string,
  context: ConvertContext,
  lines: boolean,
): Promise<JsonSurvey> {
  const { onProgress, signal } = context;
  const task: JsonTask = {
    path,
    records,
    lines,
    skipBad: context.onBadRows === "skip",
    maxRows: context.maxRows,
    targets: Object.fromEntries((context.target?.columns ?? []).map(({ name, type }) => [foldedName(name), type])),
  };
  return runWorker("ingest/json/json-worker", task, source.label, {
    signal,
    onProgress: onProgress && ((fraction) => onProgress(fraction * FIRST_PART)),
  });
}

function noColumns(source: Source, { rows, skipped }: JsonSurvey): LakeError {
  const what = skipped.count > 0 ? "has no good line" : rows > 0 ? "has only objects without keys" : "has no objects";
  return new LakeError("invalid", `${source.label} ${what}, so there are no columns to make.`, {
    hint: RECORDS_ARE_OBJECTS,
  });
}

async function convert(
  connection: Connection,
  records: string,
  survey: JsonSurvey,
  context: ConvertContext,
): Promise<Converted> {
  const targets = new Map(context.target?.columns.map(({ name, type }) => [foldedName(name), type]));
  const fields = survey.columns.map(({ key }, index) => (survey.renamed ? `c${index}` : key));
  const decided = survey.columns.map((column, index) => ({
    column,
    field: identifier(fields[index] ?? ""),
    ...(survey.whole ? wholeRecord(column) : decideType(column, targets.get(foldedName(column.key)))),
  }));
  const hasNested = decided.some(({ type }) => type === "NESTED" || type === "JSON");
  const readBytes = Math.max(hasNested ? NESTED_READ_BYTES : READ_BYTES, survey.longest + SPARE_BYTES);
  const { names, renamed } = uniqueNames(
    survey.columns.map(({ key }) => key),
    (key) => key.replaceAll("\0", ""),
  );
  const read = (types: readonly string[]): string =>
    `read_json(${literal(records)}, format = 'newline_delimited', compression = 'uncompressed',
      maximum_object_size = ${readBytes},
      columns = {${types.map((type, index) => `${literal(fields[index] ?? "")}: ${literal(type)}`).join(", ")}})`;
  const nested = await nestedTypes(connection, decided, context.signal);

  const write = async (types: readonly string[], kept: KeptAsText[]): Promise<Converted> => {
    const columns = types.map((type, index) => ({ name: names[index] ?? `c${index}`, type }));
    const projection = columns.map(
      ({ name, type }, index) => `CAST(${decided[index]?.field} AS ${type}) AS ${identifier(name)}`,
    );
    const select = `SELECT ${projection.join(", ")} FROM ${read(types.map(readAs))}`;
    const { onProgress } = context;
    const files = await writeParquet(
      connection,
      select,
      columns,
      { ...context, onProgress: onProgress && ((fraction) => onProgress(FIRST_PART + fraction * (1 - FIRST_PART))) },
      {
        rowBytes: (nested.size > 0 ? NESTED_GROWTH : 1) * (survey.bytes / Math.max(1, survey.rows)),
        atMostRows: survey.rows,
      },
    );
    return {
      columns,
      files,
      rows: files.reduce((sum, file) => sum + file.rows, 0),
      notes: {
        ...noNotes(),
        kept_as_text: kept,
        renamed_columns: renamed,
        skipped_rows: survey.skipped.count > 0 ? survey.skipped : null,
      },
    };
  };

  const kept = decided.flatMap(({ column, kept: asText }) => [
    ...(asText ? [asText] : []),
    ...(column.nestedKey ? [repeatedKeyNote(column.key, column.nestedKey)] : []),
    ...(column.nestedNumber ? [nestedNumberNote(column.key, column.nestedNumber)] : []),
  ]);
  kept.push(...keepWideAsJson(survey.columns, nested));
  try {
    return await write(
      decided.map(({ type }, index) => (type === "NESTED" ? (nested.get(index) ?? "JSON") : type)),
      kept,
    );
  } catch (error) {
    if (!(error instanceof LakeError) || nested.size === 0) throw error;
    // Values that DuckDB cannot convert to a STRUCT after all are stored as JSON.
    if (error.kind !== "invalid") throw error;
    return write(
      decided.map(({ type }) => (type === "NESTED" ? "JSON" : type)),
      kept,
    );
  }
}

/** The note for a column that is JSON in the place of a nested type. */
function nestedNote(column: ColumnSurvey | undefined, reason: string): KeptAsText[] {
  const example = column?.first[KIND.NESTED];
  return column && example ? [{ column: column.key, inferred: "STRUCT", ...example, reason }] : [];
}

/** Memory of lists and objects as a multiple of their text. */
const NESTED_GROWTH = 4;
/** Widest row, by `widthOf`, that 256 MiB and two threads were seen to hold. */
const MAX_WIDTH = 1500;

/** Removes the widest types from `nested` until the others fit in memory, and returns notes about those. */
function keepWideAsJson(columns: readonly ColumnSurvey[], nested: Map<number, string>): KeptAsText[] {
  const widths = [...nested].map(([index, type]) => ({ index, width: widthOf(type) }));
  let total = columns.length - nested.size + widths.reduce((sum, { width }) => sum + width, 0);
  const notes: KeptAsText[] = [];
  for (const { index, width } of widths.toSorted((a, b) => b.width - a.width || a.index - b.index)) {
    if (total <= MAX_WIDTH || width <= 1) break;
    total -= width - 1;
    nested.delete(index);
    notes.push(...nestedNote(columns[index], "all columns together have too many fields; kept as JSON"));
  }
  return notes;
}

function repeatedKeyNote(column: string, { line, value }: Example): KeptAsText {
  const reason = `the key ${JSON.stringify(value)} occurs twice in an object inside; kept as JSON`;
  return { column, inferred: "STRUCT", line, value, reason };
}

function wholeRecord(column: ColumnSurvey): Decision {
  const line = column.first.find((example) => example !== null);
  const reason = "the records have too many different keys for columns";
  return {
    type: "JSON",
    kept: line ? { column: column.key, inferred: "STRUCT", line: line.line, value: line.value, reason } : undefined,
  };
}

function nestedNumberNote(column: string, { line, value }: Example): KeptAsText {
  return {
    column,
    inferred: "DOUBLE",
    line,
    value,
    reason: "a number inside has more digits than a numeric type keeps",
  };
}

/** Dates are read as text and cast: DuckDB's reader of JSON accepts other formats than the survey. */
function readAs(type: string): string {
  return type === "DATE" || type.startsWith("TIMESTAMP") ? "VARCHAR" : type;
}

/** Nested types by column, as DuckDB spells them, since the spelling is part of the schema's fingerprint. */
async function nestedTypes(
  connection: Connection,
  decided: readonly { column: ColumnSurvey; type: string }[],
  signal: AbortSignal | undefined,
): Promise<Map<number, string>> {
  const nested = decided.flatMap(({ type, column }, index) => (type === "NESTED" ? [{ index, column }] : []));
  if (nested.length === 0) return new Map();
  const spelled = await connection.rows<{ column_type: string }>(
    `DESCRIBE SELECT ${nested.map(({ index, column }) => `CAST(NULL AS ${column.nestedType}) AS c${index}`).join(", ")}`,
    { signal },
  );
  return new Map(nested.map(({ index }, position) => [index, spelled[position]?.column_type ?? "JSON"]));
}
