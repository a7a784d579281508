import { LakeError } from "../errors.ts";
import type { UploadFiles } from "./upload-files.ts";

export interface QuotaSettings {
  /** Of one upload. */
  maxBytes: number;
  /** Of all uploads together. */
  quotaBytes: number;
}

export interface Quota {
  /** Room for a part, or for as much as there is when its length is not known. Throws `unavailable`. */
  reserve(id: string, part: { from: number; length: number | undefined }): Promise<void>;
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

export function openQuota(files: UploadFiles, { maxBytes, quotaBytes }: QuotaSettings): Quota {
  /** What uploads that are being written may grow to. */
  const reserved = new Map<string, number>();
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

  async function used(except: string): Promise<number> {
    const others = (await files.ids()).filter((id) => id !== except);
    if (others.length >= MAX_UPLOADS) {
      throw new LakeError("unavailable", `${MAX_UPLOADS} uploads are waiting already.`, {
        hint: "Ingest or DELETE some of them.",
      });
    }
    return sizeOf(others, except);
  }

  async function sizeOf(others: string[], except?: string): Promise<number> {
    const sizes = await Promise.all(others.map((id) => (reserved.has(id) ? 0 : files.bytes(id))));
    let sum = 0;
    for (const size of sizes) sum += size;
    for (const [id, bytes] of reserved) if (id !== except) sum += bytes;
    return sum;
  }

  return {
    tooLarge,
    usage: async () => ({ running: reserved.size, bytes: await sizeOf(await files.ids()), quotaBytes }),
    reserve: (id, { from, length }) =>
      inOrder(async () => {
        const room = quotaBytes - (await used(id));
        const wanted = length === undefined ? Math.min(maxBytes, room) : from + length;
        if (wanted > room || wanted <= from) throw length === 0 ? empty() : full();
        reserved.set(id, wanted);
      }),
    admit: (id, bytes) => {
      if (bytes > maxBytes) throw tooLarge();
      if (bytes > (reserved.get(id) ?? 0)) throw full();
    },
    release: (id) => inOrder(async () => void reserved.delete(id)),
  };
}

function empty(): LakeError {
  return new LakeError("invalid", "There is nothing in it.", { hint: "Send the bytes of a file." });
}
