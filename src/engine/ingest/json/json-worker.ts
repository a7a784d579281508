import { closeSync, openSync, writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { foldedName } from "../../duckdb/folded-name.ts";
import { argument, type NextStep, next } from "../../kernel/next-step.ts";
import { Refusal } from "../../kernel/refusal.ts";
import type { WorkerFailure, WorkerReply } from "../../kernel/run-worker.ts";
import { FEWER_ROWS } from "../budget.ts";
import type { Encoding } from "../types.ts";
import { type ScanOptions, TooManyKeys } from "./json-columns.ts";
import { createOutput, type Output } from "./json-copy.ts";
import { type Input, isWindows1252, MAX_RECORD_BYTES, openInput, sniffEncoding, tooLong } from "./json-input.ts";
import { createScanner, type Scanner } from "./json-scan.ts";
import { type ColumnSurvey, RECORDS_ARE_OBJECTS } from "./json-survey.ts";
import { CLOSE_LIST, COMMA, fault, JsonFault, NEWLINE, OPEN_LIST, OPEN_OBJECT, type Window } from "./json-tokens.ts";
import { areFieldNames, decideType, needsVerbatim } from "./json-types.ts";

export interface JsonTask {
  path: string;
  /** File to write the records to, one a line. */
  records: string;
  /** NDJSON: each line is an object of its own. */
  lines: boolean;
  skipBad: boolean;
  maxRows: number;
  /** Types the dataset has, by column name. */
  targets: Record<string, string>;
}

export interface JsonSurvey {
  columns: ColumnSurvey[];
  /** There are too many different keys for columns: each record is one JSON value. */
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

interface Reading {
  encoding: Encoding;
  /** Whether all of the file was searched for UTF-8 after a byte that is not: from then on such a byte is damage. */
  judged: boolean;
}

type JsonReply = WorkerReply<JsonSurvey>;

const CHUNK_BYTES = 1024 ** 2;
const MAX_COLUMNS = 1500;
const MAX_SKIPPED_LINES = 20;
/** Values by their first character. */
const STARTS: readonly [start: RegExp, what: string][] = [
  [/\[/, "a list"],
  [/"/, "a string"],
  [/[-\d]/, "a number"],
  [/[tfnNI]/, "a plain value"],
];

try {
  parentPort?.postMessage({ done: survey(workerData as JsonTask) } satisfies JsonReply);
} catch (error) {
  parentPort?.postMessage({ failed: describe(error, workerData as JsonTask) } satisfies JsonReply);
}

/**
 * Reads the file once, and again with other options when numbers turn out to be in a column of text, when DuckDB could
 * not tell the keys apart, when the records have no common keys, or when the file is not UTF-8.
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
      else if (isUndecided(error, reading)) {
        reading.judged = true;
        if (isWindows1252(task.path)) reading.encoding = "windows-1252";
        else if (!task.skipBad) throw error;
        again = -1;
      } else throw error;
    }
  }
}

/** Whether a fault is a byte that is not UTF-8 in a file that may be in another encoding. */
function isUndecided(error: unknown, { encoding, judged }: Reading): boolean {
  return error instanceof JsonFault && error.code === "not_utf8" && encoding === "utf-8" && !judged;
}

/** One reading of the whole file. */
interface Pass {
  task: JsonTask;
  reading: Reading;
  input: Input;
  scanner: Scanner;
  /** Records that are not in the file yet. */
  output: Output;
  /** Descriptor of the file of records. */
  target: number;
  result: Omit<JsonSurvey, "columns">;
}

function pass(task: JsonTask, options: ScanOptions, reading: Reading): JsonSurvey {
  const scanner = createScanner(options);
  const source = openSync(task.path, "r");
  const target = openSync(task.records, "w", 0o600);
  const result: Pass["result"] = {
    whole: options.whole,
    renamed: options.rename,
    rows: 0,
    bytes: 0,
    longest: 0,
    skipped: { count: 0, lines: [] },
    encoding: reading.encoding,
  };
  try {
    const input = openInput(source, reading.encoding);
    const run: Pass = { task, reading, input, scanner, output: createOutput(), target, result };
    if (input.next() === OPEN_LIST && !task.lines) readList(run);
    else readSequence(run);
    flush(run);
    return { ...result, columns: scanner.survey() };
  } finally {
    closeSync(source);
    closeSync(target);
  }
}

function flush({ output, target, result }: Pass): void {
  for (let at = 0; at < output.length; ) at += writeSync(target, output.bytes, at, output.length - at);
  result.bytes += output.length;
  output.length = 0;
}

function readList(run: Pass): void {
  const { input, result } = run;
  const { window } = input;
  window.at += 1;
  for (let byte = input.next(); byte !== CLOSE_LIST; byte = input.next()) {
    if (result.rows > 0 && byte !== undefined) {
      if (byte !== COMMA) throw fault(window, '"," or "]" is expected after an object');
      window.at += 1;
      byte = input.next();
    }
    if (byte === undefined) throw fault(window, "the list has no end");
    readRecord(run, byte, false);
  }
  window.at += 1;
  if (input.next() !== undefined) throw fault(window, "something follows the end of the list");
}

/** Reads objects one after the other, of which those that are not JSON may be left out where each has its own line. */
function readSequence(run: Pass): void {
  const { task, reading, input, result } = run;
  const { window } = input;
  let { lines } = task;
  for (let byte = input.next(); byte !== undefined; byte = input.next()) {
    const startLine = window.line;
    try {
      readRecord(run, byte, lines);
    } catch (error) {
      if (!(lines && task.skipBad && error instanceof JsonFault) || isUndecided(error, reading)) throw error;
      skipLine(run, error);
      continue;
    }
    // One object on a line of its own: so are the others, and a bad one can be told from its neighbours.
    if (result.rows === 1 && task.skipBad && !lines) lines = window.line === startLine && input.peek() === NEWLINE;
  }
}

function readRecord(run: Pass, byte: number, oneLine: boolean): void {
  const { task, input, scanner, output, result } = run;
  const { window } = input;
  const startLine = window.line;
  const before = output.length;
  if (byte !== OPEN_OBJECT) throw notAnObject(window, byte);
  while (!scanner.record(window, output, oneLine)) input.fill();
  const length = output.length - before;
  if (length > MAX_RECORD_BYTES) throw tooLong(startLine);
  result.rows += 1;
  result.longest = Math.max(result.longest, length);
  if (result.rows > task.maxRows) throw tooManyRows(task.maxRows);
  if (output.length < CHUNK_BYTES) return;
  flush(run);
  parentPort?.postMessage({ progress: input.fraction() } satisfies JsonReply);
}

function skipLine({ input, result: { skipped } }: Pass, { line, message }: JsonFault): void {
  skipped.count += 1;
  if (skipped.lines.length < MAX_SKIPPED_LINES) skipped.lines.push({ line, reason: message });
  input.skipLine();
}

function notAnObject(window: Window, byte: number): JsonFault {
  const text = String.fromCharCode(byte);
  const [, what = JSON.stringify(text)] = STARTS.find(([start]) => start.test(text)) ?? [];
  const code = byte === OPEN_LIST ? "list_not_object" : "not_object";
  return fault(window, `${what} where an object is expected`, window.at, code);
}

function tooManyRows(limit: number): Refusal {
  return new Refusal("limit", `has more than ${limit} rows, the most one ingest may write.`, FEWER_ROWS, {
    limit,
    setting: "max_ingest_rows",
  });
}

function describe(error: unknown, task: JsonTask): WorkerFailure {
  if (error instanceof Refusal) {
    const { kind, message, hint, facts } = error;
    return { kind, message, hint, facts };
  }
  if (!(error instanceof JsonFault)) throw error;
  const { line, column, message } = error;
  const where = `, line ${line}, column ${column}: ${message}.`;
  return { kind: "invalid", code: "json_damaged", message: where, hint: remedy(error, task), facts: { line } };
}

function remedy({ code }: JsonFault, { lines, skipBad }: JsonTask): NextStep {
  const asJson = argument("format", "json");
  if (lines && code === "list_not_object") {
    return next`Each line has to be an object. If the file is one list of objects, pass ${asJson}.`;
  }
  if (code === "not_object" || code === "list_not_object") return RECORDS_ARE_OBJECTS;
  if (lines && code === "trailing") {
    return next`Each line has to be one object. If objects follow each other without line ends, pass ${asJson}.`;
  }
  if (code === "not_utf8" && !lines) return "Repair that byte, or save all of the file as UTF-8.";
  if (lines) return next`Repair the line, or pass ${argument("on_bad_rows", "skip")} to leave such lines out.`;
  if (!skipBad) return "Repair the file and retry.";
  return next`Bad rows can be skipped only where each line is an object of its own; for such a file pass ${argument("format", "ndjson")}.`;
}
