import { constants } from "node:fs";
import { access, type FileHandle, mkdir, open, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Head } from "../catalog/types.ts";
import { type Duck, openDuck } from "../duckdb/duckdb.ts";
import { openScope, type Scope } from "../kernel/scope.ts";
import type { Handler, Told } from "../process/serve.ts";
import { diskFailure } from "../store/file-errors.ts";
import { changedMeanwhile } from "./changed.ts";
import { DETECT_BYTES, type Detected, detect } from "./detect.ts";
import { type Format, formatSpec } from "./formats.ts";
import { openTarget, type SchemaRules } from "./schema.ts";
import { convertRows, type QueryRows } from "./sql.ts";
import type { ConvertContext, Converted, Source } from "./types.ts";

// What `conversion.ts` calls in a worker process. Here, and nowhere else, the bytes of a foreign file are read.

/** A file that was found to be allowed: what has its number is what was looked at, whatever its name leads to by now. */
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
  /** Undefined: told from name and content. */
  format: Format | undefined;
  /** The caller says in which encoding it is. */
  isText: boolean;
  /** Of this ingest, for work in progress. */
  folder: string;
}

export interface ConvertRequest extends Pick<ConvertContext, "onBadRows" | "maxRows" | "csv"> {
  folder: string;
  memoryBytes: number;
  maxTempBytes: number;
  threads: number;
  /** The dataset's newest version, and what the call wants of it. */
  current: Head | undefined;
  rules: SchemaRules;
  /** Roots to remove from messages. */
  hidePaths: string[];
  /** Nothing is written: columns are read one at a time, each told before, so that one that ends the process is known. */
  eachColumn?: true;
  /** Rows of a statement, in the place of the opened file. */
  rows?: QueryRows;
}

export interface ConvertResult extends Converted {
  settled: Head["columns"];
}

interface Opened {
  handle: FileHandle;
  format: Format;
  source: Source;
  /** The file is a copy, in the folder of its ingest. */
  isCopy: boolean;
}

let opened: Opened | undefined;
/** What is no longer needed: closing an instance takes up to 60 ms, which no answer has to wait for. */
let closing: Promise<unknown> = Promise.resolve();

export const calls: Readonly<Record<string, Handler>> = {
  "ingest.open": async (request: OpenRequest): Promise<Detected> => {
    await closeSource();
    opened = await openSource(request).catch(onDisk);
    return { format: opened.format, compression: opened.source.compression };
  },
  "ingest.convert": async (request: ConvertRequest, told: Told): Promise<ConvertResult> => {
    await closing;
    const instance = await takeInstance(request);
    let isClean = false;
    try {
      const result = await convert(instance.duck, request, told).catch(onDisk);
      // What notes bad rows leaves tables behind.
      isClean = isShared(request) && request.onBadRows === "fail";
      return result;
    } finally {
      closing = Promise.allSettled([isClean ? keep(instance) : instance.scope.close(), closeSource()]);
    }
  },
};

/** What the system says of a full disk is told as that: what is no `LakeError` would be an internal error. */
function onDisk(error: unknown): never {
  throw diskFailure("Could not ingest", error) ?? error;
}

interface Instance {
  duck: Duck;
  scope: Scope;
  /** Of its settings: another ingest with the same ones can use it. */
  key: string;
  tempFolder: string;
}

/** Opening an instance takes as long as all that a small file needs, so the next one gets the instance of the last. */
let kept: Instance | undefined;

function isShared({ rows }: ConvertRequest): boolean {
  return rows === undefined && opened?.isCopy === true;
}

/** The kept one when its settings are those of this request, else a new one. */
async function takeInstance(request: ConvertRequest): Promise<Instance> {
  const { folder } = request;
  // The folder of this process, which every ingest of it has a folder in.
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
  const last = kept;
  kept = undefined;
  if (last?.key === key) return last;
  await last?.scope.close();
  const scope = openScope();
  return { duck: await openDuck(scope, settings), scope, key, tempFolder };
}

/** One that has written to disk looks for its folder, which goes with the ingest. */
async function keep(instance: Instance): Promise<void> {
  const hasSpilled = await access(instance.tempFolder).then(
    () => true,
    () => false,
  );
  if (hasSpilled) await instance.scope.close();
  else kept = instance;
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
 * A name in the folder of this ingest for what is open: libraries open files by name, and what the file's own name leads
 * to may change. Only Linux names what is open; elsewhere the file is compared with what was looked at, before and after.
 * DuckDB would take some names for patterns, and believe others that end in `.gz`.
 */
async function linkTo(link: string, handle: FileHandle, path: string): Promise<void> {
  await symlink(process.platform === "linux" ? `/proc/self/fd/${handle.fd}` : path, link);
}

/** Up to so many bytes are copied: what is in the folder needs no permission of its own, so the instance can be kept. */
const COPIED_BYTES = 2 ** 20;

async function copyTo(copy: string, handle: FileHandle, bytes: number): Promise<void> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes), 0, bytes, 0);
  await writeFile(copy, buffer.subarray(0, bytesRead), { mode: 0o600 });
}

async function convert(duck: Duck, request: ConvertRequest, { signal, emit }: Told): Promise<ConvertResult> {
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
