import { putDataFiles } from "../catalog/data-files.ts";
import { newestOf } from "../catalog/drop.ts";
import { dataKey, schemaFingerprint } from "../catalog/identity.ts";
import type { Catalog, DataFile, Draft, Head, Manifest } from "../catalog/types.ts";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { action, argument, next } from "../kernel/next-step.ts";
import type { Store } from "../store/store.ts";
import type { IngestContext } from "./context.ts";
import type { ConvertResult } from "./conversion-calls.ts";
import type { IngestResult } from "./request.ts";
import { type SchemaRules, stillFits } from "./schema.ts";
import type { IngestNotes } from "./types.ts";

/** Progress when the rows are converted, and when they are stored. */
export const CONVERTED = 0.9;
const STORED = 0.97;

/** How the catalog records where the rows of a version come from. */
type Origin = Pick<Draft["provenance"], "source" | "sourceHash" | "options">;

/**
 * Stores the converted files and commits them as a version, or as none when the dataset has them already. Throws
 * `conflict` when another writer changed the dataset so that they do not fit any more.
 */
export async function commit(
  { catalog, store, settings, hasher, current, isWhole, request, signal, options }: IngestContext,
  rules: SchemaRules,
  { files, settled, notes }: ConvertResult,
  origin: Origin,
): Promise<IngestResult> {
  options.onProgress?.(CONVERTED, "hashing");
  const fingerprint = schemaFingerprint(settled);
  const data: { path: string; file: DataFile }[] = [];
  for (const { path, ...file } of files) {
    const key = dataKey(request.name, fingerprint, await hasher.sha256(path));
    data.push({ path, file: { ...file, key, sourceHash: origin.sourceHash } });
  }
  const added = data.map(({ file }) => file);
  if (isWhole && isLive(current) && holdsAlready(current, rules.mode, added)) return unchanged(current, notes);

  // The last moment to stop: files that are in the lake are not removed with the folder of the ingest.
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
      provenance: { operation: live ? (rules.mode === "append" ? "append" : "replace") : "create", ...origin },
    };
  });
  if (!manifest) throw new LakeError("internal", "The catalog has no version after a commit.");
  options.onProgress?.(1, "committed");
  const rows = added.reduce((sum, file) => sum + file.rows, 0);
  return { ...resultOf(manifest), unchanged: !committed, rows_written: committed ? rows : 0, notes };
}

/** The newest version, a tombstone's head after a drop, undefined when there never was one. */
export async function findNewest(catalog: Catalog, name: string): Promise<Manifest | Head | undefined> {
  try {
    return await catalog.load(name);
  } catch (error) {
    if (!(error instanceof LakeError && error.kind === "not_found")) throw error;
  }
  return newestOf(catalog, name);
}

export function isLive(newest: Manifest | Head | undefined): newest is Manifest {
  return newest !== undefined && !newest.dropped;
}

/** Throws `conflict` for a vector index, and for a dataset that exists where one is to be created. */
export function refuseMode(newest: Manifest | Head | undefined, mode: SchemaRules["mode"]): void {
  if (!isLive(newest)) return;
  if (newest.kind !== "table") {
    throw new LakeError("conflict", `${newest.name} is a vector index, not a table.`, {
      hint: "Use another name.",
      facts: { argument: "name" },
    });
  }
  if (mode === "create") {
    throw new LakeError("conflict", `${newest.name} exists already, at version ${newest.version}.`, {
      code: "dataset_exists",
      hint: next`Use ${argument("mode", "replace")} or ${argument("mode", "append")}, or another name.`,
      facts: { argument: "mode" },
    });
  }
}

/** Whether every data file of a dataset exists; their content is not read. True without a look for a bucket. */
export async function hasItsFiles(store: Store, current: Manifest | Head | undefined): Promise<boolean> {
  // A look at a file of a bucket is a request, and buckets do not lose files.
  if (!isLive(current) || store.remote) return true;
  for (const { key } of current.files) if (!(await store.has(key))) return false;
  return true;
}

/** Whether the dataset was made of a source with this hash, or for an append, already has its rows. */
export function isRepeat(newest: Manifest | Head | undefined, mode: SchemaRules["mode"], hash: string): boolean {
  if (!isLive(newest)) return false;
  if (mode === "append") return newest.files.some(({ sourceHash }) => sourceHash === hash);
  return newest.provenance.operation !== "append" && newest.provenance.sourceHash === hash;
}

/** The same by the files' content, which also finds another source with the same rows. */
function holdsAlready({ files }: Manifest, mode: SchemaRules["mode"], added: DataFile[]): boolean {
  const keys = new Set(files.map(({ key }) => key));
  return added.every(({ key }) => keys.has(key)) && (mode === "append" || added.length === files.length);
}

function changedMeanwhile(name: string): LakeError {
  return new LakeError("conflict", `The columns of ${name} were changed by another writer meanwhile.`, {
    code: "schema_mismatch",
    hint: next`Nothing was changed. Look at it with ${action("describe")}, then call again.`,
  });
}

export function unchanged(manifest: Manifest, notes: IngestNotes): IngestResult {
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
