import { closeSync, openSync, writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { foldedName } from "../../duckdb/folded-name.ts";
import type { ErrorKind } from "../../kernel/error-codes.ts";
import type { NextStep } from "../../kernel/next-step.ts";
import { Refusal } from "../../kernel/refusal.ts";
import type { WorkerReply } from "../../kernel/run-worker.ts";
import type { Encoding } from "../types.ts";
import { createOutput, type Output } from "./json-copy.ts";
import { type Input, isWindows1252, MAX_RECORD_BYTES, openInput, sniffEncoding, tooLong } from "./json-input.ts";
import { createScanner, type Scanner, type ScanOptions, TooManyKeys } from "./json-scan.ts";
import type { ColumnSurvey } from "./json-survey.ts";
import { fault, JsonFault, NOT_UTF8 } from "./json-tokens.ts";
import { areFieldNames, decideType, needsVerbatim } from "./json-types.ts";

export interface JsonTask {
  path: string;
  /** Where the records go, one a line. */
  records: string;
  /** Each line is an object of its own. */
  lines: boolean;
  skipBad: boolean;
  maxRows: number;
  /** Types the dataset has, by column name. */
  targets: Record<string, string>;
}

export interface JsonSurvey {
  columns: ColumnSurvey[];
  /** Too many different keys for columns: each record is one JSON value. */
  whole: boolean;
  /** The keys are called `c0`, `c1`… in the records. */
  renamed: boolean;
  rows: number;
  bytes: number;
  /** Length of the longest record. */
  longest: number;
  skipped: { count: number; lines: { line: number; reason: string }[] };
  encoding: Encoding;
}

/** How the file is read. Bytes that are no UTF-8 are damage once all of it has been looked at. */
interface Reading {
  encoding: Encoding;
  judged: boolean;
}

type JsonReply = WorkerReply<JsonSurvey>;

const CHUNK_BYTES = 1024 ** 2;
const MAX_COLUMNS = 1500;
const MAX_SKIPPED_LINES = 20;
const [NEWLINE, COMMA, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT] = [10, 44, 91, 93, 123];

try {
  parentPort?.postMessage({ done: survey(workerData as JsonTask) } satisfies JsonReply);
} catch (error) {
  parentPort?.postMessage({ failed: describe(error, workerData as JsonTask) } satisfies JsonReply);
}

/**
 * One pass is enough unless numbers turn out to be in a column of text, keys to be none that DuckDB can tell apart,
 * records to have no common keys, or the file not to be UTF-8.
 */
function survey(task: JsonTask): JsonSurvey {
  const options = { verbatim: new Set<string>(), rename: false, whole: false, maxKeys: MAX_COLUMNS };
  const reading: Reading = { encoding: sniffEncoding(task.path), judged: false };
  for (let again = 0; ; again += 1) {
    try {
      const result = pass(task, options, reading);
      const numbers = result.columns.filter((column) =>
        needsVerbatim(column, decideType(column, task.targets[foldedName(column.key)])),
      );
      const rename = !areFieldNames(result.columns.map(({ key }) => key));
      if (again > 1 || (numbers.length === options.verbatim.size && rename === options.rename)) return result;
      options.verbatim = new Set(numbers.map(({ key }) => key));
      options.rename = rename;
    } catch (error) {
      if (error instanceof TooManyKeys) options.whole = true;
      else if (isOpen(error, reading)) {
        reading.judged = true;
        if (isWindows1252(task.path)) reading.encoding = "windows-1252";
        else if (!task.skipBad) throw error;
        again = -1;
      } else throw error;
    }
  }
}

/** Whether a fault is a byte that is not UTF-8, and it is not known yet whether the file is. */
function isOpen(error: unknown, { encoding, judged }: Reading): boolean {
  return error instanceof JsonFault && error.message === NOT_UTF8 && encoding === "utf-8" && !judged;
}

function pass(task: JsonTask, options: ScanOptions, reading: Reading): JsonSurvey {
  const scanner = createScanner(options);
  const input = openSync(task.path, "r");
  const target = openSync(task.records, "w", 0o600);
  const output = createOutput();
  const result: JsonSurvey = {
    columns: scanner.columns,
    whole: options.whole,
    renamed: options.rename,
    rows: 0,
    bytes: 0,
    longest: 0,
    skipped: { count: 0, lines: [] },
    encoding: reading.encoding,
  };
  const flush = (): void => {
    for (let at = 0; at < output.length; ) at += writeSync(target, output.bytes, at, output.length - at);
    result.bytes += output.length;
    output.length = 0;
  };
  const skips = (error: unknown): error is JsonFault =>
    error instanceof JsonFault && task.skipBad && !isOpen(error, reading);
  try {
    readAll(openInput(input, reading.encoding), scanner, output, task, result, flush, skips);
    flush();
    scanner.finish();
    return result;
  } finally {
    closeSync(input);
    closeSync(target);
  }
}

function readAll(
  input: Input,
  scanner: Scanner,
  output: Output,
  task: JsonTask,
  result: JsonSurvey,
  flush: () => void,
  skips: (error: unknown) => error is JsonFault,
): void {
  const { window } = input;
  let lines = task.lines;
  const isList = input.next() === OPEN_LIST && !lines;
  if (isList) window.at += 1;
  for (;;) {
    let byte = input.next();
    if (isList) {
      if (byte === undefined) throw fault(window, "the list has no end");
      if (byte === CLOSE_LIST) break;
      if (result.rows > 0) {
        if (byte !== COMMA) throw fault(window, '"," or "]" is expected after an object');
        window.at += 1;
        byte = input.next();
      }
    }
    if (byte === undefined) {
      if (isList) throw fault(window, "the list has no end");
      return;
    }
    const startLine = window.line;
    const before = output.length;
    try {
      if (byte !== OPEN_OBJECT) throw fault(window, notAnObject(byte));
      while (!scanner.record(window, output, lines)) input.fill();
    } catch (error) {
      if (!(lines && skips(error))) throw error;
      result.skipped.count += 1;
      if (result.skipped.lines.length < MAX_SKIPPED_LINES) {
        result.skipped.lines.push({ line: error.line, reason: error.message });
      }
      input.skipLine();
      continue;
    }
    result.rows += 1;
    if (output.length - before > MAX_RECORD_BYTES) throw tooLong(startLine);
    result.longest = Math.max(result.longest, output.length - before);
    if (result.rows > task.maxRows) throw tooManyRows(task.maxRows);
    if (output.length >= CHUNK_BYTES) {
      flush();
      parentPort?.postMessage({ progress: input.fraction() } satisfies JsonReply);
    }
    // One object on a line of its own: so are the others, and a bad one can be told from its neighbours.
    if (result.rows === 1 && !isList && task.skipBad && !lines)
      lines = window.line === startLine && input.peek() === NEWLINE;
  }
  window.at += 1;
  if (input.next() !== undefined) throw fault(window, "something follows the end of the list");
}

function notAnObject(byte: number): string {
  const text = String.fromCharCode(byte);
  const what =
    byte === OPEN_LIST
      ? "a list"
      : text === '"'
        ? "a string"
        : /[-\d]/.test(text)
          ? "a number"
          : /[tfnNI]/.test(text)
            ? "a plain value"
            : JSON.stringify(text);
  return `${what} where an object is expected`;
}

function tooManyRows(maxRows: number): Refusal {
  return new Refusal(
    "limit",
    `has more than ${maxRows} rows, the most one ingest may write.`,
    "Ingest part of it, or raise max_ingest_rows (LAKEHOUSE_MAX_INGEST_ROWS).",
  );
}

function describe(error: unknown, task: JsonTask): { kind: ErrorKind; message: string; hint: NextStep } {
  if (error instanceof Refusal) return { kind: error.kind, message: error.message, hint: error.hint };
  if (error instanceof JsonFault) {
    return {
      kind: "invalid",
      message: `, line ${error.line}, column ${error.column}: ${error.message}.`,
      hint: hint(error, task),
    };
  }
  throw error;
}

function hint(error: JsonFault, { lines, skipBad }: JsonTask): string {
  if (lines && error.message.startsWith("a list where")) {
    return 'Each line has to be an object. If the file is one list of objects, pass format: "json".';
  }
  if (error.message.endsWith("an object is expected")) {
    return 'Records have to be objects, such as {"value": 1}: a list of them, or one on each line.';
  }
  if (lines && error.message.startsWith("something follows")) {
    return 'Each line has to be one object. If objects follow each other without line ends, pass format: "json".';
  }
  if (error.message === NOT_UTF8 && !lines) return "Repair that byte, or save all of the file as UTF-8.";
  if (lines) return 'Repair the line, or pass on_bad_rows: "skip" to leave such lines out.';
  if (!skipBad) return "Repair the file and retry.";
  return 'Bad rows can be skipped only where each line is an object of its own; for such a file pass format: "ndjson".';
}
