import * as z from "zod";
import { FORMAT_NAMES, type Format, LOADABLE } from "../engine/ingest/formats.ts";
import type { IngestResult } from "../engine/ingest/request.ts";
import type { CsvDialect, CsvOptions } from "../engine/ingest/types.ts";
import { bytesOf, countOf, grouped } from "../engine/kernel/amounts.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import { visible } from "../engine/kernel/visible.ts";
import { type CommandContext, defineCommand } from "./command.ts";
import { openProgress } from "./progress.ts";
import { showError } from "./run.ts";
import { openSource, plan, type Wanted } from "./sources.ts";
import { jsonText } from "./text.ts";

export const ingest = defineCommand({
  name: "ingest",
  summary: "Load files into datasets.",
  usesWorker: true,
  usage: ["FILE… [options]", "FILE… --name NAME --append", "- --name NAME < FILE"],
  args: { least: 1, most: Number.POSITIVE_INFINITY },
  flags: {
    name: z.string().optional().describe("Dataset to load into. Unset: the name of each file.").meta({ value: "NAME" }),
    mode: z
      .enum(["replace", "append", "create"])
      .optional()
      .describe("What to do when the dataset exists; create fails. Unset: replace.")
      .meta({ value: "MODE" }),
    append: z.boolean().default(false).describe("The same as --mode append."),
    schema_change: z
      .enum(["refuse", "allow"])
      .default("refuse")
      .describe("allow: replace the schema, or add columns when appending:")
      .meta({ value: "WHAT" }),
    on_bad_rows: z
      .enum(["fail", "skip"])
      .default("fail")
      .describe("skip: leave unreadable rows out and report them:")
      .meta({ value: "WHAT" }),
    format: z.enum(FORMAT_NAMES).optional().describe("Unset: told from name and content.").meta({ value: "FORMAT" }),
    header: z
      .enum(["yes", "no"])
      .optional()
      .describe("Whether the first line of a CSV has names. Unset: told from the rows below it.")
      .meta({ value: "WHAT" }),
    skip_lines: z.coerce
      .number()
      .pipe(z.int().min(0).max(1_000_000_000))
      .optional()
      .describe("Lines of a CSV to leave out before that line.")
      .meta({ value: "LINES" }),
    delimiter: z
      .string()
      .optional()
      .describe("One character, or \\t. Unset: told from the rows.")
      .meta({ value: "CHAR" }),
    encoding: z
      .enum(["utf-8", "utf-16le", "utf-16be", "windows-1252", "latin1"])
      .optional()
      .describe("Of a CSV. Unset: told from the bytes.")
      .meta({ value: "NAME" }),
    null_value: z
      .array(z.string())
      .optional()
      .describe("A text of a CSV that is NULL in every column; once for each.")
      .meta({ value: "TEXT" }),
    type: z
      .array(z.string())
      .optional()
      .describe("Type of a column of a CSV, as in zip=VARCHAR; once for each.")
      .meta({ value: "COLUMN=TYPE" }),
    json: z.boolean().default(false).describe("Write a JSON object a file instead of sentences."),
  },
  notes: `Loads ${LOADABLE}.
Each file is one atomic version of its dataset: it is loaded as a whole or not at all. When one fails, the others are
loaded all the same, except into one dataset by --name.`,
  run: async ({ flags, args }, context) => {
    if (flags.append && flags.mode !== undefined && flags.mode !== "append") {
      throw new LakeError("invalid", `--append and --mode ${flags.mode} contradict each other.`, {
        hint: "Leave one out.",
      });
    }
    const mode = flags.append ? "append" : (flags.mode ?? "replace");
    const csv: CsvOptions = {
      header: flags.header === undefined ? undefined : flags.header === "yes",
      skipLines: flags.skip_lines,
      delimiter: flags.delimiter,
      encoding: flags.encoding,
      nullValues: flags.null_value,
      types: readTypes(flags.type),
    };
    const wanted = plan(args, flags.name, mode === "append");
    const engine = await context.engine();
    let failed = 0;
    let loaded = 0;
    for (const each of wanted) {
      context.signal.throwIfAborted();
      try {
        const started = performance.now();
        const result = await load(each, { ...flags, mode, csv }, engine, context);
        loaded += 1;
        const seconds = (performance.now() - started) / 1000;
        const report = flags.json ? `${jsonText({ file: each.file, ...result })}\n` : reportOf(each, result, seconds);
        await context.out.write(report);
      } catch (error) {
        if (wanted.length === 1 || context.signal.aborted) throw error;
        const code = await showError(error, context, each.file);
        failed ||= code;
        if (flags.name !== undefined) break;
      }
    }
    if (wanted.length > 1 && failed > 0) {
      await context.err.write(`${loaded} of ${countOf(wanted.length, "file")} loaded.\n`);
    }
    return failed;
  },
});

interface Options {
  mode: "replace" | "append" | "create";
  schema_change: "refuse" | "allow";
  on_bad_rows: "fail" | "skip";
  format?: Format | undefined;
  csv: CsvOptions;
}

function readTypes(given: string[] | undefined): Record<string, string> | undefined {
  if (given === undefined) return undefined;
  return Object.fromEntries(
    given.map((text) => {
      const at = text.lastIndexOf("=");
      if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
      throw new LakeError("invalid", `--type ${JSON.stringify(text.slice(0, 60))} names no column.`, {
        hint: "Write it as COLUMN=TYPE, as in --type zip=VARCHAR.",
      });
    }),
  );
}

async function load(
  { file, dataset }: Wanted,
  options: Options,
  engine: Awaited<ReturnType<CommandContext["engine"]>>,
  context: CommandContext,
): Promise<IngestResult> {
  const source = await openSource(file, context);
  const progress = await openProgress(file === "-" ? "standard input" : file, context);
  try {
    const request = {
      name: dataset,
      source: { path: source.path },
      format: options.format,
      mode: options.mode,
      schemaChange: options.schema_change,
      onBadRows: options.on_bad_rows,
      csv: options.csv,
    };
    return await engine.ingest(request, { signal: context.signal, roots: source.roots, onProgress: progress.update });
  } finally {
    await progress.end();
    await source.close();
  }
}

function aboutDialect({ header, header_line, skipped_lines, warning }: CsvDialect): string[] {
  const lines: string[] = [];
  if (skipped_lines !== null) {
    lines.push(...aboutSkipped(skipped_lines));
  }
  if (!header) lines.push("no header line: the columns have numbers (--header yes takes the first line as one)");
  else if (header_line !== 1) lines.push(`column names are on line ${header_line}`);
  if (warning !== null) lines.push(warning);
  return lines;
}

/** Most skipped lines that a result lists. Where it lists fewer, the rest are blank lines. */
const LISTED = 20;

/** Blank lines are always skipped, so no flag is suggested for them. */
function aboutSkipped({ count, lines }: NonNullable<CsvDialect["skipped_lines"]>): string[] {
  if (lines.length === 0) return [`left out ${countOf(count, "blank line")} before the table`];
  const told = lines.map(({ line, text }) => `  line ${line}: ${JSON.stringify(text)}`);
  const more = count - lines.length;
  if (more > 0) told.push(`  and ${lines.length < LISTED ? countOf(more, "blank line") : `${grouped(more)} more`}`);
  return [`left out ${countOf(count, "line")} before the table (--skip-lines 0 keeps them):`, ...told];
}

/** A line about the dataset, then one for each difference to the file. */
function reportOf({ file, dataset, corrected }: Wanted, result: IngestResult, seconds: number): string {
  const { notes, rows_written, version } = result;
  const from = file === "-" ? "standard input" : file;
  const size = `${countOf(result.rows, "row")}, ${countOf(result.columns.length, "column")}, ${bytesOf(result.bytes)}`;
  const lines = [
    result.unchanged
      ? `${dataset}: unchanged, version ${version} holds ${from} already (${size})`
      : `${dataset}: version ${version}, ${size}; ${countOf(rows_written, "row")} from ${from} in ${seconds.toFixed(1)} s`,
  ];
  if (corrected !== undefined) lines.push(`named ${dataset}: ${JSON.stringify(corrected)} cannot be a dataset's name`);
  if (notes.encoding !== null) lines.push(`read as ${notes.encoding}`);
  if (notes.dialect !== null) lines.push(...aboutDialect(notes.dialect));
  for (const { from: old, to } of notes.renamed_columns) lines.push(`column ${JSON.stringify(old)} renamed to ${to}`);
  for (const { column, from: old, to, reason } of notes.converted) {
    lines.push(`column ${JSON.stringify(column)} converted from ${old} to ${to}: ${reason}`);
  }
  for (const { column, inferred, line, value, reason } of notes.kept_as_text) {
    const where = line === null ? "one value is" : `line ${line} has`;
    lines.push(
      `column ${column} kept as text: it looked like ${inferred}, but ${where} ${JSON.stringify(value)} (${reason})`,
    );
  }
  if (notes.skipped_rows !== null && notes.skipped_rows.count > 0) {
    lines.push(`left out ${countOf(notes.skipped_rows.count, "bad row")}:`);
    for (const { line, reason } of notes.skipped_rows.lines) lines.push(`  line ${line}: ${reason}`);
    const more = notes.skipped_rows.count - notes.skipped_rows.lines.length;
    if (more > 0) lines.push(`  and ${grouped(more)} more`);
  }
  return lines.map((line, at) => `${at === 0 ? "" : "  "}${visible(line)}\n`).join("");
}
