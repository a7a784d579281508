import { setImmediate } from "node:timers/promises";
import { corruptSnapshot } from "./snapshot.ts";

/** An item's place in the shards. It is never used again, so that an answer under way still finds what it was about. */
export type Slot = number;

/** Ids and metadata of the items of an index. */
export interface ItemTable {
  /** Places given so far. */
  readonly slots: number;
  /** Items there are: not deleted, and not replaced. */
  readonly count: number;
  /** Memory it takes, about. */
  readonly bytes: number;
  /** Of an item there is. */
  slotOf(id: string): Slot | undefined;
  /** Also of an item that has gone since it was added or loaded. */
  idOf(slot: Slot): string;
  /** JSON. */
  metadataOf(slot: Slot): string | null;
  /** Gives an item the next place. What had its id goes. */
  add(id: string, metadata: string | null): Slot;
  remove(slot: Slot): void;
  /** The items of this moment, as bytes for `load`: read later, a turn of the event loop each. */
  save(): AsyncIterable<Uint8Array>;
  /** Reads saved items into an empty table, which has `slots` places then. Throws `corrupt`. */
  load(saved: AsyncIterable<Uint8Array>, slots: number): Promise<void>;
}

// A saved record: slot, bytes of the id, bytes of the metadata or NONE (uint32, little-endian), then the two.
const HEADER_BYTES = 12;
const NONE = 0xff_ff_ff_ff;
const BATCH_BYTES = 64 * 1024;
/** Longest record that is taken for one: a wrong length must not make a buffer of it. */
const MAX_RECORD_BYTES = 1024 ** 2;
/** Of two strings, their places in the arrays and an entry of a map, about. */
const ITEM_BYTES = 96;
/** Maps, which grow by copying all of their entries: of one with 3,000,000 that takes 140 ms, in one turn. */
const PARTS = 64;

/** An empty table. */
export function openItemTable(): ItemTable {
  const ids: string[] = [];
  const metadata: (string | null)[] = [];
  const parts = Array.from({ length: PARTS }, () => new Map<string, Slot>());
  /** A one for each place with an item that there is. */
  let alive = new Uint8Array(1024);
  let slots = 0;
  let count = 0;
  let textBytes = 0;

  const partOf = (id: string): Map<string, Slot> => parts[hashOf(id) % PARTS] as Map<string, Slot>;

  const remove = (slot: Slot): void => {
    if (alive[slot] !== 1) return;
    alive[slot] = 0;
    count -= 1;
    const id = ids[slot] as string;
    partOf(id).delete(id);
  };

  const enter = (slot: Slot, id: string, json: string | null): void => {
    const part = partOf(id);
    const before = part.get(id);
    if (before !== undefined) remove(before);
    part.set(id, slot);
    // Between saved items are places of some that had gone. An array with holes would become a slow map.
    while (ids.length < slot) {
      ids.push("");
      metadata.push(null);
    }
    ids[slot] = id;
    metadata[slot] = json;
    if (slot >= alive.length) {
      const grown = new Uint8Array(2 ** Math.ceil(Math.log2(slot + 1)));
      grown.set(alive);
      alive = grown;
    }
    alive[slot] = 1;
    slots = slot + 1;
    count += 1;
    textBytes += Buffer.byteLength(id) + Buffer.byteLength(json ?? "");
  };

  return {
    get slots() {
      return slots;
    },
    get count() {
      return count;
    },
    get bytes() {
      return textBytes + slots * ITEM_BYTES;
    },
    slotOf: (id) => partOf(id).get(id),
    idOf: (slot) => ids[slot] as string,
    metadataOf: (slot) => metadata[slot] ?? null,
    add: (id, json) => {
      const slot = slots;
      enter(slot, id, json);
      return slot;
    },
    remove,
    // Items are only ever added, so a copy of who is alive is a copy of all.
    save: () => records(alive.slice(0, slots), ids, metadata),
    load: async (saved, places) => {
      for await (const items of readRecords(saved)) {
        for (const { slot, id, json } of items) {
          if (slot < slots || slot >= places) throw corruptSnapshot("an item's place is wrong");
          enter(slot, id, json);
        }
      }
      slots = places;
    },
  };
}

/** The items that were alive `then`, as saved records. */
async function* records(
  then: Uint8Array,
  ids: readonly string[],
  metadata: readonly (string | null)[],
): AsyncGenerator<Uint8Array> {
  let batch: Buffer[] = [];
  let filled = 0;
  for (const [slot, isAlive] of then.entries()) {
    if (isAlive === 0) continue;
    const record = recordOf(slot, ids[slot] as string, metadata[slot] ?? null);
    if (filled > 0 && filled + record.length > BATCH_BYTES) {
      yield Buffer.concat(batch, filled);
      await setImmediate();
      batch = [];
      filled = 0;
    }
    batch.push(record);
    filled += record.length;
  }
  if (filled > 0) yield Buffer.concat(batch, filled);
}

interface SavedItem {
  slot: Slot;
  id: string;
  json: string | null;
}

/** Reads saved records, some in each turn of the event loop. Throws `corrupt`. */
async function* readRecords(saved: AsyncIterable<Uint8Array>): AsyncGenerator<SavedItem[]> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of saved) {
    for (let at = 0; at < piece.length; at += BATCH_BYTES) {
      const bytes = Buffer.concat([rest, piece.subarray(at, at + BATCH_BYTES)]);
      const { items, end } = wholeRecords(bytes);
      yield items;
      rest = bytes.subarray(end);
      if (rest.length > MAX_RECORD_BYTES) throw corruptSnapshot("an item is too long");
      await setImmediate();
    }
  }
  if (rest.length > 0) throw corruptSnapshot("its last item is truncated");
}

function wholeRecords(bytes: Buffer): { items: SavedItem[]; end: number } {
  const items: SavedItem[] = [];
  let at = 0;
  while (at + HEADER_BYTES <= bytes.length) {
    const [slot, idBytes, jsonBytes] = [0, 4, 8].map((field) => bytes.readUInt32LE(at + field)) as [
      Slot,
      number,
      number,
    ];
    const id = at + HEADER_BYTES;
    const json = id + idBytes;
    const end = json + (jsonBytes === NONE ? 0 : jsonBytes);
    if (end > bytes.length) break;
    items.push({
      slot,
      id: bytes.toString("utf8", id, json),
      json: jsonBytes === NONE ? null : bytes.toString("utf8", json, end),
    });
    at = end;
  }
  return { items, end: at };
}

/** FNV-1a. Texts that collide only share a map. http://www.isthe.com/chongo/tech/comp/fnv/ */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

function recordOf(slot: Slot, id: string, metadata: string | null): Buffer {
  const idBytes = Buffer.byteLength(id);
  const jsonBytes = Buffer.byteLength(metadata ?? "");
  const record = Buffer.allocUnsafe(HEADER_BYTES + idBytes + jsonBytes);
  record.writeUInt32LE(slot);
  record.writeUInt32LE(idBytes, 4);
  record.writeUInt32LE(metadata === null ? NONE : jsonBytes, 8);
  record.write(id, HEADER_BYTES);
  record.write(metadata ?? "", HEADER_BYTES + idBytes);
  return record;
}
