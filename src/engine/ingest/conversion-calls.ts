import { constants } from "node:fs";
import { type FileHandle, mkdir, open, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Head } from "../catalog/types.ts";
import { openDuck } from "../duckdb/duckdb.ts";
import { LakeError } from "../errors.ts";
import type { Handler, Told } from "../process/serve.ts";
import { openScope, type Scope } from "../scope.ts";
import { DETECT_BYTES, detect } from "./detect.ts";
import { openTarget, type SchemaRules } from "./schema.ts";
import { convertQuery, type Plan } from "./sql.ts";
import type { ConvertContext, Converted, Converter, Format, Source } from "./types.ts";

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
  /** A query in the place of the opened file, and the folders that it reads. */
  query?: { plan: Plan; folders: string[]; timeZone: string | undefined };
}

export interface ConvertResult extends Converted {
  settled: Head["columns"];
}

const CONVERTERS: Record<Format, () => Promise<Converter>> = {
  csv: async () => (await import("./csv.ts")).convertCsv,
  tsv: async () => (await import("./csv.ts")).convertCsv,
  json: async () => (await import("./json.ts")).convertJson,
  ndjson: async () => (await import("./json.ts")).convertJson,
  parquet: async () => (await import("./parquet.ts")).convertParquet,
  arrow: async () => (await import("./arrow.ts")).convertArrow,
};

interface Opened {
  handle: FileHandle;
  source: Source;
}

let opened: Opened | undefined;
/** Instances that are no longer needed: closing one takes up to 60 ms, which no answer has to wait for. */
let closing: Promise<unknown> = Promise.resolve();

export const calls: Readonly<Record<string, Handler>> = {
  "ingest.open": async (request: OpenRequest): Promise<Pick<Source, "format" | "compression">> => {
    await closeSource();
    opened = await openSource(request);
    const { format, compression } = opened.source;
    return { format, compression };
  },
  "ingest.convert": async (request: ConvertRequest, told: Told): Promise<ConvertResult> => {
    await closing;
    const scope = openScope();
    try {
      return await convert(scope, request, told);
    } finally {
      closing = Promise.allSettled([scope.close(), closeSource()]);
    }
  },
};

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
    if (dev !== device || ino !== inode) throw exchanged(label);
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(DETECT_BYTES), 0, DETECT_BYTES, 0);
    const head = buffer.subarray(0, bytesRead);
    const found = detect(label, format, head, bytes, isText);
    const link = await linkTo(handle, path, folder);
    return { handle, source: { path: link, label, bytes, ...found } };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function exchanged(label: string): LakeError {
  return new LakeError("conflict", `${label} changed while it was read. Nothing was ingested.`, {
    hint: "Call again when it is no longer written to.",
  });
}

/**
 * A name in the folder of this ingest for what is open: libraries open files by name, and what the file's own name leads
 * to may change. Only Linux names what is open; elsewhere the file is compared with what was looked at, before and after.
 * DuckDB would take some names for patterns, and believe others that end in `.gz`.
 */
async function linkTo(handle: FileHandle, path: string, folder: string): Promise<string> {
  const link = join(folder, "source");
  await symlink(process.platform === "linux" ? `/proc/self/fd/${handle.fd}` : path, link);
  return link;
}

async function convert(scope: Scope, request: ConvertRequest, { signal, emit }: Told): Promise<ConvertResult> {
  const { folder, query, maxRows, onBadRows, csv } = request;
  const output = join(folder, "out");
  await mkdir(output);
  const files = query || !opened ? [] : [opened.source.path];
  const duck = await openDuck(scope, {
    memoryBytes: request.memoryBytes,
    threads: request.threads,
    tempFolder: join(folder, "tmp"),
    maxTempBytes: request.maxTempBytes,
    folders: [output, ...(query?.folders ?? [])],
    files,
    progress: true,
    timeZone: query?.timeZone,
    hidePaths: [output, ...request.hidePaths, ...files.map(dirname)],
  });
  const target = openTarget(request.current, request.rules);
  let settled: Head["columns"] = [];
  let telling = false;
  const context: ConvertContext = {
    duck,
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
  return { ...(await converted(query, context)), settled };
}

async function converted(query: ConvertRequest["query"], context: ConvertContext): Promise<Converted> {
  if (query) return convertQuery(query.plan, context);
  if (!opened) throw new Error("No file was opened.");
  const { source } = opened;
  const convertSource = await CONVERTERS[source.format]();
  return convertSource(source, context);
}
