import { untilAborted } from "../../kernel/abort.ts";
import { LakeError } from "../../kernel/errors.ts";
import type { Store } from "../../store/store.ts";

/**
 * Statements read files of the lake only, so what is wrong with one is damage, and no mistake of the caller. What DuckDB
 * 1.5 says when any one byte of a file is another; no statement can make it say the like without a file.
 */
const DAMAGE =
  /^(?:IO|Invalid) Error: .*(?:TProtocolException|invalid TType|don't know what type|out of buffer|ZSTD|corrupt|magic bytes|too small to be a Parquet|Prefetch registered|Could not read (?:enough bytes )?from file)/is;
/** These a statement can make it say, but not with a path of ours, which callers are never told. */
const DAMAGED_FILE =
  /^(?:IO|Invalid Input) Error: (?:Failed to read (?:Parquet )?file |No magic bytes|Footer length error|File .* too small to be a Parquet file)/is;
/** A copy that another statement found damaged, and took out. */
const GONE = /^IO Error: Cannot open file /;
/** The path comes early, and what callers can make long comes late. */
const LOOKED_AT = 4_000;

/** As DuckDB said it, in whatever words of ours that has been put since. */
export function messageOf(error: unknown): string {
  let cause = error;
  while (cause instanceof LakeError) ({ cause } = cause);
  return cause instanceof Error ? cause.message.slice(0, LOOKED_AT) : "";
}

/** Whether DuckDB failed on the bytes of a file below `root`. */
export function isDamage(error: unknown, root: string): boolean {
  const message = messageOf(error);
  // Names of datasets are in paths.
  if (DAMAGE.test(message.replace(/'[^'\n]*'|"[^"\n]*"/g, ""))) return true;
  return message.includes(root) && DAMAGED_FILE.test(message);
}

/**
 * After `error`: which of the local copies have changed since they were held, by damage or because somebody has found that
 * before. They are fetched again when they are next asked for.
 */
export async function damagedCopies(
  store: Store,
  held: ReadonlyMap<string, number>,
  error: unknown,
  signal?: AbortSignal,
): Promise<string[]> {
  const { remote, localRoot } = store;
  if (!remote) return [];
  const message = messageOf(error);
  const isGone = message.includes(localRoot) && GONE.test(message);
  if (!isGone && !isDamage(error, localRoot)) return [];
  return untilAborted(remote.recheck(held), signal);
}

/** Runs `work`, which can be repeated, and once more when it failed on copies that had changed. */
export async function onWholeCopies<Result>(
  store: Store,
  files: readonly { key: string }[],
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    const keys = files.map(({ key }) => key);
    const damaged = await damagedCopies(store, heldNow(keys), error);
    if (damaged.length === 0) throw error;
    return work();
  }
}

/** Throws what ended work that is not repeated by itself: `error`, unless copies were damaged. */
export async function failedOnCopies(store: Store, keys: readonly string[], error: unknown): Promise<never> {
  const damaged = await damagedCopies(store, heldNow(keys), error);
  if (damaged.length === 0) throw error;
  throw new LakeError("unavailable", "The local copy of a data file was damaged, and has been removed.", {
    hint: "Call again: the file is fetched anew.",
    cause: error,
  });
}

function heldNow(keys: readonly string[]): Map<string, number> {
  const now = performance.now();
  return new Map(keys.map((key) => [key, now]));
}
