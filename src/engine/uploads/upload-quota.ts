import { LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import type { UploadFiles } from "./upload-files.ts";

export interface QuotaSettings {
  /** Of one upload. */
  maxBytes: number;
  /** Of all uploads together. */
  quotaBytes: number;
}

export interface Quota {
  /**
   * Room for a new upload, or for as much as there is when its length is not known. `share` of all is the most that this caller
   * may have. Throws `unavailable`, with the code `own_share` when others have room.
   */
  reserve(id: string, length: number | undefined, of: { caller: string; share: number }): Promise<void>;
  /** Throws unless an upload with a reservation may have `bytes` bytes: `limit`, `unavailable`. */
  admit(id: string, bytes: number): void;
  /** What was not used of the room is free again. */
  release(id: string): Promise<void>;
  tooLarge(): LakeError;
  usage(): Promise<UploadUsage>;
}

export interface UploadUsage {
  /** Uploads of this process that are being written. */
  running: number;
  /** What counts against the quota: what is there, and room for what is being written. */
  bytes: number;
  quotaBytes: number;
}

/** Bounds the number of files, where the quota does not. */
const MAX_UPLOADS = 1_000;
const FILES_AHEAD = 32;

export function openQuota(files: UploadFiles, { maxBytes, quotaBytes }: QuotaSettings): Quota {
  /** What uploads that are being written may grow to, and whose they are. */
  const reserved = new Map<string, { bytes: number; caller: string }>();
  /** Whose uploads are: that never changes, and is in a file each. */
  const owners = new Map<string, string>();
  let last: Promise<unknown> = Promise.resolve();

  /** One after the other: two at once would find the same room. */
  function inOrder<T>(work: () => Promise<T>): Promise<T> {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  }

  const tooLarge = (): LakeError =>
    new LakeError("limit", `An upload may have ${maxBytes} bytes (max_ingest_bytes).`, {
      hint: "Split the file, compress it, or raise max_ingest_bytes (LAKEHOUSE_MAX_INGEST_BYTES).",
    });

  const full = (): LakeError =>
    new LakeError(
      "unavailable",
      `There is no room: all uploads together may have ${quotaBytes} bytes (upload_quota).`,
      {
        hint: "Ingest or DELETE uploads that wait, or raise upload_quota (LAKEHOUSE_UPLOAD_QUOTA).",
      },
    );

  async function ownedBy(caller: string, ids: readonly string[]): Promise<string[]> {
    const known = new Set(ids);
    for (const id of owners.keys()) if (!known.has(id)) owners.delete(id);
    const own: string[] = [];
    for await (const [id, owner] of mapAhead(ids, FILES_AHEAD, async (id) => {
      return [id, owners.get(id) ?? (await files.load(id).catch(() => undefined))?.caller] as const;
    })) {
      if (owner !== undefined) owners.set(id, owner);
      if (owner === caller) own.push(id);
    }
    return own;
  }

  /** Room that is left for the caller, and what is said when it is too little. */
  async function roomFor({
    caller,
    share,
  }: {
    caller: string;
    share: number;
  }): Promise<{ room: number; tooLittle: LakeError }> {
    const others = await files.ids();
    if (others.length >= MAX_UPLOADS) {
      throw new LakeError("unavailable", `${MAX_UPLOADS} uploads are waiting already.`, {
        hint: "Ingest or DELETE some of them.",
      });
    }
    const room = quotaBytes - (await sizeOf(others));
    if (share >= 1) return { room, tooLittle: full() };
    const isOwn = (of: { caller: string }): boolean => of.caller === caller;
    const begun = [...reserved].filter(([, of]) => isOwn(of)).map(([id]) => id);
    const own = [...new Set([...(await ownedBy(caller, others)), ...begun])];
    const most = Math.floor(MAX_UPLOADS * share);
    if (own.length >= most)
      throw ownShare(`${own.length} uploads of yours are waiting, of ${most} that one token may have.`);
    // One upload of the largest size is always possible.
    const mostBytes = Math.min(quotaBytes, Math.max(Math.floor(quotaBytes * share), maxBytes));
    const ownRoom = mostBytes - (await sizeOf(own, isOwn));
    if (room <= ownRoom) return { room, tooLittle: full() };
    const tooLittle = ownShare(
      `There is no room: the uploads of one token may have ${mostBytes} bytes (of upload_quota).`,
    );
    return { room: ownRoom, tooLittle };
  }

  /** Of these uploads as they are, and of those that are being written as they may become. */
  async function sizeOf(
    ids: readonly string[],
    counts: (of: { caller: string }) => boolean = () => true,
  ): Promise<number> {
    const sizes = await Promise.all(ids.map((id) => (reserved.has(id) ? 0 : files.bytes(id))));
    let sum = 0;
    for (const size of sizes) sum += size;
    for (const of of reserved.values()) if (counts(of)) sum += of.bytes;
    return sum;
  }

  return {
    tooLarge,
    usage: async () => ({ running: reserved.size, bytes: await sizeOf(await files.ids()), quotaBytes }),
    reserve: (id, length, of) =>
      inOrder(async () => {
        const { room, tooLittle } = await roomFor(of);
        const wanted = length === undefined ? Math.min(maxBytes, room) : length;
        if (wanted > room || wanted <= 0) throw length === 0 ? empty() : tooLittle;
        reserved.set(id, { bytes: wanted, caller: of.caller });
      }),
    admit: (id, bytes) => {
      if (bytes > maxBytes) throw tooLarge();
      if (bytes > (reserved.get(id)?.bytes ?? 0)) throw full();
    },
    release: (id) => inOrder(async () => void reserved.delete(id)),
  };
}

function empty(): LakeError {
  return new LakeError("invalid", "There is nothing in it.", { hint: "Send the bytes of a file." });
}

function ownShare(message: string): LakeError {
  return new LakeError("unavailable", message, { code: "own_share", hint: "Ingest or DELETE some of them." });
}
