import type { ErrorCode, ErrorKind } from "../kernel/error-codes.ts";
import { hasCode, LakeError } from "../kernel/errors.ts";

const CAUSES: { codes: string[]; kind: ErrorKind; code?: ErrorCode; what: string; hint: string }[] = [
  {
    codes: ["ENOSPC", "EDQUOT"],
    kind: "limit",
    code: "disk_full",
    what: "the disk is full",
    hint: "Free some space, or point --data to another disk.",
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
    hint: "Move that file away, or use another --data.",
  },
];

/**
 * Runs `work` and turns the system errors it throws into what the caller can do about them, without the path they carry.
 * A `LakeError` keeps its kind and hint; its message is the reason in the sentence.
 */
export async function explained<T>(verb: string, key: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw explain(`Could not ${verb} ${key}`, error);
  }
}

/** What a full, read-only or otherwise unusable disk means; undefined for every other error. */
export function diskFailure(sentence: string, error: unknown): LakeError | undefined {
  const known = error instanceof LakeError ? undefined : CAUSES.find(({ codes }) => hasCode(error, ...codes));
  return (
    known &&
    new LakeError(known.kind, `${sentence}: ${known.what}.`, { code: known.code, hint: known.hint, cause: error })
  );
}

function explain(sentence: string, error: unknown): LakeError {
  if (error instanceof LakeError) {
    // A whole sentence says already what was to be done.
    if (error.message.endsWith(".")) return error;
    return new LakeError(error.kind, `${sentence}: ${error.message}.`, {
      code: error.code,
      hint: error.hint,
      cause: error,
    });
  }
  const known = diskFailure(sentence, error);
  if (known) return known;
  const code = (error instanceof Error && (error as NodeJS.ErrnoException).code) || "an unknown error";
  return new LakeError("unavailable", `${sentence}: the file system answered ${code}.`, {
    hint: "Check the disk and the lake's folder, then try again.",
    cause: error,
  });
}
