import { randomUUID } from "node:crypto";
import {
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  unlink,
  writeFile,
} from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import * as z from "zod";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { isGone, PROCESS } from "../kernel/spool-folders.ts";
import type { Clock } from "../settings.ts";
import { diskFailure, withFileErrors } from "../store/file-errors.ts";
import { syncFolder } from "../store/sync.ts";

/** The metadata of an upload. */
export interface UploadRecord {
  format: 1;
  id: string;
  name: string;
  /** The caller who sent it. */
  caller: string;
  /** Size of the whole; null until it is known. */
  total: number | null;
  /** In hex; null until it is complete. */
  sha256: string | null;
}

export interface StoredUpload extends UploadRecord {
  /** Bytes that have arrived. */
  bytes: number;
  /** When the last of them arrived, in ms since 1970. */
  touched: number;
}

/**
 * Uploads on disk, each in a folder: `record.json`, `data`, and `hold-<n>` while a process has exclusive use of it. Any
 * number of processes may share the folder.
 */
export interface UploadFiles {
  /** Creates the folder and an empty `data`. */
  create(record: UploadRecord): Promise<void>;
  /** Durable when it returns. */
  save(record: UploadRecord): Promise<void>;
  /** Undefined when there is no such upload. Throws `corrupt`. */
  load(id: string): Promise<StoredUpload | undefined>;
  ids(): Promise<string[]>;
  /** Bytes that have arrived. */
  bytes(id: string): Promise<number>;
  openData(id: string): Promise<FileHandle>;
  dataPath(id: string): string;
  /** Takes exclusive use of an upload; the result ends it. Undefined while another request or process has it. */
  hold(id: string): Promise<(() => Promise<void>) | undefined>;
  remove(id: string): Promise<void>;
  /** Whether it has no record, because the process that created or removed it has ended. */
  isDebris(id: string): Promise<boolean>;
}

export const UPLOAD_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const HOLD = /^hold-(\d+)$/;
/** A process takes less time than this between creating a folder and holding it. */
const BEGUN_MS = 60_000;
/** Whether another machine's process is alive cannot be known: its hold counts for a day. */
const DAY_MS = 86_400_000;

const schema = z.object({
  format: z.literal(1),
  id: z.string().regex(UPLOAD_ID),
  name: z.string(),
  caller: z.string(),
  total: z.int().nullable(),
  sha256: z.string().nullable(),
});
const holder = z.object({ host: z.string(), pid: z.int(), process: z.string() });

export function openUploadFiles(folder: string, clock: Clock): UploadFiles {
  const inside = (id: string, name: string): string => join(folder, id, name);

  async function save(record: UploadRecord): Promise<void> {
    const temporary = inside(record.id, `.${randomUUID()}`);
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(JSON.stringify(record));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, inside(record.id, "record.json"));
    for (const path of [join(folder, record.id), folder]) await syncFolder(path);
  }

  async function holds(id: string): Promise<number[]> {
    const names = await readdir(join(folder, id)).catch(() => []);
    return names.flatMap((name) => HOLD.exec(name)?.[1] ?? []).map(Number);
  }

  /** The number of the newest hold, and whether its process is alive. */
  async function newestHold(id: string): Promise<{ number: number; taken: boolean }> {
    const number = Math.max(0, ...(await holds(id)));
    if (number === 0) return { number, taken: false };
    const path = inside(id, `hold-${number}`);
    try {
      const owner = holder.parse(JSON.parse(await readFile(path, "utf8")));
      if (owner.host === hostname()) return { number, taken: !isGone(owner) };
      return { number, taken: clock.now().getTime() - (await stat(path)).mtimeMs < DAY_MS };
    } catch {
      // It was released at this moment: the next attempt succeeds.
      return { number, taken: true };
    }
  }

  return {
    save: (record) => withFileErrors("keep", "the upload", () => save(record)),
    create: async (record) => {
      await withFileErrors("keep", "the upload", async () => {
        await mkdir(join(folder, record.id), { recursive: true, mode: 0o700 });
        await (await open(inside(record.id, "data"), "wx", 0o600)).close();
      });
    },
    load: async (id) => {
      if (!UPLOAD_ID.test(id)) return undefined;
      try {
        const record = schema.parse(JSON.parse(await readFile(inside(id, "record.json"), "utf8")));
        const { size, mtimeMs } = await stat(inside(id, "data"));
        return { ...record, bytes: size, touched: mtimeMs };
      } catch (error) {
        if (hasCode(error, "ENOENT")) return undefined;
        throw new LakeError("corrupt", `The record of upload ${id} cannot be read.`, {
          hint: "Upload the file again.",
          cause: error,
        });
      }
    },
    ids: async () => (await readdir(folder).catch(() => [])).filter((name) => UPLOAD_ID.test(name)),
    bytes: async (id) => (await stat(inside(id, "data")).catch(() => undefined))?.size ?? 0,
    openData: (id) => open(inside(id, "data"), "r+"),
    dataPath: (id) => inside(id, "data"),
    hold: async (id) => {
      const newest = await newestHold(id);
      if (newest.taken) return undefined;
      const path = inside(id, `hold-${newest.number + 1}`);
      const temporary = inside(id, `.${randomUUID()}`);
      try {
        const owner = JSON.stringify({ host: hostname(), pid: process.pid, process: PROCESS });
        await writeFile(temporary, owner, { flag: "wx", mode: 0o600 });
        // Of all that saw the same newest hold, only one creates the next.
        await link(temporary, path);
      } catch (error) {
        if (hasCode(error, "EEXIST", "ENOENT")) return undefined;
        throw diskFailure("Could not keep the upload", error) ?? error;
      } finally {
        await unlink(temporary).catch(() => undefined);
      }
      return () => unlink(path).catch(() => undefined);
    },
    remove: async (id) => {
      // The record first: what is left without it cannot be used.
      await rm(inside(id, "record.json"), { force: true });
      await rm(join(folder, id), { recursive: true, force: true, maxRetries: 3 });
    },
    isDebris: async (id) => {
      const made = await stat(join(folder, id)).catch(() => undefined);
      if (!made || (await stat(inside(id, "record.json")).catch(() => undefined))) return false;
      return !(await newestHold(id)).taken && clock.now().getTime() - made.mtimeMs > BEGUN_MS;
    },
  };
}
