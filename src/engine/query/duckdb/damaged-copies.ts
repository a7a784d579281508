import { untilAborted } from "../../kernel/abort.ts";
import { LakeError } from "../../kernel/errors.ts";
import type { Store } from "../../store/store.ts";

/**
 * Messages of DuckDB 1.5 for a file with a wrong byte. Statements read only files of the lake, so these mean damage and
 * no mistake of the caller; no statement can provoke such a message without a file.
 */
const DAMAGE =
  /^(?:IO|Invalid) Error: .*(?:TProtocolException|invalid TType|don't know what type|out of buffer|ZSTD|corrupt|magic bytes|too small to be a Parquet|Prefetch registered|Could not read (?:enough bytes )?from file)/is;
/** Messages that a statement can provoke, but not with a path of ours, which callers never see. */
const DAMAGED_FILE =
  /^(?:IO|Invalid Input) Error: (?:Failed to read (?:Parquet )?file |No magic bytes|Footer length error|File .* too small to be a Parquet file)/is;
/** A copy that another statement has found damaged, and removed. */
const GONE = /^IO Error: Cannot open file /;
/** Characters of a message that are examined: the path comes early, parts that callers can make long come late. */
const LOOKED_AT = 4_000;

/** The message of DuckDB's own error. */
export function messageOf(error: unknown): string {
  let cause = error;
  while (cause instanceof LakeError) ({ cause } = cause);
  return cause instanceof Error ? cause.message.slice(0, LOOKED_AT) : "";
}

/** Whether DuckDB failed because of the bytes of a file below `root`. */
export function isDamage(error: unknown, root: string): boolean {
  const message = messageOf(error);
  // Without paths, which contain names of datasets.
  if (DAMAGE.test(message.replace(/'[^'\n]*'|"[^"\n]*"/g, ""))) return true;
  return message.includes(root) && DAMAGED_FILE.test(message);
}

/**
 * After `error`: the keys of local copies that have changed since they were pinned, because they are damaged or have
 * been removed as damaged. They are fetched again when they are next needed.
 */
export async function damagedCopies(
  store: Store,
  pinned: ReadonlyMap<string, number>,
  error: unknown,
  signal?: AbortSignal,
): Promise<string[]> {
  const { remote, localRoot } = store;
  if (!remote) return [];
  const message = messageOf(error);
  const isGone = message.includes(localRoot) && GONE.test(message);
  if (!isGone && !isDamage(error, localRoot)) return [];
  return untilAborted(remote.recheck(pinned), signal);
}

/** Runs `work`, and runs it once more when it failed on damaged local copies. */
export async function onWholeCopies<Result>(
  store: Store,
  files: readonly { key: string }[],
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    const keys = files.map(({ key }) => key);
    const damaged = await damagedCopies(store, pinnedNow(keys), error);
    if (damaged.length === 0) throw error;
    return work();
  }
}

/** Throws `unavailable` when `error` came of damaged local copies, which have been removed; else `error`. */
export async function throwForCopies(store: Store, keys: readonly string[], error: unknown): Promise<never> {
  const damaged = await damagedCopies(store, pinnedNow(keys), error);
  if (damaged.length === 0) throw error;
  throw new LakeError("unavailable", "The local copy of a data file was damaged, and has been removed.", {
    hint: "Call again: the file is fetched anew.",
    cause: error,
  });
}

function pinnedNow(keys: readonly string[]): Map<string, number> {
  const now = performance.now();
  return new Map(keys.map((key) => [key, now]));
}
