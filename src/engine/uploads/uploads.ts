import { setTimeout as delay } from "node:timers/promises";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import { action, next } from "../kernel/next-step.ts";
import type { Scope } from "../kernel/scope.ts";
import type { Clock, Log } from "../settings.ts";
import { openUploadFiles, type StoredUpload, type UploadFiles } from "./upload-files.ts";
import { openQuota, type QuotaSettings, type UploadUsage } from "./upload-quota.ts";
import { type Incoming, receiveUpload } from "./upload-receive.ts";

/** An upload, with the field names of the HTTP answers. */
export interface Upload {
  /** The ID that `ingest` takes; it cannot be guessed. */
  upload: string;
  name: string;
  /** Bytes that have arrived. */
  bytes: number;
  /** Size of the whole; null until it is known. */
  total: number | null;
  complete: boolean;
  /** Of the whole, in hex; null until it is complete. */
  sha256: string | null;
  /** ISO 8601. */
  expires: string;
}

export interface OpenUpload {
  path: string;
  name: string;
  /** Removes the upload after it was loaded. */
  consume(): Promise<void>;
}

export interface UploadSettings extends QuotaSettings {
  /** How long an upload is kept after its last byte has arrived. */
  expiryMs: number;
  /** Default: a minute. */
  sweepMs?: number | undefined;
  clock: Clock;
  log: Log;
}

/** Files that clients send for a later `ingest`. Each belongs to the caller who sent it, and is invisible to others. */
export interface Uploads {
  /**
   * Writes `body` to a new upload, and returns when that is durable. The body is not read before the upload is admitted.
   * Keeps nothing when it throws: `invalid`, `corrupt`, `limit`, `unavailable`, or the errors of `body`.
   */
  receive(caller: string, incoming: Incoming, body: AsyncIterable<Uint8Array>): Promise<Upload>;
  /** Throws `not_found`. */
  find(caller: string, id: string): Promise<Upload>;
  /** Newest first. */
  list(caller: string): Promise<Upload[]>;
  /** Throws `not_found`, or `conflict` while it is in use. */
  remove(caller: string, id: string): Promise<void>;
  /** Opens a complete upload for one ingest, until `scope` is closed. Throws `not_found`, `conflict`, `closed`. */
  take(scope: Scope, caller: string | undefined, id: string): Promise<OpenUpload>;
  /** Removes expired uploads, and those that ended processes have left unfinished. Never throws. Also runs periodically. */
  sweep(): Promise<void>;
  /** Of all callers together. */
  usage(): Promise<UploadUsage>;
}

const FILES_AHEAD = 32;
const SWEEP_MS = 60_000;
const CLOSE_GRACE_MS = 3_000;

/** Opens the uploads in `folder`, which other processes may use as well. Sweeps at once, and periodically. */
export function openUploads(scope: Scope, folder: string, settings: UploadSettings): Uploads {
  const { clock, log, expiryMs, maxBytes } = settings;
  const files = openUploadFiles(folder, clock);
  const quota = openQuota(files, settings);
  const closing = new AbortController();
  const { signal } = closing;

  const isExpired = ({ touched }: StoredUpload): boolean => clock.now().getTime() > touched + expiryMs;
  const view = (upload: StoredUpload): Upload => viewOf(upload, upload.touched + expiryMs);

  async function load(caller: string | undefined, id: string): Promise<StoredUpload> {
    const found = await files.load(id);
    if (!found || found.caller !== caller || isExpired(found)) throw missing(id);
    return found;
  }

  async function hold(caller: string | undefined, id: string) {
    await load(caller, id);
    const release = await files.hold(id);
    try {
      // The holder before may have changed or removed it.
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

  const sweep = (): Promise<void> => sweepUploads({ files, log, isExpired, signal });
  const track = openWork(scope, closing);
  const timer = setInterval(() => void track(sweep()), settings.sweepMs ?? SWEEP_MS);
  timer.unref();
  scope.defer(() => clearInterval(timer));
  void track(sweep());

  return {
    receive: async (caller, incoming, body) => {
      throwIfAborted(signal);
      return view(await track(receiveUpload({ files, quota, maxBytes, load, signal }, caller, incoming, body)));
    },
    find: async (caller, id) => view(await load(caller, id)),
    list: async (caller) => {
      const own: StoredUpload[] = [];
      const loaded = mapAhead(await files.ids(), FILES_AHEAD, (id) => files.load(id).catch(() => undefined));
      for await (const upload of loaded) if (upload?.caller === caller && !isExpired(upload)) own.push(upload);
      return own.sort((a, b) => b.touched - a.touched).map(view);
    },
    remove: async (caller, id) => {
      const { release } = await hold(caller, id);
      await files.remove(id);
      await release();
    },
    take: async (into, caller, id) => {
      throwIfAborted(signal);
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

/** Registers work. When `scope` is closed, `closing` is aborted, and the work has a moment to end. */
function openWork(scope: Scope, closing: AbortController): <T>(work: Promise<T>) => Promise<T> {
  const running = new Set<Promise<unknown>>();
  scope.defer(async () => {
    closing.abort(new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again." }));
    await Promise.race([Promise.allSettled(running), delay(CLOSE_GRACE_MS, undefined, { ref: false })]);
  });
  return (work) => {
    running.add(work);
    const end = (): void => void running.delete(work);
    work.then(end, end);
    return work;
  };
}

interface Sweep {
  files: UploadFiles;
  log: Log;
  isExpired(upload: StoredUpload): boolean;
  signal: AbortSignal;
}

async function sweepUploads({ files, log, isExpired, signal }: Sweep): Promise<void> {
  /** An unfinished upload is of use only to the process that holds it. */
  const isOver = (upload: StoredUpload): boolean => upload.sha256 === null || isExpired(upload);
  for (const id of await files.ids()) {
    if (signal.aborted) return;
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
      log("warn", "an upload could not be swept", { upload: id, error: String(error) });
    }
  }
}

function viewOf({ id, name, bytes, total, sha256 }: StoredUpload, expiresMs: number): Upload {
  const expires = new Date(expiresMs).toISOString();
  return { upload: id, name, bytes, total, complete: sha256 !== null, sha256, expires };
}

function missing(id: string): LakeError {
  return new LakeError("not_found", `There is no upload ${JSON.stringify(id.slice(0, 100))}.`, {
    hint: next`Each is used once, by its sender, and expires. Send the file again: ${action("sendFile")}`,
    facts: { argument: "upload" },
  });
}
