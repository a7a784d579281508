import { type ErrorFacts, LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import { action, type NextStep, next, setting } from "../kernel/next-step.ts";
import { openSequence } from "../kernel/sequence.ts";
import type { UploadFiles } from "./upload-files.ts";
import { emptyUpload } from "./upload-write.ts";

export interface QuotaSettings {
  /** Largest upload. */
  maxBytes: number;
  /** Size of all uploads together. */
  quotaBytes: number;
}

export interface Quota {
  /**
   * Reserves room for a new upload, or all room there is when its length is not known. `share` is the part of the quota
   * that one caller may use. Throws `unavailable`, with the code `own_share` when the caller's share is used up.
   */
  reserve(id: string, length: number | undefined, by: Share): Promise<void>;
  /** Throws `limit` or `unavailable` unless an upload with a reservation may grow to `bytes`. */
  admit(id: string, bytes: number): void;
  /** Ends the reservation: from now on, the upload counts with its size. */
  release(id: string): Promise<void>;
  tooLarge(): LakeError;
  usage(): Promise<UploadUsage>;
}

export interface UploadUsage {
  /** Uploads that this process is writing. */
  running: number;
  /** Used part of the quota: the stored uploads, and the room reserved for those being written. */
  bytes: number;
  quotaBytes: number;
}

interface Share {
  caller: string;
  /** From 0 to 1. */
  share: number;
}

interface Reservation {
  /** Size that the upload may grow to. */
  bytes: number;
  caller: string;
}

/** The quota does not bound the number of files, which are small. */
const MAX_UPLOADS = 1_000;
const FILES_AHEAD = 32;
const REMOVE_SOME = next`Load waiting uploads with ${action("ingest")}, or remove some with ${action("removeUpload")}.`;

export function openQuota(files: UploadFiles, { maxBytes, quotaBytes }: QuotaSettings): Quota {
  const reserved = new Map<string, Reservation>();
  const ownedBy = openOwners(files);
  /** Two reservations at once would both take the same room. */
  const inOrder = openSequence();

  async function sizeOf(ids: readonly string[], of: Iterable<Reservation> = reserved.values()): Promise<number> {
    const sizes = await Promise.all(ids.map((id) => (reserved.has(id) ? 0 : files.bytes(id))));
    return [...sizes, ...Array.from(of, ({ bytes }) => bytes)].reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Room that is left for the caller, and the error when it is too little. */
  async function roomFor({ caller, share }: Share): Promise<{ room: number; tooLittle: LakeError }> {
    const ids = await files.ids();
    if (ids.length >= MAX_UPLOADS) {
      const message = `${MAX_UPLOADS} uploads are waiting already.`;
      throw new LakeError("unavailable", message, { hint: REMOVE_SOME, facts: { limit: MAX_UPLOADS } });
    }
    const room = quotaBytes - (await sizeOf(ids));
    if (share >= 1) return { room, tooLittle: full(quotaBytes) };
    const begun = [...reserved].filter(([, reservation]) => reservation.caller === caller);
    const own = [...new Set([...(await ownedBy(caller, ids)), ...begun.map(([id]) => id)])];
    const most = Math.floor(MAX_UPLOADS * share);
    if (own.length >= most) {
      const message = `${own.length} uploads of yours are waiting, of ${most} that one token may have.`;
      throw shareUsed(message, REMOVE_SOME, { limit: most });
    }
    // An upload of the largest size must always be possible.
    const mostBytes = Math.min(quotaBytes, Math.max(Math.floor(quotaBytes * share), maxBytes));
    const reservations = begun.map(([, reservation]) => reservation);
    const ownRoom = mostBytes - (await sizeOf(own, reservations));
    if (room <= ownRoom) return { room, tooLittle: full(quotaBytes) };
    const message = `There is no room: the uploads of one token may have ${mostBytes} bytes.`;
    const hint = next`${REMOVE_SOME} The limit is a share of ${setting("upload_quota")}.`;
    return { room: ownRoom, tooLittle: shareUsed(message, hint, { limit: mostBytes, setting: "upload_quota" }) };
  }

  const tooLarge = (): LakeError =>
    new LakeError("limit", `An upload may have ${maxBytes} bytes.`, {
      hint: next`Split the file, compress it, or raise ${setting("max_ingest_bytes")}.`,
      facts: { limit: maxBytes, setting: "max_ingest_bytes" },
    });

  return {
    tooLarge,
    usage: async () => ({ running: reserved.size, bytes: await sizeOf(await files.ids()), quotaBytes }),
    reserve: (id, length, by) =>
      inOrder(async () => {
        const { room, tooLittle } = await roomFor(by);
        const wanted = length === undefined ? Math.min(maxBytes, room) : length;
        if (wanted > room || wanted <= 0) throw length === 0 ? emptyUpload() : tooLittle;
        reserved.set(id, { bytes: wanted, caller: by.caller });
      }),
    admit: (id, bytes) => {
      if (bytes > maxBytes) throw tooLarge();
      if (bytes > (reserved.get(id)?.bytes ?? 0)) throw full(quotaBytes);
    },
    release: (id) => inOrder(async () => void reserved.delete(id)),
  };
}

/** Which of some uploads are a caller's. Owners never change, so the record of each upload is read once. */
function openOwners(files: UploadFiles): (caller: string, ids: readonly string[]) => Promise<string[]> {
  const owners = new Map<string, string>();
  const ownerOf = async (id: string) => owners.get(id) ?? (await files.load(id).catch(() => undefined))?.caller;
  return async (caller, ids) => {
    const present = new Set(ids);
    for (const id of owners.keys()) if (!present.has(id)) owners.delete(id);
    const own: string[] = [];
    const read = mapAhead(ids, FILES_AHEAD, async (id) => ({ id, owner: await ownerOf(id) }));
    for await (const { id, owner } of read) {
      if (owner !== undefined) owners.set(id, owner);
      if (owner === caller) own.push(id);
    }
    return own;
  };
}

function full(quotaBytes: number): LakeError {
  return new LakeError("unavailable", `There is no room: all uploads together may have ${quotaBytes} bytes.`, {
    hint: next`${REMOVE_SOME} Or raise ${setting("upload_quota")}.`,
    facts: { limit: quotaBytes, setting: "upload_quota" },
  });
}

function shareUsed(message: string, hint: NextStep, facts: ErrorFacts): LakeError {
  return new LakeError("unavailable", message, { code: "own_share", hint, facts });
}
