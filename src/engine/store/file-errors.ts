import type { ErrorCode, ErrorKind } from "../kernel/error-codes.ts";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { type NextStep, next, setting } from "../kernel/next-step.ts";

const CAUSES: { codes: string[]; kind: ErrorKind; code?: ErrorCode; what: string; hint: NextStep }[] = [
  {
    codes: ["ENOSPC", "EDQUOT"],
    kind: "limit",
    code: "disk_full",
    what: "the disk is full",
    hint: next`Free some space, or point ${setting("data")} to another disk.`,
  },
  {
    codes: ["EACCES", "EPERM", "EROFS"],
    kind: "denied",
    what: "the file system does not permit it",
    hint: "Give this user write access to the lake's folder.",
  },
  {
    codes: ["EMFILE", "ENFILE"],
    kind: "unavailable",
    what: "too many files are open",
    hint: "Try again, or raise the limit (ulimit -n).",
  },
  {
    codes: ["EEXIST", "ENOTDIR"],
    kind: "denied",
    what: "there is a file where a folder should be",
    hint: next`Move that file away, or point ${setting("data")} elsewhere.`,
  },
];

/** Why an operation on a file is refused. The message ends the sentence that `withFileErrors` begins, without a full stop. */
export class FileRefusal extends Error {
  readonly kind: ErrorKind;
  readonly hint: NextStep;

  constructor(kind: ErrorKind, message: string, hint: NextStep, cause?: unknown) {
    super(message, { cause });
    this.kind = kind;
    this.hint = hint;
  }
}

/**
 * Runs `work`, and turns a `FileRefusal` and system errors into a `LakeError` about `verb` and `key`: "Could not write
 * a/b: the disk is full." The paths that system errors carry are left out.
 */
export async function withFileErrors<T>(verb: string, key: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw explain(`Could not ${verb} ${key}`, error);
  }
}

/** The error for a full, read-only or otherwise unusable disk; undefined for every other cause. */
export function diskFailure(sentence: string, error: unknown): LakeError | undefined {
  const known = error instanceof LakeError ? undefined : CAUSES.find(({ codes }) => hasCode(error, ...codes));
  return (
    known &&
    new LakeError(known.kind, `${sentence}: ${known.what}.`, { code: known.code, hint: known.hint, cause: error })
  );
}

function explain(sentence: string, error: unknown): LakeError {
  if (error instanceof LakeError) return error;
  if (error instanceof FileRefusal) {
    return new LakeError(error.kind, `${sentence}: ${error.message}.`, { hint: error.hint, cause: error });
  }
  const known = diskFailure(sentence, error);
  if (known) return known;
  const code = (error instanceof Error && (error as NodeJS.ErrnoException).code) || "an unknown error";
  return new LakeError("unavailable", `${sentence}: the file system answered ${code}.`, {
    hint: "Check the disk and the lake's folder, then try again.",
    cause: error,
  });
}

/** The result of `work`; undefined when its path does not exist, or names a folder, which is not an object. */
export async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EISDIR")) return undefined;
    throw error;
  }
}
