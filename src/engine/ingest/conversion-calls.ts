import { constants } from "node:fs";
import { access, type FileHandle, mkdir, open, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Head } from "../catalog/types.ts";
import { type Duck, openDuck } from "../duckdb/duckdb.ts";
import { openScope, type Scope } from "../kernel/scope.ts";
import type { CallContext, Handler } from "../process/serve.ts";
import { diskFailure } from "../store/file-errors.ts";
import { changedMeanwhile } from "./changed.ts";
import { DETECT_BYTES, type Detected, detect } from "./detect.ts";
import { type Format, formatSpec } from "./formats.ts";
import { openTarget, type SchemaRules } from "./schema.ts";
import { convertRows, type QueryRows } from "./sql.ts";
import type { ConvertContext, Converted, Source } from "./types.ts";

// The calls of `conversion.ts` in a worker process. The bytes of a foreign file are read here and nowhere else.

/** A file inside an allowed folder. Device and inode identify it, whatever its path leads to by now. */
export interface FoundFile {
  /** Absolute, links resolved. */
  path: string;
  label: string;
  bytes: number;
  device: bigint;
  inode: bigint;
}

export interface OpenRequest {
  file: FoundFile;
  /** Requested; undefined: detected from name and content. */
  format: Format | undefined;
  /** The caller named an encoding. */
  isText: boolean;
  /** Of this ingest, for intermediate files. */
  folder: string;
}

export interface ConvertRequest extends Pick<ConvertContext, "onBadRows" | "maxRows" | "csv"> {
  folder: string;
  memoryBytes: number;
  maxTempBytes: number;
  threads: number;
  /** The dataset's newest version. */
  current: Head | undefined;
  rules: SchemaRules;
  /** Folders to remove from messages. */
  hidePaths: string[];
  /** Writes nothing: see `readEachColumn`. */
  eachColumn?: true;
  /** Rows of a statement, in the place of the opened file. */
  rows?: QueryRows;
}

export interface ConvertResult extends Converted {
  /** The columns as the dataset has them. */
  settled: Head["columns"];
}

interface Opened {
  handle: FileHandle;
  format: Format;
  source: Source;
  /** The source is a copy in the folder of the ingest. */
  isCopy: boolean;
}

let opened: Opened | undefined;
/** Closing an instance takes up to 60 ms, which no answer waits for. */
let closing: Promise<unknown> = Promise.resolve();

export const calls: Readonly<Record<string, Handler>> = {
  "ingest.open": async (request: OpenRequest): Promise<Detected> => {
    await closeSource();
    opened = await openSource(request).catch(onDisk);
    return { format: opened.format, compression: opened.source.compression };
  },
  "ingest.convert": async (request: ConvertRequest, context: CallContext): Promise<ConvertResult> => {
    await closing;
    const instance = await takeInstance(request);
    let isClean = false;
    try {
      const result = await convert(instance.duck, request, context).catch(onDisk);
      // Skipping bad rows leaves tables in the instance.
      isClean = isShared(request) && request.onBadRows === "fail";
      return result;
    } finally {
      closing = Promise.allSettled([isClean ? reuse(instance) : instance.scope.close(), closeSource()]);
    }
  },
};

/** An error of the system about a full disk becomes a `LakeError`; others that are none are internal errors. */
function onDisk(error: unknown): never {
  throw diskFailure("Could not ingest", error) ?? error;
}

interface Instance {
  duck: Duck;
  scope: Scope;
  /** Its settings as text: another ingest with the same ones can reuse it. */
  key: string;
  tempFolder: string;
}

/** The instance of the last ingest: opening one takes as long as all the rest of loading a small file. */
let idle: Instance | undefined;

/** Whether the instance may read the folder of this process, in which every ingest has a folder of its own. */
function isShared({ rows }: ConvertRequest): boolean {
  return rows === undefined && opened?.isCopy === true;
}

async function takeInstance(request: ConvertRequest): Promise<Instance> {
  const { folder } = request;
  const root = dirname(folder);
  const tempFolder = join(root, "tmp");
  const settings = {
    memoryBytes: request.memoryBytes,
    threads: request.threads,
    tempFolder,
    maxTempBytes: request.maxTempBytes,
    folders: isShared(request) ? [root] : [folder],
    files: isShared(request) || !opened ? [] : [opened.source.path],
    progress: true,
  };
  const key = JSON.stringify(settings);
  const last = idle;
  idle = undefined;
  if (last?.key === key) return last;
  await last?.scope.close();
  const scope = openScope();
  return { duck: await openDuck(scope, settings), scope, key, tempFolder };
}

/** An instance that has spilled expects its folder for temporary files, which is removed with the ingest. */
async function reuse(instance: Instance): Promise<void> {
  const hasSpilled = await access(instance.tempFolder).then(
    () => true,
    () => false,
  );
  if (hasSpilled) await instance.scope.close();
  else idle = instance;
}

async function closeSource(): Promise<void> {
  const { handle } = opened ?? {};
  opened = undefined;
  await handle?.close();
}

async function openSource({ file, format, isText, folder }: OpenRequest): Promise<Opened> {
  const { path, label, bytes, device, inode } = file;
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { dev, ino } = await handle.stat({ bigint: true });
    if (dev !== device || ino !== inode) throw changedMeanwhile(label);
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(DETECT_BYTES), 0, DETECT_BYTES, 0);
    const head = buffer.subarray(0, bytesRead);
    const detected = detect(label, format, head, bytes, isText);
    const isCopy = bytes <= COPIED_BYTES;
    const inside = join(folder, "source");
    await (isCopy ? copyTo(inside, handle, bytes) : linkTo(inside, handle, path));
    const { compression } = detected;
    return { handle, format: detected.format, source: { path: inside, label, bytes, compression }, isCopy };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Links to the open file from the folder of the ingest. Libraries open files by path, and the file's own path may lead
 * elsewhere by then. Only Linux has paths of open files; elsewhere the file is checked before and after. Besides, DuckDB
 * takes some names for patterns, and decompresses a file whose name ends in `.gz`.
 */
async function linkTo(link: string, handle: FileHandle, path: string): Promise<void> {
  await symlink(process.platform === "linux" ? `/proc/self/fd/${handle.fd}` : path, link);
}

/** Smaller files are copied: an instance that reads copies in its folder needs no permission per file, and is reused. */
const COPIED_BYTES = 2 ** 20;

async function copyTo(copy: string, handle: FileHandle, bytes: number): Promise<void> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes), 0, bytes, 0);
  await writeFile(copy, buffer.subarray(0, bytesRead), { mode: 0o600 });
}

async function convert(duck: Duck, request: ConvertRequest, { signal, emit }: CallContext): Promise<ConvertResult> {
  const { folder, rows, maxRows, onBadRows, csv } = request;
  const output = join(folder, "out");
  await mkdir(output);
  const hidePaths = [output, ...request.hidePaths, folder];
  const target = openTarget(request.current, request.rules);
  let settled: Head["columns"] = [];
  let telling = false;
  const context: ConvertContext = {
    duck: { connect: () => duck.connect(hidePaths) },
    folder: output,
    onBadRows,
    maxRows,
    ...(csv && { csv }),
    target: {
      ...target,
      settle: async (columns) => {
        settled = await target.settle(columns);
        return settled;
      },
    },
    signal,
    // One event at a time: there is no progress beside these.
    ...(request.eachColumn && { onColumn: emit }),
    onProgress: (fraction) => {
      if (telling || request.eachColumn) return;
      telling = true;
      const told = (): void => {
        telling = false;
      };
      emit(fraction).then(told, told);
    },
  };
  return { ...(await converted(rows, context)), settled };
}

async function converted(rows: ConvertRequest["rows"], context: ConvertContext): Promise<Converted> {
  if (rows) return convertRows(rows, context);
  if (!opened) throw new Error("No file was opened.");
  const { format, source } = opened;
  const convertSource = await formatSpec(format).converter();
  return convertSource(source, context);
}
