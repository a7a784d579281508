import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, open, readlink, realpath, stat, writeFile } from "node:fs/promises";
import { basename, isAbsolute, join, relative, resolve } from "node:path";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { action, argument, next, setting } from "../kernel/next-step.ts";
import type { Scope } from "../kernel/scope.ts";
import type { EngineSettings } from "../settings.ts";
import type { OpenUpload } from "../uploads/uploads.ts";
import { changedMeanwhile } from "./changed.ts";
import type { FoundFile } from "./conversion-calls.ts";

/** An open file whose bytes have not been read yet. */
export interface OpenSource {
  file: FoundFile;
  /** Path of the open file, for hashing. */
  path: string;
  /** Throws `conflict` when the file has changed since it was opened. */
  verify(): Promise<void>;
}

type SourceSettings = Pick<EngineSettings, "maxIngestBytes">;

export interface FileSettings extends SourceSettings {
  allow: readonly string[];
  /** The ingest's own folder, for inline text. */
  folder: string;
  /** The caller is not the user of this machine, who alone is told the paths of folders. */
  isRemote?: boolean;
  /** The lakehouse's own folder: no source, even inside an allowed folder. */
  lake: string;
}

/** A path that the caller named, inline text, or an upload, whose file lies in the lakehouse. */
export type FileInput = { path: string } | { text: string } | OpenUpload;

export function openSource(scope: Scope, from: FileInput, settings: FileSettings): Promise<OpenSource> {
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
      hint: next`Read datasets with ${action("query")}; ${action("ingest", { name: "copy", sql: 'SELECT * FROM "name@3"' })} copies version 3 of one.`,
    });
  }
  const source = await openReal(scope, real, path, settings);
  // A folder of the path may have been exchanged for a link meanwhile: the open file's own path decides.
  const now = await whereIs(source, real);
  if (!roots.some((root) => isInside(root, now)) || isInside(settings.lake, now)) {
    throw notAllowed(path, settings.allow, settings.isRemote);
  }
  return source;
}

/** The open file's path now. Only Linux tells; elsewhere the path that was opened must still lead to the same file. */
async function whereIs({ path, file }: OpenSource, real: string): Promise<string> {
  if (process.platform === "linux") return readlink(path);
  const again = await translated(file.label, () => realpath(real));
  const { dev, ino } = await translated(file.label, () => stat(again, { bigint: true }));
  if (dev !== file.device || ino !== file.inode) throw changedMeanwhile(file.label);
  return again;
}

/** Opens `real`, which messages call `path`. */
async function openReal(scope: Scope, real: string, path: string, settings: FileSettings): Promise<OpenSource> {
  // Opening a FIFO would wait for a writer, so the kind is checked first; O_NONBLOCK is for one that came meanwhile.
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

/** The label as the catalog records it. Readers of the catalog must not learn paths of this machine. */
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
  // Before the file system is asked, so that the answer does not tell which files exist elsewhere.
  if (![...allow, ...roots].some((root) => isInside(root, wanted))) throw notAllowed(path, allow, isRemote);
  const real = await translated(path, () => realpath(wanted));
  if (!roots.some((root) => isInside(root, real))) throw notAllowed(path, allow, isRemote);
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

const SEND = next`Send the file: ${action("sendFile")}, then ingest with ${argument("upload")} as it prints it; or give its ${argument("text")}.`;

function notAllowed(path: string, allow: readonly string[], isRemote = false): LakeError {
  if (isRemote) {
    const found =
      allow.length === 0
        ? "This server reads no files of its own machine"
        : `${path} is not inside a folder that ingest may read`;
    const relative = allow.length === 0 ? "" : " A file of the server is named relative to its allowed folder.";
    return new LakeError("denied", `${found}.`, { hint: next`${SEND}${relative}`, facts: { argument: "path" } });
  }
  return new LakeError("denied", `${path} is not inside a folder that ingest may read.`, {
    hint:
      allow.length === 0 ? next`No folder is allowed yet; set ${setting("allow")}.` : `Allowed: ${allow.join(", ")}`,
    facts: { argument: "path" },
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
  throw new LakeError("limit", `${label} has ${bytes} bytes, more than the ${maxIngestBytes} of one ingest.`, {
    hint: next`Split it, compress it, or raise ${setting("max_ingest_bytes")}.`,
    facts: { limit: maxIngestBytes, setting: "max_ingest_bytes" },
  });
}

function empty(label: string): LakeError {
  return new LakeError("invalid", `${label} is empty.`, { hint: "A CSV file needs at least a header line." });
}

async function verifyUnchanged(handle: FileHandle, real: string, path: string, opened: BigIntStats): Promise<void> {
  // By handle for the bytes hashed here, by name for those that another process opened by it.
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
