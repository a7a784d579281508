import * as z from "zod";
import { FORMAT_NAMES, LOADABLE } from "../engine/ingest/formats.ts";
import type { IngestRequest } from "../engine/ingest/request.ts";
import type { CsvOptions } from "../engine/ingest/types.ts";
import { bytesOf, countOf } from "../engine/kernel/amounts.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import { MAX_INLINE_CHARS, MAX_SQL_CHARS } from "../engine/kernel/limits.ts";
import { background, orJob, started, startedText } from "./job-start.ts";
import { fence, table } from "./render.ts";
import { defineTool } from "./tool.ts";
import { jsonObject } from "./vector-schema.ts";

const column = z.object({ name: z.string(), type: z.string() });

export const ingested = z.object({
  dataset_id: z.string(),
  name: z.string(),
  version: z.int(),
  rows: z.int().describe("Rows of the dataset now."),
  bytes: z.int().describe("Parquet bytes of the dataset now."),
  schema_fingerprint: z.string(),
  unchanged: z.boolean().describe("The dataset already held exactly this; no new version."),
  columns: z.array(column),
  columns_total: z.int().optional(),
  rows_written: z.int().describe("Rows this call added or replaced the dataset with."),
  notes: z.object({
    kept_as_text: z.array(
      z.object({
        column: z.string(),
        inferred: z.string(),
        line: z.int().nullable(),
        value: z.string(),
        reason: z.string(),
      }),
    ),
    skipped_rows: z
      .object({ count: z.int(), lines: z.array(z.object({ line: z.int(), reason: z.string() })) })
      .nullable(),
    renamed_columns: z.array(z.object({ from: z.string(), to: z.string() })),
    converted: z
      .array(z.object({ column: z.string(), from: z.string(), to: z.string(), reason: z.string() }))
      .optional(),
    more: z.int().optional(),
    encoding: z.string().nullable(),
    dialect: z
      .object({
        delimiter: z.string(),
        quote: z.string(),
        header: z.boolean(),
        // Records of older jobs do not have these.
        header_line: z.int().nullish(),
        header_names: z.array(z.string()).optional().describe("As written, the first 100."),
        skipped_lines: z
          .object({ count: z.int(), lines: z.array(z.object({ line: z.int(), text: z.string() })) })
          .nullish(),
        warning: z.string().nullish(),
      })
      .nullable(),
  }),
});

export const ingest = defineTool({
  name: "ingest",
  title: "Load data",
  effect: "write",
  idempotent: true,
  description: `Load a file, inline text, an upload or the result of a query into a dataset (${LOADABLE}). Types are inferred; a column whose values do not all fit stays text, and the result says so. Every call is one atomic, durable version; the same data again changes nothing. A different schema is refused unless schema_change is allow. Over HTTP, send big files of your own first: curl -T FILE 'SERVER/uploads?name=FILE' -H 'Authorization: Bearer TOKEN' prints the upload.`,
  input: z.strictObject({
    name: z.string().describe("Dataset name: lower-case letters, digits and _, starting with a letter."),
    path: z
      .string()
      .min(1)
      .max(4096)
      .optional()
      .describe("File to read; relative to the allowed folder. Give one of path, text, sql, upload."),
    text: z
      .string()
      .max(MAX_INLINE_CHARS)
      .optional()
      .describe("The data itself, for example CSV with a header line; more than 16 MiB goes through path or upload."),
    sql: z.string().min(1).max(MAX_SQL_CHARS).optional().describe("A SELECT whose result becomes the dataset."),
    upload: z.string().max(100).optional().describe("What PUT /uploads returned; used once it was loaded."),
    format: z.enum(FORMAT_NAMES).optional().describe("Unset: told from name and content."),
    mode: z.enum(["replace", "append", "create"]).default("replace").describe("create fails when the dataset exists."),
    schema_change: z
      .enum(["refuse", "allow"])
      .default("refuse")
      .describe("allow: replace the schema (replace), or add new nullable columns (append)."),
    on_bad_rows: z.enum(["fail", "skip"]).default("fail").describe("skip: leave unreadable rows out and report them."),
    header: z
      .boolean()
      .optional()
      .describe("CSV: whether the first line has the names of the columns. Unset: told from the rows below it."),
    skip_lines: z.int().min(0).max(1_000_000_000).optional().describe("CSV: lines to leave out before that line."),
    delimiter: z.string().min(1).max(2).optional().describe('CSV: one character, or "\\t". Unset: told from the rows.'),
    encoding: z
      .enum(["utf-8", "utf-16le", "utf-16be", "windows-1252", "latin1"])
      .optional()
      .describe("CSV: unset, told from the bytes."),
    null_values: z
      .array(z.string().max(100))
      .max(100)
      .optional()
      .describe("CSV: texts that are NULL in every column, such as - or missing."),
    types: jsonObject
      .optional()
      .describe('CSV: types of columns, as JSON: {"zip": "VARCHAR"}. A value that does not fit is an error.'),
    background,
  }),
  output: orJob(ingested),
  run: async (args, { engine, signal, progress, caller, roots }) => {
    const request: IngestRequest = {
      name: args.name,
      source: sourceOf(args),
      format: args.format,
      mode: args.mode,
      schemaChange: args.schema_change,
      onBadRows: args.on_bad_rows,
      csv: csvOptions(args),
    };
    const performed = await engine.perform("ingest", request, {
      signal,
      onProgress: progress,
      roots: args.path === undefined ? [] : await roots(),
      caller,
      background: args.background,
    });
    return "result" in performed ? viewOfIngest(performed.result) : started(performed.jobId);
  },
  text: (result) =>
    result.job_id === undefined ? ingestedText(result as z.output<typeof ingested>) : startedText(result.job_id),
});

const MAX_COLUMNS = 300;
/** Of each kind of note. */
const MAX_NOTES = 50;

/** The result with a bounded number of columns and notes: thousands would exceed the size of a result. */
export function viewOfIngest<Result extends z.output<typeof ingested>>(result: Result): Result {
  const { columns, notes } = result;
  const { kept_as_text, renamed_columns, converted = [] } = notes;
  const more = [kept_as_text, renamed_columns, converted].reduce(
    (sum, list) => sum + Math.max(0, list.length - MAX_NOTES),
    0,
  );
  if (columns.length <= MAX_COLUMNS && more === 0) return result;
  return {
    ...result,
    columns: columns.slice(0, MAX_COLUMNS),
    ...(columns.length > MAX_COLUMNS && { columns_total: columns.length }),
    notes: {
      ...notes,
      kept_as_text: kept_as_text.slice(0, MAX_NOTES),
      renamed_columns: renamed_columns.slice(0, MAX_NOTES),
      converted: converted.slice(0, MAX_NOTES),
      ...(more > 0 && { more }),
    },
  };
}

export function ingestedText(result: z.output<typeof ingested>): string {
  const { notes } = result;
  const size = `${countOf(result.rows, "row")}, ${bytesOf(result.bytes)}`;
  const lines = [
    result.unchanged
      ? `${result.name} is unchanged: version ${result.version} already holds this data (${size}).`
      : `${result.name} is at version ${result.version}: ${size}; ${countOf(result.rows_written, "row")} written.`,
  ];
  if (notes.dialect !== null) lines.push(...dialectText(notes.dialect));
  if (notes.encoding !== null) lines.push(`Read as ${notes.encoding}.`);
  if (notes.skipped_rows !== null && notes.skipped_rows.count > 0) {
    const first = notes.skipped_rows.lines.map(({ line, reason }) => `line ${line}: ${reason}`);
    lines.push(`Left out ${countOf(notes.skipped_rows.count, "bad row")}:`, fence(first.join("\n")));
  }
  const facts = [
    ...notes.renamed_columns.map(({ from, to }) => `renamed: ${JSON.stringify(from)} → ${to}`),
    ...(notes.converted ?? []).map(
      ({ column, from, to, reason }) => `converted: ${JSON.stringify(column)} from ${from} to ${to}. ${reason}`,
    ),
    ...notes.kept_as_text.map(
      ({ column, inferred, line, value, reason }) =>
        `kept as text: ${column} (looked like ${inferred}${line === null ? "" : `; line ${line}`} has ${JSON.stringify(value)}: ${reason})`,
    ),
  ];
  const columns = table(
    ["column", "type"],
    result.columns.map(({ name, type }) => [name, type]),
  );
  lines.push(fence([columns, ...facts].join("\n")));
  const { columns_total: total } = result;
  if (total !== undefined) {
    lines.push(`The first ${result.columns.length} of ${total} columns: DESCRIBE ${result.name} in sql lists all.`);
  }
  if (notes.more !== undefined) lines.push(`${countOf(notes.more, "more note")} of these kinds are left out.`);
  return lines.join("\n");
}

function dialectText({
  header,
  header_line,
  skipped_lines,
  warning,
}: NonNullable<z.output<typeof ingested>["notes"]["dialect"]>): string[] {
  const lines: string[] = [];
  if (skipped_lines) {
    const areBlank = skipped_lines.lines.length === 0;
    const what = countOf(skipped_lines.count, areBlank ? "blank line" : "line");
    lines.push(`Left out ${what} before the table${areBlank ? "" : "; skip_lines: 0 keeps them"}.`);
    if (skipped_lines.lines.length > 0) {
      lines.push(
        fence(skipped_lines.lines.map(({ line, text }) => `line ${line}: ${JSON.stringify(text)}`).join("\n")),
      );
    }
  }
  lines.push(
    header
      ? `Line ${header_line ?? 1} was taken as column names (header: false makes it a row).`
      : "There was no header line (header: true takes the first line as one).",
  );
  if (warning) lines.push(`Warning: ${warning}`);
  return lines;
}

type CsvArguments = {
  header?: boolean | undefined;
  skip_lines?: number | undefined;
  delimiter?: string | undefined;
  encoding?: CsvOptions["encoding"];
  null_values?: string[] | undefined;
  types?: Record<string, unknown> | undefined;
};

function csvOptions({
  header,
  skip_lines,
  delimiter,
  encoding,
  null_values,
  types,
}: CsvArguments): CsvOptions | undefined {
  const options = { header, skipLines: skip_lines, delimiter, encoding, nullValues: null_values, types };
  return Object.values(options).every((value) => value === undefined) ? undefined : options;
}

type Source = { path?: string; text?: string; sql?: string; upload?: string };

function sourceOf({
  path,
  text,
  sql,
  upload,
}: { [Name in keyof Source]: string | undefined }): IngestRequest["source"] {
  const given = [
    path === undefined ? [] : [{ path }],
    text === undefined ? [] : [{ text }],
    sql === undefined ? [] : [{ sql }],
    upload === undefined ? [] : [{ upload }],
  ].flat();
  const [source] = given;
  if (source !== undefined && given.length === 1) return source;
  throw new LakeError("invalid", "Give exactly one of path, text, sql and upload.", {
    hint: "path reads a file, text takes the data itself, sql keeps the result of a query, upload is what PUT /uploads returned.",
  });
}
