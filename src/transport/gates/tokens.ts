import { timingSafeEqual } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { hasCode, LakeError } from "../../engine/kernel/errors.ts";
import type { Scope } from "../../engine/kernel/scope.ts";
import type { Log } from "../../engine/settings.ts";
import type { Caller } from "./caller.ts";
import { checkDistinct, fileTokens, hashOf, inlineTokens, type KnownToken } from "./token-list.ts";

/** The tokens that are let in. */
export interface Tokens {
  /** Whose token it is. The time it takes says nothing about the tokens. */
  find(token: string): Caller | undefined;
  readonly size: number;
}

const CHECK_MS = 1_000;
/** File systems may give two writes within two seconds the same time: a file that just changed is read once more. */
const UNSURE_MS = 3_000;
const MAX_FILE_BYTES = 2 ** 20;
const FILE_HINT = 'Set http_token_file to a file with one "name:token" a line that the server may read.';

/**
 * Reads tokens from `inline` (setting `http_token`) and from `file` (`http_token_file`), which are added up. The file is
 * looked at again when a token is asked for, at most every second: one that changed counts from then on; one that is
 * gone, cannot be read, has a mistake or no token changes nothing and is logged once. Throws `invalid` at the start if a
 * source has a mistake or no token. No error and no line of the log holds any of the text. `now` is monotonic, in ms.
 * After `scope` is closed nothing is found.
 */
export function openTokens(
  scope: Scope,
  { inline, file }: { inline?: string | undefined; file?: string | undefined },
  log: Log,
  now: () => number = () => performance.now(),
): Tokens {
  const fixed = inline === undefined ? [] : inlineTokens(inline);
  const source = file === undefined ? undefined : openFile(file, log, now);
  if (inline === undefined && source === undefined) throw new LakeError("invalid", "There is no source of tokens.");
  let known = checkDistinct([...fixed, ...(source?.tokens ?? [])]);
  scope.defer(() => {
    known = [];
  });
  const find = (hash: Buffer, isDue: () => boolean): string | undefined => {
    if (known.length === 0) return undefined;
    if (isDue()) {
      source?.refresh((tokens) => {
        known = checkDistinct([...fixed, ...tokens]);
      });
    }
    return match(known, hash);
  };
  // Who comes first after a change must not find that somebody's stream was just asked about.
  const [forRequests, forStreams] = [everySecond(now), everySecond(now)];
  return {
    find: (token) => {
      const hash = hashOf(token);
      const name = find(hash, forRequests);
      // Given to another name, it is another's.
      return name === undefined ? undefined : { name, isRemoved: () => find(hash, forStreams) !== name };
    },
    get size() {
      return known.length;
    },
  };
}

function everySecond(now: () => number): () => boolean {
  let last = now();
  return () => {
    const at = now();
    if (at - last < CHECK_MS) return false;
    last = at;
    return true;
  };
}

/** Compares with every one, whichever it is. */
function match(known: KnownToken[], hash: Buffer): string | undefined {
  let found: KnownToken | undefined;
  for (const entry of known) {
    if (timingSafeEqual(entry.hash, hash)) found = entry;
  }
  return found?.name;
}

interface TokenFile {
  tokens: KnownToken[];
  /** Gives the tokens to `accept` if the file may have changed; what that throws counts as a mistake in the file. */
  refresh(accept: (tokens: KnownToken[]) => void): void;
}

/** `stat` on use, because `fs.watch` misses files that are replaced by a link, as mounted secrets are. */
function openFile(file: string, log: Log, now: () => number): TokenFile {
  let stamp = stampOf(file);
  const tokens = fileTokens(readText(file));
  let checkedAt = now();
  let changedAt = checkedAt;
  let complaint: string | undefined;
  warnIfOpen(file, log);

  const reload = (accept: (tokens: KnownToken[]) => void): void => {
    const current = stampOf(file);
    const changed = current !== stamp;
    if (!changed && complaint === undefined && checkedAt - changedAt > UNSURE_MS) return;
    accept(fileTokens(readText(file)));
    if (changed || complaint !== undefined) {
      log("info", "the file of tokens was read again", { file });
      warnIfOpen(file, log);
    }
    if (changed) changedAt = checkedAt;
    stamp = current;
    complaint = undefined;
  };

  return {
    tokens,
    refresh: (accept) => {
      checkedAt = now();
      try {
        reload(accept);
      } catch (error) {
        const reason = error instanceof LakeError ? error.message : "It cannot be read.";
        if (reason !== complaint)
          log("warn", "the file of tokens cannot be used: the tokens stay as they were", { file, reason });
        complaint = reason;
      }
    },
  };
}

function stampOf(file: string): string {
  const { ino, size, mtimeNs, ctimeNs, mode } = statOf(file);
  return [ino, size, mtimeNs, ctimeNs, mode].join(" ");
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw unreadable(file, error);
  }
}

function statOf(file: string) {
  let stat: ReturnType<typeof statBig>;
  try {
    stat = statBig(file);
  } catch (error) {
    throw unreadable(file, error);
  }
  // A pipe would block the whole server until somebody writes.
  if (!stat.isFile()) {
    throw new LakeError("invalid", `http_token_file ${JSON.stringify(file)} is not a regular file.`, {
      hint: FILE_HINT,
    });
  }
  if (stat.size > MAX_FILE_BYTES) {
    throw new LakeError("invalid", `http_token_file ${JSON.stringify(file)} is larger than ${MAX_FILE_BYTES} bytes.`, {
      hint: `${FILE_HINT} This one is probably another.`,
    });
  }
  return stat;
}

function statBig(file: string) {
  return statSync(file, { bigint: true });
}

function warnIfOpen(file: string, log: Log): void {
  const { mode } = statOf(file);
  if (process.platform === "win32" || (mode & 0o077n) === 0n) return;
  const now = (mode & 0o777n).toString(8).padStart(4, "0");
  log("warn", "the file of tokens can be read by others: chmod 600 it", { file, mode: now });
}

function unreadable(file: string, cause: unknown): LakeError {
  const why = hasCode(cause, "ENOENT")
    ? "does not exist"
    : hasCode(cause, "EACCES", "EPERM")
      ? "may not be read"
      : "cannot be read";
  return new LakeError("invalid", `http_token_file ${JSON.stringify(file)} ${why}.`, {
    hint: FILE_HINT,
    cause,
  });
}
