import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { assertDatasetName } from "../catalog/identity.ts";
import type { Head, Manifest } from "../catalog/types.ts";
import { cancelled, throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { type Hasher, openHasher } from "../kernel/hash.ts";
import { type FullQueue, type Occupancy, openLimiter } from "../kernel/limiter.ts";
import { next, setting } from "../kernel/next-step.ts";
import { openScope, type Scope } from "../kernel/scope.ts";
import { openSpoolFolder, removeStaleFolders, spoolOf } from "../kernel/spool-folders.ts";
import { untraced } from "../kernel/trace.ts";
import { withoutLiterals } from "../query/guard/tokens.ts";
import type { EngineSettings } from "../settings.ts";
import { diskFailure } from "../store/file-errors.ts";
import { openBudget } from "./budget.ts";
import { CONVERTED, commit, findNewest, hasItsFiles, isLive, isRepeat, refuseMode, unchanged } from "./commit.ts";
import type { IngestContext, IngestParts } from "./context.ts";
import { needsMemory, openConversion } from "./conversion.ts";
import type { ConvertRequest, ConvertResult } from "./conversion-calls.ts";
import { readCsvOptions, recordedOptions } from "./csv/csv-options.ts";
import { type Format, formatSpec } from "./formats.ts";
import type { IngestOptions, IngestRequest, IngestResult } from "./request.ts";
import { openTarget, type SchemaRules } from "./schema.ts";
import { type FileInput, openSource, recordedName } from "./source.ts";
import { NO_NOTES } from "./types.ts";

export interface Ingest {
  /**
   * Converts a source to Parquet and commits it as one version of a dataset. The version is durable when this returns;
   * when it throws `LakeError`, nothing has changed and nothing is left behind.
   */
  ingest(request: IngestRequest, options?: IngestOptions): Promise<IngestResult>;
  occupancy(): Occupancy;
}

/** Progress when a statement has run. */
const QUERIED = 0.6;

const MAX_WAITING = 64;
const CLOSE_GRACE_MS = 3000;

/** Closing the scope cancels all ingests and waits, up to three seconds, until they have cleaned up. */
export function openIngest(scope: Scope, parts: IngestParts): Ingest {
  const closing = new AbortController();
  const running = new Set<Promise<unknown>>();
  const hasher = openHasher(scope);
  let cleaned: Promise<void> | undefined;
  // Each ingest has memory of its own, so the memory of all is bounded by how many run.
  const { maxConcurrentIngests: maxRunning } = parts.settings;
  const limiter = openLimiter({ maxRunning, maxWaiting: MAX_WAITING, busy: (full) => queueFull(maxRunning, full) });
  scope.defer(async () => {
    const closed = new LakeError("closed", "The lakehouse is closed.", { hint: "Nothing was ingested." });
    limiter.close(closed);
    closing.abort(closed);
    // An ingest that cannot be interrupted must not keep the process from ending; the next start removes its folder.
    await Promise.race([Promise.allSettled(running), delay(CLOSE_GRACE_MS, undefined, { ref: false })]);
  });
  return {
    occupancy: limiter.occupancy,
    ingest: async (request, options = {}) => {
      throwIfAborted(closing.signal);
      cleaned ??= removeStaleFolders(spoolOf(parts.store.localRoot));
      await cleaned;
      const signals = [closing.signal, ...(options.signal ? [options.signal] : [])];
      const signal = AbortSignal.any(signals);
      const leave = await limiter.enter(signal, options.caller);
      const work = ingest({ ...parts, hasher }, request, { ...options, signal });
      running.add(work);
      const end = (): void => {
        running.delete(work);
        leave();
      };
      work.then(end, end);
      return work;
    },
  };
}

function queueFull(maxRunning: number, full: FullQueue): LakeError {
  return new LakeError(
    "unavailable",
    full.own
      ? `This caller has ${full.waiting} ingests waiting, the most of the queue of ${MAX_WAITING} that one caller may have.`
      : `${maxRunning} ingests are running and ${full.waiting} are waiting already.`,
    {
      code: "queue_full",
      hint: next`Try again when some are done, or raise ${setting("max_concurrent_ingests")}.`,
      facts: { limit: maxRunning, setting: "max_concurrent_ingests" },
    },
  );
}

async function ingest(
  parts: IngestParts & { hasher: Hasher },
  request: IngestRequest,
  options: IngestOptions,
): Promise<IngestResult> {
  const { store, catalog, settings } = parts;
  const rules = {
    name: request.name,
    mode: request.mode ?? "replace",
    schemaChange: request.schemaChange ?? "refuse",
  } as const;
  assertDatasetName(request.name);
  throwIfAborted(options.signal);
  const current = await findNewest(catalog, request.name);
  refuseMode(current, rules.mode);
  const isWhole = await hasItsFiles(store, current);

  const scope = openScope();
  try {
    const conversion = await openConversion(scope, options.caller, settings);
    const root = await openSpoolFolder(scope, spoolOf(store.localRoot), conversion.id);
    const signal = openBudget(scope, root, settings, options.signal);
    // A new name for each ingest: DuckDB remembers files by their names.
    const folder = join(root, randomUUID());
    await mkdir(folder);
    const context = { ...parts, request, rules, current, isWhole, conversion, folder, signal, options };
    if ("sql" in request.source) return await ingestQuery(context, request.source.sql);
    if (!("upload" in request.source)) return await ingestFile(scope, context, request.source);
    const upload = await parts.uploads.take(scope, options.caller, request.source.upload);
    const result = await ingestFile(scope, context, upload);
    await upload.consume().catch((error: unknown) => {
      settings.log("warn", "an upload that was used could not be removed", { error: String(error) });
    });
    return result;
  } catch (error) {
    throw diskFailure(`Could not ingest into ${request.name}`, error) ?? error;
  } finally {
    await scope.close();
  }
}

async function ingestFile(scope: Scope, context: IngestContext, from: FileInput): Promise<IngestResult> {
  const { current, conversion, folder, hasher, settings } = context;
  const source = await openSource(scope, from, {
    maxIngestBytes: settings.maxIngestBytes,
    allow: [...settings.allow, ...(context.options.roots ?? [])],
    folder,
    lake: context.store.localRoot,
    isRemote: context.options.caller !== undefined,
  });
  const { file } = source;
  const isText = context.request.csv?.encoding !== undefined;
  const { format } = await conversion.open({ file, format: context.request.format, isText, folder }, context.signal);
  const onBadRows = context.request.onBadRows ?? "fail";
  const csv = readCsvOptions(context.request.csv, format, formatSpec(format).takesCsvOptions);
  const reading = [file.bytes, format, onBadRows, context.rules.schemaChange, ...(csv ? [csv] : [])];
  // Hashing and converting run side by side; a hash that the dataset has already stops the conversion.
  const known = new AbortController();
  const hashed = hasher.source(source.path, JSON.stringify(reading)).then((hash) => {
    if (context.isWhole && isRepeat(current, context.rules.mode, hash))
      known.abort(new LakeError("internal", "Nothing to convert."));
    return hash;
  });
  hashed.catch(() => undefined);
  const rules: SchemaRules = { ...context.rules, inferred: formatSpec(format).isInferred };
  const signal = AbortSignal.any([context.signal, known.signal]);
  let converted: ConvertResult;
  try {
    converted = await convert(context, rules, {
      format,
      signal,
      onBadRows,
      csv,
      hidePaths: [dirname(file.path)],
    });
  } catch (error) {
    if (!known.signal.aborted || context.signal.aborted || !isLive(current)) throw error;
    await source.verify();
    return unchanged(current, NO_NOTES);
  }
  const sourceHash = await hashed;
  await source.verify();
  if (known.signal.aborted && isLive(current)) return unchanged(current, converted.notes);
  const options = { format, on_bad_rows: onBadRows, ...recordedOptions(csv) };
  return commit(context, rules, converted, { source: recordedName(file.label), sourceHash, options });
}

async function ingestQuery(context: IngestContext, sql: string): Promise<IngestResult> {
  const { signal, settings, current } = context;
  readCsvOptions(context.request.csv, "sql", false);
  const rules: SchemaRules = { ...context.rules, inferred: false };
  const folder = join(context.folder, "rows");
  await mkdir(folder);
  context.options.onProgress?.(0, "converting");
  const writing = context.query.writeParquet(sql, {
    folder,
    // One more tells that there are too many.
    maxRows: settings.maxIngestRows + 1,
    // A schema that does not fit is refused before the statement runs.
    onColumns: (columns) => openTarget(current && headOf(current), rules).settle(columns),
    onProgress: (fraction) => context.options.onProgress?.(fraction * QUERIED, "converting"),
    signal,
    caller: context.options.caller,
  });
  const rows = await writing.catch((error: unknown) => throwForIngest(error, signal));
  const how: ConvertOptions = { format: "sql", signal, onBadRows: "fail", hidePaths: [], rows, from: QUERIED };
  const converted = await convert(context, rules, how);
  const hashes = await Promise.all(converted.files.map(({ path }) => context.hasher.sha256(path)));
  // Everybody who may read the catalog sees this, so literals of the statement, which may be secret, are left out.
  const options = { format: "sql", literals: false };
  const described = { source: withoutLiterals(sql), sourceHash: `sha256:${hashes.join("+")}`, options };
  return commit(context, rules, converted, described);
}

interface ConvertOptions extends Pick<ConvertRequest, "onBadRows" | "csv" | "hidePaths" | "rows"> {
  format: Format | "sql";
  /** Progress when it begins. Default: 0. */
  from?: number;
  /** That of the ingest, and for files also that of a hash that the dataset has already. */
  signal: AbortSignal;
}

function convert(
  { current, conversion, folder, settings, store, options }: IngestContext,
  rules: SchemaRules,
  { format, signal, onBadRows, csv, hidePaths, rows, from = 0 }: ConvertOptions,
): Promise<ConvertResult> {
  options.onProgress?.(from, "converting");
  const request: ConvertRequest = {
    folder,
    memoryBytes: settings.ingestMemoryBytes,
    maxTempBytes: settings.maxTempBytes,
    threads: threadsFor(format, settings),
    maxRows: settings.maxIngestRows,
    onBadRows,
    current: current && headOf(current),
    rules,
    hidePaths: [store.localRoot, ...hidePaths],
    ...(csv && { csv }),
    ...(rows && { rows }),
  };
  const onProgress = (fraction: number): void =>
    options.onProgress?.(from + fraction * (CONVERTED - from), "converting");
  const { trace = untraced } = settings;
  const converting = trace("ingest.convert", { "lakehouse.format": format }, () =>
    conversion.convert(request, { signal, onProgress }),
  );
  return converting.catch((error: unknown) => throwForIngest(error, signal));
}

/** Leaves out the files, of which there may be many. */
function headOf(newest: Manifest | Head): Head {
  const { files: _, ...head } = newest as Manifest;
  return head;
}

function threadsFor(format: Format | "sql", { threads }: EngineSettings): number {
  return format !== "sql" && formatSpec(format).isOneThread ? 1 : Math.max(2, threads);
}

/** An abort reaches streams too, which throw errors of their own for it; DuckDB's hint about memory is for queries. */
function throwForIngest(error: unknown, signal: AbortSignal): never {
  if (signal.aborted) throw cancelled(signal);
  if (!(error instanceof LakeError && error.code === "memory_limit")) throw error;
  throw needsMemory(error);
}
