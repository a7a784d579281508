import type { ErrorCode, ErrorKind } from "./error-codes.ts";
import type { NextStep } from "./next-step.ts";

/** What a program can use of an error without reading its message. */
export interface ErrorFacts {
  /** The argument of the call that is wrong, by its name on the wire. */
  argument?: string | undefined;
  /** Of a text file or a statement, from 1 on. */
  line?: number | undefined;
  column?: string | undefined;
  /** Names that exist and resemble the one that does not. */
  nearest?: readonly string[] | undefined;
  /** What is allowed at most, in the unit of the argument or setting. */
  limit?: number | undefined;
  /** The setting that would allow it, by its name in the configuration. */
  setting?: string | undefined;
}

interface Options {
  hint?: NextStep | undefined;
  cause?: unknown;
  /** Default: the kind. */
  code?: ErrorCode | undefined;
  facts?: ErrorFacts | undefined;
}

/**
 * The only error that reaches a caller. `message` says what and where, `hint` the next step; surfaces word both.
 * `kind` is what the caller should do, `code` and `facts` are for programs.
 */
export class LakeError extends Error {
  readonly kind: ErrorKind;
  readonly code: ErrorCode;
  readonly hint: NextStep | undefined;
  readonly facts: ErrorFacts | undefined;

  constructor(kind: ErrorKind, message: string, options: Options = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "LakeError";
    this.kind = kind;
    this.code = options.code ?? kind;
    this.hint = options.hint;
    this.facts = options.facts;
  }
}

/** The same error in other words. */
export function reworded(
  { kind, message, code, hint, facts, cause }: LakeError,
  change: Partial<Pick<LakeError, "message" | "code" | "hint" | "facts">>,
): LakeError {
  return new LakeError(kind, change.message ?? message, { code, hint, facts, cause, ...change });
}

/** Whether `error` is a Node system error with this code, for example `ENOENT`. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? "");
}
