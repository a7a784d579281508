import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { putDataFiles } from "../catalog/data-files.ts";
import { newestOf } from "../catalog/drop.ts";
import { assertDatasetName, dataKey, schemaFingerprint } from "../catalog/identity.ts";
import type { Catalog, DataFile, Draft, Head, Manifest } from "../catalog/types.ts";
import { cancelled, throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { type Hasher, openHasher } from "../kernel/hash.ts";
import { type FullQueue, type Occupancy, openLimiter } from "../kernel/limiter.ts";
import { openScope, type Scope } from "../kernel/scope.ts";
import { openSpoolFolder, removeStaleFolders, spoolOf } from "../kernel/spool-folders.ts";
import { untraced } from "../kernel/trace.ts";
import { withoutLiterals } from "../query/guard/tokens.ts";
import type { QueryEngine } from "../query/types.ts";
import type { EngineSettings } from "../settings.ts";
import { diskFailure } from "../store/file-errors.ts";
import type { Store } from "../store/store.ts";
import type { Uploads } from "../uploads/uploads.ts";
import { openBudget } from "./budget.ts";
import { type Conversion, needsMemory, openConversion } from "./conversion.ts";
import type { ConvertRequest, ConvertResult } from "./conversion-calls.ts";
import { readCsvOptions, recordedOptions } from "./csv/csv-options.ts";
import { type Format, formatSpec } from "./formats.ts";
import type { IngestOptions, IngestRequest, IngestResult } from "./request.ts";
import { openTarget, type SchemaRules, stillFits } from "./schema.ts";
import { type FileGiven, openSource, recordedName } from "./source.ts";
import { type IngestNotes, NO_NOTES } from "./types.ts";

export interface IngestParts {
  store: Store;
  catalog: Catalog;
  query: Pick<QueryEngine, "writeParquet">;
  uploads: Pick<Uploads, "take">;
  settings: EngineSettings;
}

export interface Ingest {
  /**
   * Limiter a source into Parquet and commits it as one version of a dataset: durable when it returns, and when it throws
   * `LakeError` nothing has changed and nothing is left behind.
   */
  ingest(request: IngestRequest, options?: IngestOptions): Promise<IngestResult>;
  occupancy(): Occupancy;
}

/** Progress when a statement has run, when the rows are converted, and when they are stored. */
const QUERIED = 0.6;
const CONVERTED = 0.9;
const STORED = 0.97;

const MAX_WAITING = 64;
const CLOSE_GRACE_MS = 3000;

/** Closing the scope cancels what is running and waits until it is cleaned up. */
export function openIngest(scope: Scope, parts: IngestParts): Ingest {
  const closing = new AbortController();
  const running = new Set<Promise<unknown>>();
  const hasher = openHasher(scope);
  let cleaned: Promise<void> | undefined;
  // Each ingest has memory of its own, so what they take together is bounded by how many run.
  const { maxConcurrentIngests: maxRunning } = parts.settings;
  const turns = openLimiter({ maxRunning, maxWaiting: MAX_WAITING, busy: (full) => busy(maxRunning, full) });
  scope.defer(async () => {
    const closed = new LakeError("closed", "The lakehouse is closed.", { hint: "Nothing was ingested." });
    turns.close(closed);
    closing.abort(closed);
    // What cannot be interrupted must not keep the process from ending; the next start sweeps up after it.
    await Promise.race([Promise.allSettled(running), delay(CLOSE_GRACE_MS, undefined, { ref: false })]);
  });
  return {
    occupancy: turns.occupancy,
    ingest: async (request, options = {}) => {
      throwIfAborted(closing.signal);
      cleaned ??= removeStaleFolders(spoolOf(parts.store.localRoot));
      await cleaned;
      const signals = [closing.signal, ...(options.signal ? [options.signal] : [])];
      const signal = AbortSignal.any(signals);
      const leave = await turns.enter(signal, options.caller);
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

function busy(maxRunning: number, full: FullQueue): LakeError {
  return new LakeError(
    "unavailable",
    full.own
      ? `This caller has ${full.waiting} ingests waiting, the most of the queue of ${MAX_WAITING} that one caller may have.`
      : `${maxRunning} ingests are running and ${full.waiting} are waiting already.`,
    {
      code: "queue_full",
      hint: "Try again when some are done, or raise max_concurrent_ingests (LAKEHOUSE_MAX_CONCURRENT_INGESTS).",
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
    // Never twice the same: DuckDB remembers files by their names.
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

interface Job extends IngestParts {
  request: IngestRequest;
  rules: Omit<SchemaRules, "inferred">;
  current: Manifest | Head | undefined;
  /** Otherwise the same source is no repeat: it brings back what is missing. */
  isWhole: boolean;
  conversion: Conversion;
  folder: string;
  hasher: Hasher;
  signal: AbortSignal;
  options: IngestOptions;
}

async function ingestFile(scope: Scope, job: Job, from: FileGiven): Promise<IngestResult> {
  const { current, conversion, folder, hasher, settings } = job;
  const source = await openSource(scope, from, {
    maxIngestBytes: settings.maxIngestBytes,
    allow: [...settings.allow, ...(job.options.roots ?? [])],
    folder,
    lake: job.store.localRoot,
    isRemote: job.options.caller !== undefined,
  });
  const { file } = source;
  const isText = job.request.csv?.encoding !== undefined;
  const { format } = await conversion.open({ file, format: job.request.format, isText, folder }, job.signal);
  const onBadRows = job.request.onBadRows ?? "fail";
  const csv = readCsvOptions(job.request.csv, format, formatSpec(format).takesCsvOptions);
  const reading = [file.bytes, format, onBadRows, job.rules.schemaChange, ...(csv ? [csv] : [])];
  // Hashing and converting run side by side. Whichever knows first that there is nothing to do stops the other.
  const known = new AbortController();
  const hashed = hasher.source(source.path, JSON.stringify(reading)).then((hash) => {
    if (job.isWhole && isRepeat(current, job.rules.mode, hash))
      known.abort(new LakeError("internal", "Nothing to convert."));
    return hash;
  });
  hashed.catch(() => undefined);
  const rules: SchemaRules = { ...job.rules, inferred: formatSpec(format).isInferred };
  const signal = AbortSignal.any([job.signal, known.signal]);
  let converted: ConvertResult;
  try {
    converted = await convert(job, rules, {
      format,
      signal,
      onBadRows,
      csv,
      hidePaths: [dirname(file.path)],
    });
  } catch (error) {
    if (!known.signal.aborted || job.signal.aborted || !isLive(current)) throw error;
    await source.verify();
    return unchanged(current, NO_NOTES);
  }
  const sourceHash = await hashed;
  await source.verify();
  if (known.signal.aborted && isLive(current)) return unchanged(current, converted.notes);
  const options = { format, on_bad_rows: onBadRows, ...recordedOptions(csv) };
  return commit(job, rules, converted, { source: recordedName(file.label), sourceHash, options });
}

async function ingestQuery(job: Job, sql: string): Promise<IngestResult> {
  const { signal, settings, current } = job;
  readCsvOptions(job.request.csv, "sql", false);
  const rules: SchemaRules = { ...job.rules, inferred: false };
  const folder = join(job.folder, "rows");
  await mkdir(folder);
  job.options.onProgress?.(0, "converting");
  const writing = job.query.writeParquet(sql, {
    folder,
    // One more tells that there are too many.
    maxRows: settings.maxIngestRows + 1,
    // A schema that does not fit is refused before the statement runs.
    onColumns: (columns) => openTarget(current && headOf(current), rules).settle(columns),
    onProgress: (fraction) => job.options.onProgress?.(fraction * QUERIED, "converting"),
    signal,
    caller: job.options.caller,
  });
  const rows = await writing.catch((error: unknown) => explain(error, signal));
  const how: How = { format: "sql", signal, onBadRows: "fail", hidePaths: [], rows, from: QUERIED };
  const converted = await convert(job, rules, how);
  const hashes = await Promise.all(converted.files.map(({ path }) => job.hasher.sha256(path)));
  // All who may read the catalog may read this, and not all of them what the statement asked for.
  const options = { format: "sql", literals: false };
  const described = { source: withoutLiterals(sql), sourceHash: `sha256:${hashes.join("+")}`, options };
  return commit(job, rules, converted, described);
}

interface How extends Pick<ConvertRequest, "onBadRows" | "csv" | "hidePaths" | "rows"> {
  format: Format | "sql";
  /** Progress when it begins. Default: 0. */
  from?: number;
  /** The job's, or that of somebody who knows that there is nothing to do. */
  signal: AbortSignal;
}

/** Runs a conversion in its process: it can read its source, and write the ingest's folder. */
function convert(
  { current, conversion, folder, settings, store, options }: Job,
  rules: SchemaRules,
  { format, signal, onBadRows, csv, hidePaths, rows, from = 0 }: How,
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
  return converting.catch((error: unknown) => explain(error, signal));
}

/** Without its files, which may be many. */
function headOf(newest: Manifest | Head): Head {
  const { files: _, ...head } = newest as Manifest;
  return head;
}

function threadsFor(format: Format | "sql", { threads }: EngineSettings): number {
  return format !== "sql" && formatSpec(format).isOneThread ? 1 : Math.max(2, threads);
}

/** What libraries throw, in terms of the ingest: its signal aborts streams too, and DuckDB's hints are for queries. */
function explain(error: unknown, signal: AbortSignal): never {
  if (signal.aborted) throw cancelled(signal);
  if (!(error instanceof LakeError && error.code === "memory_limit")) throw error;
  throw needsMemory(error);
}

async function commit(
  { catalog, store, settings, hasher, current, isWhole, request, signal, options }: Job,
  rules: SchemaRules,
  { files, settled, notes }: ConvertResult,
  described: Pick<Draft["provenance"], "source" | "sourceHash" | "options">,
): Promise<IngestResult> {
  options.onProgress?.(CONVERTED, "hashing");
  const fingerprint = schemaFingerprint(settled);
  const data: { path: string; file: DataFile }[] = [];
  for (const { path, ...file } of files) {
    const key = dataKey(request.name, fingerprint, await hasher.sha256(path));
    data.push({ path, file: { ...file, key, sourceHash: described.sourceHash } });
  }
  const added = data.map(({ file }) => file);
  if (isWhole && isLive(current) && holdsAlready(current, rules.mode, added)) return unchanged(current, notes);

  // The last moment to stop: from here on files are in the lake, and no longer removed with the folder.
  throwIfAborted(signal);
  options.onProgress?.(CONVERTED, "committing");
  const stillStored = await putDataFiles(
    store,
    settings.clock,
    data.map(({ path, file }) => ({ path, key: file.key })),
  );
  options.onProgress?.(STORED, "committing");
  const { manifest, committed } = await catalog.commit(request.name, async (newest): Promise<Draft | undefined> => {
    await stillStored();
    refuseMode(newest, rules.mode);
    if (isLive(newest) && holdsAlready(newest, rules.mode, added)) return undefined;
    if (!stillFits(newest, settled, rules)) throw changedMeanwhile(request.name);
    const live = isLive(newest) ? newest : undefined;
    return {
      kind: "table",
      dropped: false,
      columns: settled,
      files: rules.mode === "append" && live ? [...live.files, ...added] : added,
      provenance: { operation: live ? (rules.mode === "append" ? "append" : "replace") : "create", ...described },
    };
  });
  if (!manifest) throw new LakeError("internal", "The catalog has no version after a commit.");
  options.onProgress?.(1, "committed");
  const rows = added.reduce((sum, file) => sum + file.rows, 0);
  return { ...resultOf(manifest), unchanged: !committed, rows_written: committed ? rows : 0, notes };
}

/** The newest version, a tombstone's head after a drop, undefined when there never was one. */
async function findNewest(catalog: Catalog, name: string): Promise<Manifest | Head | undefined> {
  try {
    return await catalog.load(name);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
  return newestOf(catalog, name);
}

function isNotFound(error: unknown): boolean {
  return error instanceof LakeError && error.kind === "not_found";
}

function isLive(newest: Manifest | Head | undefined): newest is Manifest {
  return newest !== undefined && !newest.dropped;
}

function refuseMode(newest: Manifest | Head | undefined, mode: SchemaRules["mode"]): void {
  if (!isLive(newest)) return;
  if (newest.kind !== "table") {
    throw new LakeError("conflict", `${newest.name} is a vector index, not a table.`, { hint: "Use another name." });
  }
  if (mode === "create") {
    throw new LakeError("conflict", `${newest.name} exists already, at version ${newest.version}.`, {
      hint: 'Use mode "replace" or "append", or another name.',
    });
  }
}

/** Whether every file of a dataset is there, by its name alone. */
async function hasItsFiles(store: Store, current: Manifest | Head | undefined): Promise<boolean> {
  // In a bucket that would be a request a file, and files that go by themselves are the disks' fault.
  if (!isLive(current) || store.remote) return true;
  for (const { key } of current.files) if (!(await store.has(key))) return false;
  return true;
}

/** Whether the dataset already is, or for an append already has, what a source with this hash makes. */
function isRepeat(newest: Manifest | Head | undefined, mode: SchemaRules["mode"], hash: string): boolean {
  if (!isLive(newest)) return false;
  if (mode === "append") return newest.files.some(({ sourceHash }) => sourceHash === hash);
  return newest.provenance.operation !== "append" && newest.provenance.sourceHash === hash;
}

/** The same by content, which also finds another source with the same rows. */
function holdsAlready({ files }: Manifest, mode: SchemaRules["mode"], added: DataFile[]): boolean {
  const keys = new Set(files.map(({ key }) => key));
  return added.every(({ key }) => keys.has(key)) && (mode === "append" || added.length === files.length);
}

function changedMeanwhile(name: string): LakeError {
  return new LakeError("conflict", `The columns of ${name} were changed by another writer meanwhile.`, {
    hint: "Nothing was changed. Look at it with catalog-describe, then call again.",
  });
}

function unchanged(manifest: Manifest, notes: IngestNotes): IngestResult {
  return { ...resultOf(manifest), unchanged: true, rows_written: 0, notes };
}

function resultOf(manifest: Manifest): Omit<IngestResult, "unchanged" | "rows_written" | "notes"> {
  return {
    dataset_id: manifest.datasetId,
    name: manifest.name,
    version: manifest.version,
    rows: manifest.rows,
    bytes: manifest.bytes,
    schema_fingerprint: manifest.schemaFingerprint,
    columns: manifest.columns.map(({ name, type }) => ({ name, type })),
  };
}
