import type { ErrorCode, ErrorKind } from "../kernel/error-codes.ts";
import { LakeError } from "../kernel/errors.ts";
import { type NextStep, next, setting } from "../kernel/next-step.ts";
import { withShortNames } from "./short-names.ts";

// Errors of DuckDB 1.5 as errors of ours. Only this file tells kinds of errors apart by their messages.

/** The message that statements of ours raise where a value does not fit its column. */
export const MISFIT = "lakehouse: a value does not fit its column";

/** Codes of errors about a CSV file, by message: reading continues in another way. */
const CODES: [RegExp, ErrorCode][] = [
  [/lakehouse: a value does not fit its column/, "value_misfit"],
  [/Maximum line size|CSV Reader currently does not support a full read/, "csv_line_too_long"],
  [/CSV Error on Line|CSV Parser state machine|Error when sniffing/, "csv_damaged"],
];

function codeOf(message: string): ErrorCode | undefined {
  return CODES.find(([says]) => says.test(message))?.[1];
}

/** The number of the row that is not CSV, from 1. */
export function damagedRow(error: Error): number | undefined {
  const row = /CSV Error on Line: (\d+)/.exec(error.message)?.[1];
  return row === undefined ? undefined : Number(row);
}

export const LESS_MEMORY = next`Filter or aggregate earlier, select fewer columns, or raise ${setting("query_memory")}.`;

/** More than DuckDB shows of a statement. */
const EXCERPT_CHARS = 500;

/** An excerpt of a statement of ours may end in the middle of a path. Callers cannot call `read_parquet`. */
function withoutOwnExcerpt(text: string): string {
  const at = text.lastIndexOf("\nLINE ");
  return at >= 0 && text.slice(at, at + EXCERPT_CHARS).includes("read_parquet(['") ? text.slice(0, at).trimEnd() : text;
}

/** A `LakeError` for an error of DuckDB. Paths of the data folder become keys. */
export function translateDuckError(error: unknown, hidePaths: string[] = []): LakeError {
  if (error instanceof LakeError) return error;
  let text = error instanceof Error ? error.message : String(error);
  text = withoutOwnExcerpt(text);
  for (const path of hidePaths) text = text.replaceAll(`${path.replace(/\/?$/, "")}/`, "");
  const [, label = "", rest = text] = /^([A-Z][A-Za-z ]+?)(?: Error)?: ([\s\S]*)$/.exec(text) ?? [];
  const message = shortened(withShortNames(rest.trim()));
  switch (message.includes("maximum allowed vector size") ? "Out of Memory" : label) {
    case "Out of Memory":
      return new LakeError("limit", `The statement needs more memory than it may use: ${firstLine(message)}`, {
        code: "memory_limit",
        hint: LESS_MEMORY,
        facts: { setting: "query_memory" },
        cause: error,
      });
    case "INTERRUPT":
      return new LakeError("unavailable", "The statement was interrupted.", { cause: error });
    case "Permission":
      return new LakeError("denied", `Not allowed: ${firstLine(message)}`, { cause: error });
    case "Parser":
    case "Syntax":
    case "Binder":
    case "Catalog":
    case "Not implemented":
      return new LakeError("invalid", `${label} error: ${message}`, { code: codeOf(message), cause: error });
    // These messages quote values of the data, which must not read as if the server said them.
    case "Conversion":
    case "Invalid Input":
    case "Invalid":
    case "Out of Range":
    case "Constraint":
    case "Mismatch Type":
      return new LakeError("invalid", `${label} error. DuckDB says: ${JSON.stringify(message)}`, {
        code: codeOf(message),
        cause: error,
      });
    case "IO":
    case "TransactionContext":
      for (const [says, kind, what, hint] of DISK) {
        if (says.test(message))
          return new LakeError(kind, what, { code: kind === "limit" ? "disk_full" : kind, hint, cause: error });
      }
      return new LakeError("unavailable", `DuckDB could not read or write: ${firstLine(message)}`, { cause: error });
    default:
      return new LakeError("internal", "DuckDB failed unexpectedly.", { cause: error });
  }
}

/** By the message of the system, which DuckDB repeats. */
const DISK: [RegExp, ErrorKind, string, NextStep][] = [
  [
    /No space left on device|Disk quota exceeded/,
    "limit",
    "The disk is full.",
    next`Free some space, or point ${setting("data")} to another disk.`,
  ],
  [
    /Read-only file system/,
    "denied",
    "DuckDB could not write: the file system does not permit it.",
    "Give this user write access to the lake's folder.",
  ],
];

const MAX_MESSAGE = 2000;
const MESSAGE_END = 500;

/** Keeps the beginning, which says what is wrong, and the end, which says where. */
function shortened(message: string): string {
  if (message.length <= MAX_MESSAGE) return message;
  return `${message.slice(0, MAX_MESSAGE - MESSAGE_END)} … ${message.slice(-MESSAGE_END)}`;
}

function firstLine(message: string): string {
  return (message.split("\n", 1)[0] ?? "").trim();
}
