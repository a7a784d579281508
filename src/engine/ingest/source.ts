import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, open, readlink, realpath, stat, writeFile } from "node:fs/promises";
import { basename, isAbsolute, join, relative, resolve } from "node:path";
import { hasCode, LakeError } from "../kernel/errors.ts";
import type { Scope } from "../kernel/scope.ts";
import type { EngineSettings } from "../settings.ts";
import type { OpenUpload } from "../uploads/uploads.ts";
import { changedMeanwhile } from "./changed.ts";
import type { FoundFile } from "./conversion-calls.ts";

/** A source whose bytes nobody has looked at yet. */
export interface OpenSource {
  file: FoundFile;
  /** Where its bytes are read from to be hashed. */
  path: string;
  /** Throws `conflict` when the file is no longer what was opened. */
  verify(): Promise<void>;
}

type SourceSettings = Pick<EngineSettings, "maxIngestBytes">;

export interface FileSettings extends SourceSettings {
  allow: readonly string[];
  /** Of this ingest, for inline text. */
  folder: string;
  /** Whether who named the file is not the user of this machine, who alone is told where folders are. */
  isRemote?: boolean;
  /** The lakehouse's own folder, which is not a source even where it lies in an allowed one. */
  lake: string;
}

/** What `openSource` opens: the path of the caller, their text, or an upload, which lies in the lakehouse. */
export type FileGiven = { path: string } | { text: string } | OpenUpload;

export function openSource(scope: Scope, from: FileGiven, settings: FileSettings): Promise<OpenSource> {
  if ("text" in from) return openText(scope, from.text, settings.folder, settings);
  if ("name" in from) return openReal(scope, from.path, from.name, settings);
  return openFile(scope, from.path, settings);
}

/**
 * Opens a file in place. `path` is absolute or relative to the first allowed folder; where it leads, symlinks resolved,
 * has to be a regular file inside an allowed folder. Throws `denied`, `not_found`, `invalid`, `limit`.
 */
export async function openFile(scope: Scope, path: string, settings: FileSettings): Promise<OpenSource> {
  const { real, roots } = await allowedPath(path, settings);
  if (isInside(settings.lake, real)) {
    throw new LakeError("denied", `${path} is inside the lakehouse itself.`, {
      hint: 'Read datasets with sql; ingest {"name": …, "sql": "SELECT * FROM …"} copies one, "name@3" is version 3.',
    });
  }
  const source = await openReal(scope, real, path, settings);
  // A folder on the way may have been exchanged for a link in between: what counts is where the open file is.
  const now = await whereIs(source, real);
  if (!roots.some((root) => isInside(root, now)) || isInside(settings.lake, now)) {
    throw outside(path, settings.allow, settings.isRemote);
  }
  return source;
}

/** Where what was opened is now. Only Linux tells; elsewhere its name has to lead to it still. */
async function whereIs({ path, file }: OpenSource, real: string): Promise<string> {
  if (process.platform === "linux") return readlink(path);
  const again = await translated(file.label, () => realpath(real));
  const { dev, ino } = await translated(file.label, () => stat(again, { bigint: true }));
  if (dev !== file.device || ino !== file.inode) throw changedMeanwhile(file.label);
  return again;
}

/** `path` is the name that messages have. */
async function openReal(scope: Scope, real: string, path: string, settings: FileSettings): Promise<OpenSource> {
  // Opening a FIFO would wait for a writer: look first, and do not wait if it was exchanged meanwhile.
  refuseSpecial(path, await translated(path, () => stat(real, { bigint: true })));
  const handle = await translated(path, () => {
    return open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  });
  scope.defer(() => handle.close());
  const opened = await handle.stat({ bigint: true });
  refuseSpecial(path, opened);
  refuseSize(path, Number(opened.size), settings);
  return {
    file: foundFile(real, path, opened),
    path: process.platform === "linux" ? `/proc/self/fd/${handle.fd}` : real,
    verify: () => verifyUnchanged(handle, real, path, opened),
  };
}

function foundFile(path: string, label: string, { size, dev, ino }: BigIntStats): FoundFile {
  return { path, label, bytes: Number(size), device: dev, inode: ino };
}

/** As the catalog has it: where a file lies on this machine is nobody's business who may read that. */
export function recordedName(label: string): string {
  return isAbsolute(label) ? basename(label) : label;
}

/** Writes inline text to a file in `folder`. Throws `invalid` when there is none, `limit`. */
async function openText(scope: Scope, text: string, folder: string, settings: SourceSettings): Promise<OpenSource> {
  const label = "inline text";
  const bytes = Buffer.byteLength(text);
  refuseSize(label, bytes, settings);
  if (text.trim() === "") throw empty(label);
  const path = join(folder, "text");
  await writeFile(path, text, { mode: 0o600 });
  const handle = await open(path, "r");
  scope.defer(() => handle.close());
  return { file: foundFile(path, label, await handle.stat({ bigint: true })), path, verify: async () => {} };
}

async function allowedPath(
  path: string,
  { allow, isRemote }: FileSettings,
): Promise<{ real: string; roots: string[] }> {
  if (path === "" || path.includes("\0")) {
    throw new LakeError("invalid", `${JSON.stringify(path)} is not a path.`, { hint: "Name a file." });
  }
  const roots = (await Promise.all(allow.map(realFolder))).filter((root) => root !== undefined);
  const wanted = isAbsolute(path) ? resolve(path) : resolve(allow[0] ?? "/", path);
  // Before the file system is asked, so that the answer does not tell what exists elsewhere.
  if (![...allow, ...roots].some((root) => isInside(root, wanted))) throw outside(path, allow, isRemote);
  const real = await translated(path, () => realpath(wanted));
  if (!roots.some((root) => isInside(root, real))) throw outside(path, allow, isRemote);
  return { real, roots };
}

async function realFolder(folder: string): Promise<string | undefined> {
  try {
    return await realpath(folder);
  } catch {
    return undefined;
  }
}

function isInside(root: string, path: string): boolean {
  const way = relative(root, path);
  return way !== ".." && !way.startsWith("../") && !isAbsolute(way);
}

const SEND =
  "Send the file: curl -T FILE 'SERVER/uploads?name=FILE' -H 'Authorization: Bearer TOKEN', then ingest with the upload it prints; or give its text.";

function outside(path: string, allow: readonly string[], isRemote = false): LakeError {
  if (isRemote) {
    const found =
      allow.length === 0
        ? "This server reads no files of its own machine"
        : `${path} is not inside a folder that ingest may read`;
    const relative = allow.length === 0 ? "" : " A file of the server is named relative to its allowed folder.";
    return new LakeError("denied", `${found}.`, { hint: `${SEND}${relative}` });
  }
  return new LakeError("denied", `${path} is not inside a folder that ingest may read.`, {
    hint: allow.length === 0 ? "No folder is allowed; start with --allow DIR." : `Allowed: ${allow.join(", ")}`,
  });
}

function refuseSpecial(path: string, stats: BigIntStats): void {
  if (stats.isFile()) return;
  const [what, hint] = stats.isDirectory()
    ? ["a folder", "Name one file in it."]
    : [
        stats.isFIFO() ? "a FIFO" : stats.isSocket() ? "a socket" : "a device",
        "Copy its data into a regular file first.",
      ];
  throw new LakeError("invalid", `${path} is ${what}, not a file.`, { hint });
}

function refuseSize(label: string, bytes: number, { maxIngestBytes }: SourceSettings): void {
  if (bytes === 0) throw empty(label);
  if (bytes <= maxIngestBytes) return;
  throw new LakeError("limit", `${label} has ${bytes} bytes; max_ingest_bytes is ${maxIngestBytes}.`, {
    hint: "Split it, compress it, or raise max_ingest_bytes (LAKEHOUSE_MAX_INGEST_BYTES).",
  });
}

function empty(label: string): LakeError {
  return new LakeError("invalid", `${label} is empty.`, { hint: "A CSV file needs at least a header line." });
}

async function verifyUnchanged(handle: FileHandle, real: string, path: string, opened: BigIntStats): Promise<void> {
  // By handle for what was read, by name for what DuckDB, which opens it again, has read.
  for (const now of [await handle.stat({ bigint: true }), await stat(real, { bigint: true }).catch(() => undefined)]) {
    const same = now && now.dev === opened.dev && now.ino === opened.ino && now.size === opened.size;
    if (!same || now.mtimeNs !== opened.mtimeNs) {
      throw changedMeanwhile(path);
    }
  }
}

async function translated<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) {
      throw new LakeError("not_found", `There is no file ${path}.`, {
        hint: "Check the name; a relative path starts at the first allowed folder.",
        cause: error,
      });
    }
    if (hasCode(error, "EACCES", "EPERM")) {
      throw new LakeError("denied", `${path} may not be read by this process.`, {
        hint: "Change its permissions.",
        cause: error,
      });
    }
    if (hasCode(error, "ELOOP", "ENAMETOOLONG", "ENXIO")) {
      throw new LakeError("invalid", `${path} cannot be opened.`, { hint: "Name a regular file.", cause: error });
    }
    throw error;
  }
}
