import { LRUCache } from "lru-cache";
import type { AnnFilter } from "../ann/ann-index.ts";
import { parseReference } from "../catalog/identity.ts";
import { shown } from "../catalog/nearest.ts";
import type { Manifest } from "../catalog/types.ts";
import { identifier } from "../duckdb/duckdb.ts";
import { LakeError } from "../kernel/errors.ts";
import { MAX_CONDITION_CHARS } from "../kernel/limits.ts";
import type { Asking } from "../query/types.ts";
import type { VectorContext } from "./context.ts";
import type { LoadedIndex } from "./loaded-index.ts";
import { type IndexManifest, ITEM_COLUMNS } from "./types.ts";

/** What a condition was found to let through. */
interface Cached {
  filter: AnnFilter;
  /** Versions it was found from, besides those of the index and its dataset: it holds as long as these are the newest. */
  others: string[];
}

const MAX_CACHED = 64;
const MAX_ATTEMPTS = 3;
/** Another answer may be right the next time: the clock, chance, and the catalog's own tables. */
const CHANGING =
  /\b(?:random|uuid\w*|gen_random_uuid|now|today|age|current_\w+|get_current_\w+|transaction_timestamp|local\w+|lakehouse_\w+|vector_search)\b/i;

/** The last conditions of each index in memory. */
const filters = new WeakMap<LoadedIndex, LRUCache<string, Cached>>();

/** The items of an index in memory that a condition lets through, as of the version in memory. */
export async function allowedItems(
  context: VectorContext,
  loaded: LoadedIndex,
  where: string,
  asking: Asking,
): Promise<AnnFilter> {
  for (let attempt = 1; ; attempt++) {
    const { manifest } = loaded;
    const dataset = await datasetOf(context, manifest);
    const key = JSON.stringify([manifest.version, dataset?.version ?? 0, where]);
    const cache = filters.get(loaded) ?? new LRUCache<string, Cached>({ max: MAX_CACHED });
    filters.set(loaded, cache);
    const known = cache.get(key);
    if (known && (await areNewest(context, known.others))) return known.filter;

    const filter = loaded.ann.openFilter();
    const read = await matching(context, manifest, dataset, where, asking, filter);
    // Items that were changed meanwhile are not what the filter allows.
    if (loaded.manifest.version !== manifest.version && attempt < MAX_ATTEMPTS) continue;
    const own = [nameOf(manifest), ...(dataset ? [nameOf(dataset)] : [])];
    const others = read.filter((name) => !own.includes(name));
    if (loaded.manifest.version === manifest.version && !CHANGING.test(where)) cache.set(key, { filter, others });
    return filter;
  }
}

/** Allows the items that a condition lets through. Returns the versions that were read for it. */
async function matching(
  context: VectorContext,
  manifest: IndexManifest,
  dataset: Manifest | undefined,
  where: string,
  asking: Asking,
  filter: AnnFilter,
): Promise<string[]> {
  try {
    return await context.query.texts(matchingIds(manifest, dataset, where), asking, filter.allow, filter.clear);
  } catch (error) {
    throw explained(error, manifest, dataset);
  }
}

async function areNewest(context: VectorContext, references: readonly string[]): Promise<boolean> {
  for (const reference of references) {
    const { name, version } = parseReference(reference);
    const newest = await context.catalog.load(name, undefined, { recent: true }).catch(() => undefined);
    if (newest?.version !== version) return false;
  }
  return true;
}

function nameOf({ name, version }: Manifest): string {
  return `${name}@${version}`;
}

/** Throws `invalid` for what is not one condition. */
export async function assertWhere(context: VectorContext, where: string, asking: Asking): Promise<void> {
  if (where.trim() === "" || where.length > MAX_CONDITION_CHARS) {
    throw new LakeError("invalid", where.trim() === "" ? "where is empty." : `where has ${where.length} characters.`, {
      hint: `A condition of at most ${MAX_CONDITION_CHARS} characters, for example metadata->>'state' = 'IL'; or leave where out.`,
    });
  }
  await context.query.assertCondition(where, asking);
}

/** The newest version of the dataset the index was built from, unless it has gone. */
export async function datasetOf(context: VectorContext, { index }: IndexManifest): Promise<Manifest | undefined> {
  if (!index.source) return undefined;
  const dataset = await context.catalog
    .load(index.source.dataset, undefined, { recent: true })
    .catch((error: unknown) => {
      if (error instanceof LakeError && error.kind === "not_found") return undefined;
      throw error;
    });
  const id = index.source.id;
  return dataset?.columns.some((column) => column.name === id) ? dataset : undefined;
}

/**
 * A query for the ids of the items that a condition lets through. The dataset's columns come first: where it has one
 * called `id`, `text` or `metadata`, that is meant. An item whose row has gone is let through by no condition on rows.
 */
export function matchingIds(manifest: IndexManifest, dataset: Manifest | undefined, where: string): string {
  const items = relation(manifest);
  const id = manifest.index.source?.id;
  if (!dataset || id === undefined) return `SELECT id FROM ${items} WHERE (\n${where}\n)`;
  const rowId = `CAST(${identifier(id)} AS VARCHAR)`;
  const lower = where.toLowerCase();
  const names = new Set(dataset.columns.map((column) => column.name.toLowerCase()));
  const ofItems = ITEM_COLUMNS.filter((column) => !names.has(column));
  // More than is really named may be found here, which costs time and changes nothing.
  if (!ofItems.some((column) => lower.includes(column))) {
    return `SELECT ${rowId} FROM ${relation(dataset)} WHERE (\n${where}\n)`;
  }
  if (![...names].some((name) => lower.includes(name))) return `SELECT id FROM ${items} WHERE (\n${where}\n)`;
  const item = unusedName(names);
  const own = ofItems.map((column) => `, items.${column}`).join("");
  return `SELECT ${item} FROM (SELECT items.id AS ${item}${own}, rows.* FROM ${items} items JOIN ${relation(dataset)} rows ON CAST(rows.${identifier(id)} AS VARCHAR) = items.id) WHERE (\n${where}\n)`;
}

export function relation(manifest: Manifest): string {
  return identifier(nameOf(manifest));
}

function unusedName(names: ReadonlySet<string>): string {
  let name = "item_id";
  while (names.has(name)) name += "_";
  return name;
}

/** An error about a condition, with what it may be about. */
export function explained(error: unknown, manifest: IndexManifest, dataset: Manifest | undefined): unknown {
  if (!(error instanceof LakeError) || error.kind !== "invalid") return error;
  const columns = dataset?.columns.map((column) => column.name) ?? [];
  const rows = dataset ? ` Columns of ${dataset.name}: ${columns.slice(0, 30).map(shown).join(", ")}.` : "";
  return new LakeError("invalid", `where: ${error.message}`, {
    hint: `A condition may use id, text and metadata of ${manifest.name}, as in metadata->>'state' = 'IL'.${rows}`,
    cause: error.cause,
  });
}
