import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { cancelled, LakeError, throwIfAborted } from "../kernel/errors.ts";
import { openHasher } from "../kernel/hash.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import { openScope, type Scope } from "../kernel/scope.ts";
import type { Clock, Log } from "../settings.ts";
import { openUploadFiles, type StoredUpload, type UploadRecord } from "./upload-files.ts";
import { openQuota, type QuotaSettings, type UploadUsage } from "./upload-quota.ts";
import { type PartData, writePart } from "./upload-write.ts";

/** Field names are those of the answers over HTTP. */
export interface Upload {
  /** What `ingest` takes; nobody can guess it. */
  upload: string;
  name: string;
  /** Bytes that are there. */
  bytes: number;
  /** Bytes it will have; null until that was told. */
  total: number | null;
  complete: boolean;
  /** Of the whole, hex, when it is complete. */
  sha256: string | null;
  /** ISO 8601. */
  expires: string;
}

/** Bytes of an upload that are about to come. */
export interface Part extends PartData {
  /** The upload they belong to; absent for a new one. */
  id?: string | undefined;
  /** Of a new one: tells the format, as that of a file. */
  name?: string | undefined;
  /** Bytes of the whole. Undefined: told by where the body ends. */
  total: number | undefined;
  /** What the SHA-256 of the whole has to be. Hex. */
  sha256?: string | undefined;
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
   * Writes `body` to a new upload, or to the end of one that is there, and returns when that is durable. Nothing of
   * `body` is asked for before the part is found to be allowed. When `body` throws, what came of it stays, to be gone on
   * with; when `LakeError` is thrown, it does not: `invalid`, `limit`, `conflict`, `not_found`, `unavailable`.
   */
  receive(caller: string, part: Part, body: AsyncIterable<Uint8Array>): Promise<Upload>;
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

  async function begin(caller: string, part: Part) {
    const { total = null, sha256: expected = null } = part;
    const name = plainName(part.name ?? "upload");
    if (part.from !== 0) throw new LakeError("invalid", "A new upload begins with its first byte.", { hint: RESUME });
    const record: UploadRecord = { format: 1, id: randomUUID(), name, caller, total, expected, sha256: null };
    await quota.reserve(record.id, part, { caller, share: part.share ?? 1 });
    try {
      await files.create(record);
      const release = await files.hold(record.id);
      await files.save(record);
      if (release) return { record, release };
    } catch (error) {
      await files.remove(record.id);
      await quota.release(record.id);
      throw error;
    }
    throw new LakeError("internal", "A new upload is held by another process.");
  }

  async function resume(caller: string, id: string, part: Part) {
    const { upload, release } = await hold(caller, id);
    try {
      refuseWrongPart(upload, part);
      const { bytes: _, touched: __, ...record } = upload;
      record.total ??= part.total ?? null;
      record.expected ??= part.sha256 ?? null;
      await quota.reserve(id, part, { caller, share: part.share ?? 1 });
      return { record, release };
    } catch (error) {
      await release();
      throw error;
    }
  }

  async function receive(caller: string, part: Part, body: AsyncIterable<Uint8Array>): Promise<Upload> {
    if (Math.max(part.total ?? 0, part.length ?? 0) > maxBytes) throw quota.tooLarge();
    const isNew = part.id === undefined;
    const { record, release } = part.id === undefined ? await begin(caller, part) : await resume(caller, part.id, part);
    const { id } = record;
    try {
      const handle = await files.openData(id);
      try {
        const written = await writePart(handle, part, body, {
          admit: (bytes) => quota.admit(id, bytes),
          signal: closing.signal,
        });
        const complete = part.total === undefined || written.end === part.total;
        if (complete) record.sha256 = part.from === 0 ? written.sha256 : await hashOf(files.dataPath(id));
        if (complete && record.expected !== null && record.expected !== record.sha256) throw damaged(record);
        await handle.sync();
        if (complete) record.total = written.end;
        await files.save(record);
      } finally {
        await handle.close();
      }
      return view(await load(caller, id));
    } catch (error) {
      // Of one whose bytes are wrong nobody knows which of them are; of one that was begun now nothing is there to keep.
      const useless = error instanceof LakeError && (isNew || error.kind === "corrupt");
      if ((useless && !closing.signal.aborted) || (await files.bytes(id)) === 0) await files.remove(id);
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
        if (!upload || !isExpired(upload)) continue;
        const release = await files.hold(id);
        if (!release) continue;
        // A part may have come in between.
        const held = await files.load(id);
        if (held && isExpired(held)) await files.remove(id);
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
    receive: (caller, part, body) => {
      if (closing.signal.aborted) return Promise.reject(cancelled(closing.signal));
      return track(receive(caller, part, body));
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
        throw unfinished(upload);
      }
      into.defer(release);
      return { path: files.dataPath(id), name: upload.name, consume: () => files.remove(id) };
    },
    sweep,
    usage: quota.usage,
  };
}

const RESUME = "Send the rest to the upload's own address, with Content-Range: bytes FIRST-LAST/TOTAL.";

function refuseWrongPart(upload: StoredUpload, part: Part): void {
  const { id, bytes, total, expected } = upload;
  if (upload.sha256 !== null) {
    throw new LakeError("conflict", `Upload ${id} is complete.`, { hint: "Use it with ingest, or begin another." });
  }
  if (part.from !== bytes) {
    throw new LakeError("conflict", `Upload ${id} has ${bytes} bytes; the next part begins at ${bytes}.`, {
      hint: RESUME,
    });
  }
  if (total !== null && part.total !== total) {
    throw new LakeError("invalid", `Upload ${id} is one of ${total} bytes, not of ${part.total ?? "any number"}.`, {
      hint: "Send the rest of the same file, or begin another upload.",
    });
  }
  if (expected !== null && part.sha256 !== undefined && part.sha256 !== expected) {
    throw new LakeError("invalid", `Upload ${id} began with another digest of the whole.`, {
      hint: "Send the rest of the same file, or begin another upload.",
    });
  }
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

/** In a worker thread: the bytes came in several requests, maybe to several servers. */
async function hashOf(path: string): Promise<string> {
  const scope = openScope();
  try {
    return await openHasher(scope).sha256(path);
  } finally {
    await scope.close();
  }
}

function missing(id: string): LakeError {
  return new LakeError("not_found", `There is no upload ${JSON.stringify(id.slice(0, 100))}.`, {
    hint: "Each is used once, by whoever sent it, and expires. Send the file again: PUT /uploads?name=…",
  });
}

function unfinished({ id, bytes, total }: StoredUpload): LakeError {
  return new LakeError("invalid", `Upload ${id} is not complete: ${bytes} of ${total ?? "?"} bytes are there.`, {
    hint: RESUME,
  });
}

function damaged({ expected, sha256 }: UploadRecord): LakeError {
  return new LakeError("corrupt", `The SHA-256 of what arrived is ${sha256}, not ${expected}. Nothing was kept.`, {
    hint: "Send the file again.",
  });
}
