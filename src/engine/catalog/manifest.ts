import * as z from "zod";
import { LakeError } from "../kernel/errors.ts";
import { readFiles, readMetadata, warm as warmTable, writeTable } from "../parquet/manifest-table.ts";
import { DATASET_NAME, datasetId, isDataKey, parseManifestKey, schemaFingerprint } from "./identity.ts";
import { isIntact, seal } from "./seal.ts";
import { type DataFile, type Head, type Manifest, OPERATIONS, type VectorIndex } from "./types.ts";

/** The key-value metadata entry that holds the dataset-level fields, as JSON. */
export const HEAD_METADATA = "lakehouse";

const count = z.int().nonnegative();

const indexSchema: z.ZodType<VectorIndex> = z.object({
  dimension: count.min(1),
  metric: z.enum(["cosine", "ip", "l2"]),
  model: z
    .object({
      provider: z.enum(["ollama", "openai", "builtin"]),
      name: z.string(),
      lexical: z.boolean(),
      prefixes: z.object({ query: z.string(), document: z.string() }),
    })
    .nullable(),
  count,
  baseFiles: count,
  source: z
    .object({
      dataset: z.string().regex(DATASET_NAME),
      version: z.int().positive(),
      text: z.string(),
      id: z.string(),
      where: z.string().nullable(),
      metadata: z.array(z.string()),
      complete: z.boolean(),
      leftOut: count.optional(),
    })
    .nullable(),
});

const headSchema: z.ZodType<Head> = z.object({
  formatVersion: z.literal(1),
  commitId: z.uuid(),
  version: z.int().positive(),
  parent: z.int().positive().nullable(),
  datasetId: z.uuid(),
  name: z.string().regex(DATASET_NAME),
  kind: z.enum(["table", "vectors"]),
  dropped: z.boolean(),
  columns: z.array(z.object({ id: count, name: z.string(), type: z.string() })),
  lastColumnId: count,
  schemaFingerprint: z.string(),
  rows: count,
  bytes: count,
  fileCount: count.max(1_000_000),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  index: indexSchema.optional(),
  provenance: z.object({
    operation: z.enum(OPERATIONS),
    source: z.string(),
    sourceHash: z.string(),
    options: z.record(z.string(), z.unknown()),
    engine: z.string(),
  }),
});

/**
 * Loads the libraries that manifests need, and uses them once: the first table blocks the event loop for 40 ms, which
 * should happen before the first call.
 */
export async function warm(): Promise<void> {
  await warmTable();
  const stats = { column: { min: "", max: null, nulls: 0 } };
  const table = await writeTable(new Map(), [{ key: "", bytes: 0, rows: 0, sourceHash: "", stats }]);
  await readFiles(table, 1);
}

/**
 * A manifest as a sealed Parquet file: one row per data file, the dataset-level fields as JSON in the key-value metadata.
 * Throws `internal` for a manifest that could not be read back.
 */
export async function encodeManifest(manifest: Manifest): Promise<Uint8Array> {
  const { files, ...head } = manifest;
  const problem = describeProblem(headSchema.safeParse(head).error) ?? contradiction(manifest);
  if (problem !== undefined) {
    throw new LakeError("internal", `The manifest of ${manifest.name}@${manifest.version} is not valid: ${problem}.`);
  }
  return seal(await writeTable(new Map([[HEAD_METADATA, JSON.stringify(head)]]), files));
}

/** The dataset-level fields only, in a tenth of the time. Throws `corrupt` unless `bytes` are an intact manifest of `key`. */
export function decodeHead(bytes: Uint8Array, key: string): Head {
  if (!isIntact(bytes)) throw damaged(key, "its checksum does not match");
  const json = unlessDamaged(key, () => JSON.parse(readMetadata(bytes).get(HEAD_METADATA) ?? "null") as unknown);
  const format = (json as { formatVersion?: unknown } | null)?.formatVersion;
  if (Number.isSafeInteger(format) && Number(format) > 1) {
    throw new LakeError("corrupt", `${key} has format ${format}; this version reads format 1.`, {
      hint: "Update lakehouse-mcp on this machine.",
    });
  }
  const { data: head, error } = headSchema.safeParse(json);
  if (!head) throw damaged(key, describeProblem(error) ?? "it has no dataset");
  const expected = parseManifestKey(key);
  if (head.name !== expected?.name || head.version !== expected.version) {
    throw damaged(key, `it belongs to ${head.name}@${head.version}`);
  }
  return head;
}

/** The whole manifest. Throws `corrupt` unless `bytes` are an intact manifest of `key`. */
export async function decodeManifest(bytes: Uint8Array, key: string): Promise<Manifest> {
  const head = decodeHead(bytes, key);
  let files: DataFile[];
  try {
    files = await readFiles(bytes, head.fileCount + 1);
  } catch (error) {
    throw damaged(key, "its list of files cannot be read", error);
  }
  const manifest = { ...head, files };
  const problem = contradiction(manifest);
  if (problem !== undefined) throw damaged(key, problem);
  return manifest;
}

/** What is wrong with a well-formed manifest. A crafted one must not refer to anything but its own data files. */
function contradiction(manifest: Manifest): string | undefined {
  const { name, files } = manifest;
  const sum = (of: (file: DataFile) => number): number => files.reduce((total, file) => total + of(file), 0);
  const stray = files.find(({ key }) => !isDataKey(key, name));
  if (stray) return `${JSON.stringify(stray.key)} is not a data file of ${name}`;
  const odd = manifest.columns.find(({ type }) => !isTypeOnly(type));
  if (odd) return `${JSON.stringify(odd.type.slice(0, 100))} is not a type`;
  if (manifest.datasetId !== datasetId(name)) return "its dataset_id is not the one of its name";
  if (manifest.schemaFingerprint !== schemaFingerprint(manifest.columns)) return "its fingerprint is not its columns'";
  if ((manifest.kind === "vectors") !== (manifest.index !== undefined)) return "its kind and its index do not agree";
  if ((manifest.index?.baseFiles ?? 0) > files.length) return "its base has more files than there are";
  if (manifest.fileCount !== files.length) return "its file count is wrong";
  if (manifest.rows !== sum((file) => file.rows)) return "its row count is wrong";
  if (manifest.bytes !== sum((file) => file.bytes)) return "its size is wrong";
  return undefined;
}

/** Types become part of statements, as in `CAST(x AS type)`, so a type must not close the parenthesis around it. */
function isTypeOnly(type: string): boolean {
  const bare = type.replace(/"(?:[^"]|"")*"|'(?:[^']|'')*'/g, "");
  let depth = 0;
  for (const character of bare) {
    if (character === "(") depth++;
    if (character === ")" && --depth < 0) return false;
  }
  return depth === 0 && /^[A-Za-z0-9_ ,()[\]]*$/.test(bare) && type.trim() !== "";
}

function unlessDamaged<T>(key: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw damaged(key, "its metadata cannot be read", error);
  }
}

function damaged(key: string, what: string, cause?: unknown): LakeError {
  return new LakeError("corrupt", `${key} is damaged: ${what}.`, {
    hint: "Restore this file from a backup; the dataset's other versions are not affected.",
    cause,
  });
}

function describeProblem(error: z.ZodError | undefined): string | undefined {
  const [issue] = error?.issues ?? [];
  return issue && `${issue.path.join(".") || "its metadata"}: ${issue.message}`;
}
