import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { cancelled, throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import type { Scope } from "../kernel/scope.ts";
import type { Clock, Log } from "../settings.ts";
import { openUploadFiles, type StoredUpload, type UploadRecord } from "./upload-files.ts";
import { openQuota, type QuotaSettings, type UploadUsage } from "./upload-quota.ts";
import { writeBody } from "./upload-write.ts";

/** Field names are those of the answers over HTTP. */
export interface Upload {
  /** What `ingest` takes; nobody can guess it. */
  upload: string;
  name: string;
  /** Bytes that are there. */
  bytes: number;
  /** Bytes it will have; null until that is known. */
  total: number | null;
  complete: boolean;
  /** Of the whole, hex, when it is complete. */
  sha256: string | null;
  /** ISO 8601. */
  expires: string;
}

/** A file that is about to come. */
export interface Incoming {
  /** Tells the format, as that of a file. */
  name?: string | undefined;
  /** Undefined: told by where the body ends. */
  length: number | undefined;
  /** Each is what the SHA-256 has to be. Hex. */
  sha256?: readonly string[] | undefined;
  /** What its caller may have of the places and the room for uploads. Default: all. */
  share?: number | undefined;
}

export interface OpenUpload {
  path: string;
  name: string;
  /** Removes it: what it was for is done. */
  consume(): Promise<void>;
}

export interface UploadSettings extends Pick<QuotaSettings, "maxBytes" | "quotaBytes"> {
  /** How long an upload is kept after its last byte has come. */
  expiryMs: number;
  /** Default: a minute. */
  sweepMs?: number | undefined;
  clock: Clock;
  log: Log;
}

/** Files that clients send, until `ingest` uses them. Each belongs to the caller who sent it; to others it is not there. */
export interface Uploads {
  /**
   * Writes `body` to a new upload and returns when that is durable. Nothing of `body` is asked for before the upload is
   * found to be allowed. Whatever is thrown, nothing is kept: `invalid`, `corrupt`, `limit`, `unavailable`, and the errors
   * of `body`.
   */
  receive(caller: string, incoming: Incoming, body: AsyncIterable<Uint8Array>): Promise<Upload>;
  /** Throws `not_found`. */
  find(caller: string, id: string): Promise<Upload>;
  list(caller: string): Promise<Upload[]>;
  /** Throws `not_found`, `conflict` while it is used. */
  remove(caller: string, id: string): Promise<void>;
  /** A complete upload for one ingest, until `scope` is closed. Throws `not_found`, `conflict`, `invalid`. */
  take(scope: Scope, caller: string | undefined, id: string): Promise<OpenUpload>;
  /** Removes what has expired and what processes that are gone have left. Never throws; happens by itself, too. */
  sweep(): Promise<void>;
  /** All callers' together. */
  usage(): Promise<UploadUsage>;
}

const FILES_AHEAD = 32;
const SWEEP_MS = 60_000;
const CLOSE_GRACE_MS = 3_000;
const MAX_NAME = 255;
/** Letters of any script, but nothing that breaks a line or reverses it. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

/** Keeps uploads in `folder`, which other processes may use, too. Sweeps at once, and from time to time. */
export function openUploads(scope: Scope, folder: string, settings: UploadSettings): Uploads {
  const { clock, log, expiryMs, maxBytes } = settings;
  const files = openUploadFiles(folder, clock);
  const quota = openQuota(files, settings);
  const closing = new AbortController();
  const running = new Set<Promise<unknown>>();

  const isExpired = ({ touched }: StoredUpload): boolean => clock.now().getTime() > touched + expiryMs;
  /** Unfinished, it is only of use to the process that holds it. */
  const isOver = (upload: StoredUpload): boolean => upload.sha256 === null || isExpired(upload);

  async function load(caller: string | undefined, id: string): Promise<StoredUpload> {
    const found = await files.load(id);
    if (!found || found.caller !== caller || isExpired(found)) throw missing(id);
    return found;
  }

  /** The upload as it is once nobody else can change it. */
  async function hold(caller: string | undefined, id: string) {
    await load(caller, id);
    const release = await files.hold(id);
    try {
      // Whoever had it may have changed it, or used it up.
      const upload = await load(caller, id);
      if (release) return { upload, release };
    } catch (error) {
      await release?.();
      throw error;
    }
    throw new LakeError("conflict", `Upload ${id} is in use by another request.`, {
      hint: "Wait for that to end, then look at what is there.",
    });
  }

  const view = ({ id, name, bytes, total, sha256, touched }: StoredUpload): Upload => ({
    upload: id,
    name,
    bytes,
    total,
    complete: sha256 !== null,
    sha256,
    expires: new Date(touched + expiryMs).toISOString(),
  });

  async function begin(caller: string, { name, length, share = 1 }: Incoming) {
    const record: UploadRecord = {
      format: 1,
      id: randomUUID(),
      name: plainName(name ?? "upload"),
      caller,
      total: length ?? null,
      sha256: null,
    };
    await quota.reserve(record.id, length, { caller, share });
    try {
      await files.create(record);
      const release = await files.hold(record.id);
      // Held before it is saved: the sweep removes what is unfinished and held by nobody.
      await files.save(record);
      if (release) return { record, release };
    } catch (error) {
      await files.remove(record.id);
      await quota.release(record.id);
      throw error;
    }
    throw new LakeError("internal", "A new upload is held by another process.");
  }

  async function receive(caller: string, incoming: Incoming, body: AsyncIterable<Uint8Array>): Promise<Upload> {
    if ((incoming.length ?? 0) > maxBytes) throw quota.tooLarge();
    const { record, release } = await begin(caller, incoming);
    const { id } = record;
    try {
      const handle = await files.openData(id);
      try {
        const { bytes, sha256 } = await writeBody(handle, body, {
          length: incoming.length,
          admit: (count) => quota.admit(id, count),
          signal: closing.signal,
        });
        const wrong = incoming.sha256?.find((expected) => expected !== sha256);
        if (wrong !== undefined) throw damaged(wrong, sha256);
        await handle.sync();
        [record.total, record.sha256] = [bytes, sha256];
        await files.save(record);
      } finally {
        await handle.close();
      }
      return view(await load(caller, id));
    } catch (error) {
      await files.remove(id);
      throw error;
    } finally {
      await quota.release(id);
      await release();
    }
  }

  async function sweep(): Promise<void> {
    for (const id of await files.ids()) {
      if (closing.signal.aborted) return;
      try {
        if (await files.isDebris(id)) await files.remove(id);
        const upload = await files.load(id);
        if (!upload || !isOver(upload)) continue;
        const release = await files.hold(id);
        if (!release) continue;
        // Its sender may have finished in between.
        const held = await files.load(id);
        if (held && isOver(held)) await files.remove(id);
        await release();
      } catch (error) {
        log("warn", "an upload could not be looked at", { upload: id, error: String(error) });
      }
    }
  }

  function track<T>(work: Promise<T>): Promise<T> {
    running.add(work);
    const end = (): void => void running.delete(work);
    work.then(end, end);
    return work;
  }

  const timer = setInterval(() => void track(sweep()), settings.sweepMs ?? SWEEP_MS);
  timer.unref();
  void track(sweep());
  scope.defer(async () => {
    clearInterval(timer);
    closing.abort(new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again." }));
    await Promise.race([Promise.allSettled(running), delay(CLOSE_GRACE_MS, undefined, { ref: false })]);
  });

  return {
    receive: (caller, incoming, body) => {
      if (closing.signal.aborted) return Promise.reject(cancelled(closing.signal));
      return track(receive(caller, incoming, body));
    },
    find: async (caller, id) => view(await load(caller, id)),
    list: async (caller) => {
      const own: StoredUpload[] = [];
      for await (const upload of mapAhead(await files.ids(), FILES_AHEAD, (id) =>
        files.load(id).catch(() => undefined),
      )) {
        if (upload?.caller === caller && !isExpired(upload)) own.push(upload);
      }
      return own.sort((a, b) => b.touched - a.touched).map(view);
    },
    remove: async (caller, id) => {
      const { release } = await hold(caller, id);
      await files.remove(id);
      await release();
    },
    take: async (into, caller, id) => {
      throwIfAborted(closing.signal);
      const { upload, release } = await hold(caller, id);
      if (upload.sha256 === null) {
        await release();
        throw missing(id);
      }
      into.defer(release);
      return { path: files.dataPath(id), name: upload.name, consume: () => files.remove(id) };
    },
    sweep,
    usage: quota.usage,
  };
}

/** The last part of a path, since clients like to send one. It is shown, and never used as a path. */
function plainName(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? "";
  const good = last.isWellFormed() && !UNPRINTABLE.test(last) && !/^\.{0,2}$/.test(last.trim());
  if (good && Buffer.byteLength(last) <= MAX_NAME) return last;
  throw new LakeError("invalid", "The name of the upload is not the name of a file.", {
    hint: `Give it one of up to ${MAX_NAME} bytes, such as workers.csv.`,
  });
}

function missing(id: string): LakeError {
  return new LakeError("not_found", `There is no upload ${JSON.stringify(id.slice(0, 100))}.`, {
    hint: "Each is used once, by whoever sent it, and expires. Send the file again: PUT /uploads?name=…",
  });
}

function damaged(expected: string, found: string): LakeError {
  return new LakeError("corrupt", `The SHA-256 of what arrived is ${found}, not ${expected}. Nothing was kept.`, {
    hint: "Send the file again.",
  });
}
