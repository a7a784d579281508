import { LRUCache } from "lru-cache";
import type { Manifest } from "../catalog/types.ts";
import { identifier } from "../duckdb/duckdb.ts";
import { LakeError } from "../errors.ts";
import type { Resident } from "./resident.ts";
import type { Room } from "./room.ts";
import { type IndexManifest, ITEM_COLUMNS } from "./types.ts";

/** Which items a condition lets through. */
export interface Allowed {
  /** A bit a place: place p is in byte p >> 3, bit p & 7. */
  mask: Uint8Array;
  count: number;
}

const KEPT = 64;
const MAX_ATTEMPTS = 3;
const MAX_CONDITION_CHARS = 16_384;

/** Answers of the last conditions of each index in memory, which go with it. */
const kept = new WeakMap<Resident, LRUCache<string, Allowed>>();

/** The items of an index in memory that a condition lets through, as of the version it holds now. */
export async function allowedItems(
  room: Room,
  resident: Resident,
  where: string,
  signal: AbortSignal | undefined,
): Promise<Allowed> {
  await assertWhere(room, where);
  for (let attempt = 1; ; attempt++) {
    const { manifest } = resident;
    const dataset = await datasetOf(room, manifest);
    const key = JSON.stringify([manifest.version, dataset?.version ?? 0, where]);
    const cache = kept.get(resident) ?? new LRUCache<string, Allowed>({ max: KEPT });
    kept.set(resident, cache);
    const known = cache.get(key);
    if (known) return known;

    const mask = new Uint8Array(Math.ceil(resident.slots / 8));
    let count = 0;
    await room.query
      .texts(matchingIds(manifest, dataset, where), signal ? { signal } : {}, (ids) => {
        for (const id of ids) {
          const slot = resident.slotOf(id);
          if (slot === undefined || slot >> 3 >= mask.length) continue;
          const byte = mask[slot >> 3] ?? 0;
          if ((byte & (1 << (slot & 7))) !== 0) continue;
          mask[slot >> 3] = byte | (1 << (slot & 7));
          count++;
        }
      })
      .catch((error: unknown) => {
        throw explained(error, manifest, dataset);
      });
    const allowed = { mask, count };
    // Items that were changed while this was found out have another place by now.
    if (resident.manifest.version === manifest.version) cache.set(key, allowed);
    else if (attempt < MAX_ATTEMPTS) continue;
    return allowed;
  }
}

/** Throws `invalid` for what is not one condition. */
export async function assertWhere(room: Room, where: string): Promise<void> {
  if (where.trim() === "" || where.length > MAX_CONDITION_CHARS) {
    throw new LakeError("invalid", where.trim() === "" ? "where is empty." : `where has ${where.length} characters.`, {
      hint: `A condition of at most ${MAX_CONDITION_CHARS} characters, for example metadata->>'state' = 'IL'; or leave where out.`,
    });
  }
  await room.query.assertCondition(where);
}

/** The newest version of the dataset the index was built from, unless it has gone. */
export async function datasetOf(room: Room, { index }: IndexManifest): Promise<Manifest | undefined> {
  if (!index.source) return undefined;
  const dataset = await room.catalog.load(index.source.dataset).catch((error: unknown) => {
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

export function relation({ name, version }: Manifest): string {
  return identifier(`${name}@${version}`);
}

function unusedName(names: ReadonlySet<string>): string {
  let name = "item_id";
  while (names.has(name)) name += "_";
  return name;
}

function explained(error: unknown, manifest: IndexManifest, dataset: Manifest | undefined): unknown {
  if (!(error instanceof LakeError) || error.kind !== "invalid") return error;
  const columns = dataset?.columns.map((column) => column.name) ?? [];
  const rows = dataset ? ` Columns of ${dataset.name}: ${columns.slice(0, 30).join(", ")}.` : "";
  return new LakeError("invalid", `where: ${error.message}`, {
    hint: `A condition may use id, text and metadata of ${manifest.name}, as in metadata->>'state' = 'IL'.${rows}`,
    cause: error.cause,
  });
}
