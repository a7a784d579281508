import { open } from "node:fs/promises";
import { resolve } from "node:path";
import * as z from "zod";
import { throwIfAborted } from "../engine/kernel/abort.ts";
import { countOf, grouped } from "../engine/kernel/amounts.ts";
import { hasCode, LakeError } from "../engine/kernel/errors.ts";
import { visibleLines } from "../engine/kernel/visible.ts";
import { type CommandContext, defineCommand, wholeNumber } from "./command.ts";
import { OUTPUTS, openWriter, type STREAMED } from "./formats.ts";
import { readParams } from "./params.ts";
import { writeTable } from "./show.ts";

/** More than the guard allows. */
const MAX_STATEMENT_BYTES = 4 * 2 ** 20;
const TABLE_ROWS = 1_000;
const MAX_TABLE_ROWS = 10_000;
const MAX_TABLE_BYTES = 16 * 2 ** 20;

export const sql = defineCommand({
  name: "sql",
  summary: "Run one read-only SQL statement over the datasets.",
  usesWorker: true,
  usage: ['"SELECT …" [options]', "--file FILE [options]", "[options] < FILE"],
  args: { least: 0, most: 1 },
  flags: {
    file: z.string().optional().describe("Read the statement from a file.").meta({ short: "f", value: "FILE" }),
    param: z
      .array(z.string())
      .default([])
      .describe("A value for $name, or for $1, $2, …; can be repeated. JSON where it is JSON, else text.")
      .meta({ short: "p", value: "[NAME=]VALUE" }),
    output: z.enum(OUTPUTS).default("table").describe("How rows are written:").meta({ short: "o", value: "FORMAT" }),
    max_rows: wholeNumber(1)
      .optional()
      .describe("Most rows to write. Unset: 1000 for a table, which has 10000 at most; all for the others.")
      .meta({ short: "n", value: "N" }),
  },
  notes: `csv is RFC 4180: NULL is an empty field, an empty text is "". Rows of csv, json, ndjson and markdown are written as they
come, any number of them, in bounded memory.`,
  run: async ({ flags, args }, context) => {
    const params = readParams(flags.param);
    const statement = await readStatement(args[0], flags.file, context);
    const options = { ...(params !== undefined && { params }), signal: context.signal };
    return flags.output === "table"
      ? asTable(statement, flags.max_rows, options, context)
      : asStream(statement, flags.output, flags.max_rows, options, context);
  },
});

type Options = { params?: NonNullable<ReturnType<typeof readParams>>; signal: AbortSignal };

async function asTable(
  statement: string,
  maxRows: number | undefined,
  options: Options,
  context: CommandContext,
): Promise<number> {
  if (maxRows !== undefined && maxRows > MAX_TABLE_ROWS) {
    throw new LakeError("invalid", `--max-rows: a table has ${MAX_TABLE_ROWS} rows at most.`, {
      hint: "Use --output csv, ndjson, json or markdown for any number of rows.",
    });
  }
  const engine = await context.engine();
  const limits = { maxRows: maxRows ?? TABLE_ROWS, maxBytes: MAX_TABLE_BYTES };
  const result = await engine.query(statement, { ...options, ...limits });
  const plan = result.columns.map(({ name }) => name).join() === "explain_key,explain_value";
  if (plan) await context.out.write(result.rows.map(([, text]) => `${visibleLines(String(text))}\n`).join(""));
  else await writeTable(result.columns, result.rows, context);
  const from = result.datasets.length > 0 ? ` from ${result.datasets.join(", ")}` : "";
  await context.err.write(`${countOf(result.row_count, "row")}${from}, ${result.elapsed_ms} ms\n`);
  if (result.truncated) {
    const total = result.total_rows === undefined ? "" : ` of ${grouped(result.total_rows)}`;
    const more = "--max-rows N shows more, --output csv, ndjson or json writes all of them.";
    await context.err.write(`There are more rows: these are the first ${grouped(result.row_count)}${total}. ${more}\n`);
  }
  return 0;
}

async function asStream(
  statement: string,
  format: (typeof STREAMED)[number],
  maxRows: number | undefined,
  options: Options,
  { engine, out, err }: CommandContext,
): Promise<number> {
  let writer: ReturnType<typeof openWriter> | undefined;
  const result = await (await engine()).stream(statement, {
    ...options,
    ...(maxRows !== undefined && { maxRows }),
    onRows: async (rows, columns) => {
      const head = writer === undefined;
      writer ??= openWriter(format, columns);
      await out.write((head ? writer.head : "") + writer.rows(rows));
    },
  });
  await out.write(writer?.tail ?? "");
  if (result.truncated) {
    await err.write(`Cut at --max-rows ${maxRows}: there are more rows.\n`);
  }
  return 0;
}

/** The statement, from the argument, a file or standard input. Throws `invalid` unless exactly one of them has it. */
async function readStatement(
  argument: string | undefined,
  file: string | undefined,
  { cwd, stdin, signal }: CommandContext,
): Promise<string> {
  if (argument !== undefined && argument !== "-") {
    if (file === undefined) return argument;
    throw new LakeError("invalid", "sql: give the statement, or --file, not both.", { hint: "Leave one out." });
  }
  if (file !== undefined && argument === undefined) return readFile(resolve(cwd, file), file);
  if (argument === undefined && stdin.isTTY) {
    throw new LakeError("invalid", "sql: the statement is missing.", {
      hint: 'As in: lakehouse-mcp sql "SELECT count(*) FROM workers"; --file FILE and standard input work, too.',
    });
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  stdin.once("error", () => undefined);
  throwIfAborted(signal);
  const stop = (): void => void stdin.destroy();
  signal.addEventListener("abort", stop, { once: true });
  for await (const chunk of stdin) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > MAX_STATEMENT_BYTES) throw tooLong("standard input");
  }
  signal.removeEventListener("abort", stop);
  return Buffer.concat(chunks).toString("utf8");
}

async function readFile(path: string, label: string): Promise<string> {
  try {
    const handle = await open(path);
    try {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(MAX_STATEMENT_BYTES + 1));
      if (bytesRead > MAX_STATEMENT_BYTES) throw tooLong(label);
      return buffer.toString("utf8", 0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) throw new LakeError("not_found", `There is no file ${label}.`);
    if (hasCode(error, "EACCES", "EPERM")) throw new LakeError("denied", `${label} may not be read.`);
    if (hasCode(error, "EISDIR")) throw new LakeError("invalid", `${label} is a folder, not a file.`);
    throw error;
  }
}

function tooLong(label: string): LakeError {
  return new LakeError("limit", `${label} is longer than a statement may be.`, { hint: "Send one statement." });
}
