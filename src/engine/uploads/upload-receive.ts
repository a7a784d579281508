import { randomUUID } from "node:crypto";
import { LakeError } from "../kernel/errors.ts";
import type { StoredUpload, UploadFiles, UploadRecord } from "./upload-files.ts";
import type { Quota } from "./upload-quota.ts";
import { writeBody } from "./upload-write.ts";

/** A file that is about to arrive. */
export interface Incoming {
  /** The format is recognized by it, as by the name of a file. */
  name?: string | undefined;
  /** Undefined when only the end of the body tells. */
  length: number | undefined;
  /** Expected SHA-256 digests, in hex; all have to match. */
  sha256?: readonly string[] | undefined;
  /** Part of the places and of the room for uploads that the caller may use. Default: 1, all. */
  share?: number | undefined;
}

interface Parts {
  files: UploadFiles;
  quota: Quota;
  /** The largest upload. */
  maxBytes: number;
  load(caller: string, id: string): Promise<StoredUpload>;
  signal: AbortSignal;
}

const MAX_NAME_BYTES = 255;
/** Control characters, line breaks, and marks that change the direction of text. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

/** Writes `body` to a new upload. See `Uploads.receive`. */
export async function receiveUpload(
  parts: Parts,
  caller: string,
  incoming: Incoming,
  body: AsyncIterable<Uint8Array>,
): Promise<StoredUpload> {
  const { files, quota, signal } = parts;
  if ((incoming.length ?? 0) > parts.maxBytes) throw quota.tooLarge();
  const { record, release } = await begin(parts, caller, incoming);
  const { id } = record;
  try {
    const handle = await files.openData(id);
    try {
      const admit = (count: number): void => quota.admit(id, count);
      const { bytes, sha256 } = await writeBody(handle, body, { length: incoming.length, admit, signal });
      const wrong = incoming.sha256?.find((expected) => expected !== sha256);
      if (wrong !== undefined) throw damaged(wrong, sha256);
      await handle.sync();
      await files.save({ ...record, total: bytes, sha256 });
    } finally {
      await handle.close();
    }
    return await parts.load(caller, id);
  } catch (error) {
    await files.remove(id);
    throw error;
  } finally {
    await quota.release(id);
    await release();
  }
}

async function begin({ files, quota }: Parts, caller: string, { name, length, share = 1 }: Incoming) {
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
    // Held before it is saved: the sweep removes unfinished uploads that no process holds.
    await files.save(record);
    if (release) return { record, release };
  } catch (error) {
    await files.remove(record.id);
    await quota.release(record.id);
    throw error;
  }
  throw new LakeError("internal", "A new upload is held by another process.");
}

/** The last part of a path, since some clients send one. It is only shown, and never used as a path. */
function plainName(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? "";
  const isPlain = last.isWellFormed() && !UNPRINTABLE.test(last) && !/^\.{0,2}$/.test(last.trim());
  if (isPlain && Buffer.byteLength(last) <= MAX_NAME_BYTES) return last;
  throw new LakeError("invalid", "The name of the upload is not the name of a file.", {
    hint: `Give it one of up to ${MAX_NAME_BYTES} bytes, such as workers.csv.`,
    facts: { argument: "name", limit: MAX_NAME_BYTES },
  });
}

function damaged(expected: string, found: string): LakeError {
  return new LakeError("corrupt", `The SHA-256 of what arrived is ${found}, not ${expected}. Nothing was kept.`, {
    hint: "Send the file again.",
  });
}
