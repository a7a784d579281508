import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Connection, identifier, literal } from "../duckdb/duckdb.ts";
import { LakeError } from "../errors.ts";
import { runWorker } from "../run-worker.ts";
import { openPlainText } from "./csv-text.ts";
import type { ColumnSurvey, Example } from "./json-scan.ts";
import { type Decision, decideType, nestedType } from "./json-types.ts";
import type { JsonSurvey, JsonTask } from "./json-worker.ts";
import { noNotes } from "./parquet.ts";
import type { ConvertContext, Converted, Converter, IngestNotes, Source } from "./types.ts";
import { writeParquet } from "./write.ts";

/** Part of the progress that reading takes; writing takes the rest. */
const FIRST_PART = 0.5;
/** DuckDB reads twice as much as this at a time, and needs room around the longest record. */
const READ_BYTES = 2 * 1024 ** 2;
const SPARE_BYTES = 1024;

/**
 * JSON (a list of objects, or objects one after the other) and NDJSON. DuckDB's reader rounds numbers, reads past
 * damage and drops keys it did not sample, so a worker reads the whole source first: it checks the grammar, finds the
 * type of every column from all of its values, and writes the records one a line with nothing left to guess.
 *
 * A column is BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP or TIMESTAMP WITH TIME ZONE when every value is one and none is
 * rounded by it; STRUCT, LIST or MAP when every value is an object or list; JSON when those are mixed with plain values
 * or too irregular; else VARCHAR. Throws `invalid` with line and column, `limit` beyond `context.maxRows`.
 */
export const convertJson: Converter = async (source, context) => {
  const connection = await context.duck.connect();
  const records = join(context.folder, "records.ndjson");
  try {
    const { path, encoding } = await openPlainText(source, context);
    const survey = await surveyJson(source, path, records, context);
    if (path !== source.path) await rm(path);
    if (survey.columns.length === 0) throw noColumns(source, survey);
    const converted = await convert(connection, records, survey, context);
    await rm(records);
    return { ...converted, notes: { ...converted.notes, encoding: encoding === "utf-8" ? null : encoding } };
  } finally {
    connection.close();
  }
};

function surveyJson(source: Source, path: string, records: string, context: ConvertContext): Promise<JsonSurvey> {
  const { onProgress, signal } = context;
  const task: JsonTask = {
    path,
    records,
    lines: source.format === "ndjson",
    skipBad: context.onBadRows === "skip",
    maxRows: context.maxRows,
    targets: Object.fromEntries((context.target?.columns ?? []).map(({ name, type }) => [name, type])),
  };
  return runWorker(import.meta.url, "json-worker", task, source.label, {
    signal,
    onProgress: onProgress && ((fraction) => onProgress(fraction * FIRST_PART)),
  });
}

function noColumns(source: Source, { rows, skipped }: JsonSurvey): LakeError {
  const what = skipped.count > 0 ? "has no good line" : rows > 0 ? "has only objects without keys" : "has no objects";
  return new LakeError("invalid", `${source.label} ${what}, so there are no columns to make.`, {
    hint: 'Records have to be objects, such as {"value": 1}: a list of them, or one on each line.',
  });
}

async function convert(
  connection: Connection,
  records: string,
  survey: JsonSurvey,
  context: ConvertContext,
): Promise<Converted> {
  const targets = new Map(context.target?.columns.map(({ name, type }) => [name, type]));
  const fields = survey.columns.map(({ key }, index) => (survey.renamed ? `c${index}` : key));
  const decided = survey.columns.map((column, index) => ({
    column,
    field: identifier(fields[index] ?? ""),
    ...(survey.whole ? wholeRecord(column) : decideType(column, targets.get(column.key))),
  }));
  const { names, renamed } = uniqueNames(survey.columns.map(({ key }) => key));
  const read = (types: readonly string[]): string =>
    `read_json(${literal(records)}, format = 'newline_delimited', compression = 'uncompressed',
      maximum_object_size = ${Math.max(READ_BYTES, survey.longest + SPARE_BYTES)},
      columns = {${types.map((type, index) => `${literal(fields[index] ?? "")}: ${literal(type)}`).join(", ")}})`;
  const nested = await nestedTypes(connection, decided, read, context.signal);

  const write = async (types: readonly string[], kept: IngestNotes["kept_as_text"]): Promise<Converted> => {
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
      { rowBytes: survey.bytes / Math.max(1, survey.rows) },
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
    ...(column.nestedNumber ? [nestedNumberNote(column.key, column.nestedNumber)] : []),
  ]);
  try {
    return await write(
      decided.map(({ type }, index) => (type === "NESTED" ? (nested.get(index) ?? "JSON") : type)),
      kept,
    );
  } catch (error) {
    // What DuckDB cannot put into a STRUCT, such as an object with a key twice, JSON still holds as it is.
    if (!(error instanceof LakeError && error.kind === "invalid") || nested.size === 0) throw error;
    return write(
      decided.map(({ type }) => (type === "NESTED" ? "JSON" : type)),
      kept,
    );
  }
}

function wholeRecord(column: ColumnSurvey): Decision {
  const line = column.first.find((example) => example !== null);
  const reason = "the records have too many different keys for columns";
  return {
    type: "JSON",
    kept: line ? { column: column.key, inferred: "STRUCT", line: line.line, value: line.value, reason } : undefined,
  };
}

function nestedNumberNote(column: string, { line, value }: Example): IngestNotes["kept_as_text"][number] {
  return {
    column,
    inferred: "DOUBLE",
    line,
    value,
    reason: "a number inside has more digits than a numeric type keeps",
  };
}

/** Dates go through text, as the survey saw them: the reader of JSON has its own idea of formats. */
function readAs(type: string): string {
  return type === "DATE" || type.startsWith("TIMESTAMP") ? "VARCHAR" : type;
}

async function nestedTypes(
  connection: Connection,
  decided: readonly { column: ColumnSurvey; field: string; type: string }[],
  read: (types: readonly string[]) => string,
  signal: AbortSignal | undefined,
): Promise<Map<number, string>> {
  const nested = decided.flatMap(({ type }, index) => (type === "NESTED" ? [index] : []));
  if (nested.length === 0) return new Map();
  const [row] = await connection.rows<Record<string, string>>(
    `SELECT ${nested.map((index) => `json_group_structure(${decided[index]?.field}) AS c${index}`).join(", ")}
     FROM ${read(decided.map(({ type }) => (type === "NESTED" ? "JSON" : readAs(type))))}`,
    { signal },
  );
  const types = nested.map((index) =>
    nestedType(JSON.parse(row?.[`c${index}`] ?? '"JSON"'), decided[index]?.column.nestedBigint ?? false),
  );
  // In DuckDB's own spelling, which goes into the schema's fingerprint.
  const spelled = await connection.rows<{ column_type: string }>(
    `DESCRIBE SELECT ${types.map((type, index) => `CAST(NULL AS ${type}) AS c${index}`).join(", ")}`,
    { signal },
  );
  return new Map(nested.map((index, position) => [index, spelled[position]?.column_type ?? "JSON"]));
}

/** Names that SQL can tell apart: it ignores case, and knows no empty name. */
function uniqueNames(keys: string[]): { names: string[]; renamed: { from: string; to: string }[] } {
  const reserved = new Set(keys.map((key) => key.toLowerCase()));
  const taken = new Set<string>();
  const renamed: { from: string; to: string }[] = [];
  const names = keys.map((from, index) => {
    const base = from === "" ? `column${index}` : from.replaceAll("\0", "");
    let name = base;
    for (
      let suffix = 1;
      taken.has(name.toLowerCase()) || (name !== from && reserved.has(name.toLowerCase()));
      suffix += 1
    ) {
      name = `${base}_${suffix}`;
    }
    taken.add(name.toLowerCase());
    if (name !== from) renamed.push({ from, to: name });
    return name;
  });
  return { names, renamed };
}
