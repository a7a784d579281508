import type { ErrorCode, ErrorKind } from "./error-codes.ts";
import type { NextStep } from "./next-step.ts";

/** What a program can use of an error without reading its message. */
export interface ErrorFacts {
  /** The argument of the call that is wrong, by its name on the wire. */
  argument?: string | undefined;
  /** Of a text file, from 1 on. */
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

/** Throws the caller's cancellation as a `LakeError`, so that it travels like every other error. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw cancelled(signal);
}

/** What `work` gives, or the caller's cancellation when that is first; the work goes on for others who wait for it. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(cancelled(signal));
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** The error for work stopped by its caller, or by the deadline the signal carries. */
export function cancelled(signal: AbortSignal): LakeError {
  return signal.reason instanceof LakeError
    ? signal.reason
    : new LakeError("unavailable", "The call was cancelled.", {
        code: "cancelled",
        hint: "Nothing was changed. Call again to retry.",
      });
}

/** Whether `error` is a Node system error with this code, for example `ENOENT`. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? "");
}
