import { randomBytes } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { corruptSnapshot } from "./snapshot.ts";

/** An item's place in the shards. It is never used again, so that an answer under way still finds what it was about. */
export type Slot = number;

/** An item that was written: its slab, and where in it the record begins. */
export interface Written {
  slab: number;
  start: number;
}

/**
 * Ids and metadata of the items of an index, as bytes outside of V8's heap: there each would be an object that every large
 * collection looks at, which held the event loop up for 80 ms with 300,000 items (`--trace-gc`; now they are a few buffers).
 */
export interface ItemTable {
  /** Places given so far. */
  readonly slots: number;
  /** Items there are: not deleted, and not replaced. */
  readonly count: number;
  /** Memory it takes. */
  readonly bytes: number;
  /** Of an item there is. */
  slotOf(id: string): Slot | undefined;
  /** Also of an item that has gone since it was added or loaded. */
  idOf(slot: Slot): string;
  /** JSON. */
  metadataOf(slot: Slot): string | null;
  /** Takes a long text over, which nobody sees until it is added. */
  write(id: string, metadata: string | null): Written;
  /** Gives an item the next place. What had its id goes. */
  add(item: Written): Slot;
  remove(slot: Slot): void;
  /** The items of this moment, as bytes for `load`: read later, a turn of the event loop each. */
  save(): AsyncIterable<Uint8Array>;
  /** Reads saved items into an empty table, which has `slots` places then. Throws `corrupt`. */
  load(saved: AsyncIterable<Uint8Array>, slots: number): Promise<void>;
}

// A record, in memory and saved: slot, bytes of the id, bytes of the metadata or NONE (uint32, little-endian), then the two.
const HEADER_BYTES = 12;
const NONE = 0xff_ff_ff_ff;
const FIRST_SLAB_BYTES = 64 * 1024;
const SLAB_BYTES = 1024 ** 2;
const PAGE_SLOTS = 2 ** 14;
/** Parts of the hash table, which double one after the other: all at once would hold the event loop up. */
const PARTS = 64;
const PART_BITS = 6;
const FIRST_ENTRIES = 16;
const BATCH_BYTES = 64 * 1024;
/** Longest record that is taken for one: a wrong length must not make a buffer of it. */
const MAX_RECORD_BYTES = 1024 ** 2;
const MAX_UTF8 = 3;

/** Where the records of so many places are. */
interface Page {
  /** A slab and an offset in it for each. */
  places: Uint32Array;
  /** A one for each with an item that there is. */
  alive: Uint8Array;
}

/** By linear probing: pairs of a hash, and the last place of the id with that hash plus one, or 0. */
interface Part {
  entries: Uint32Array;
  used: number;
  /** The share of the entries from which on there are more of them: from 0.35 to 0.7. */
  most: number;
}

/** An empty table. */
export function openItemTable(): ItemTable {
  const slabs: Buffer[] = [];
  const pages: Page[] = [];
  const parts = Array.from({ length: PARTS }, (_, part): Part => {
    return { entries: new Uint32Array(2 * FIRST_ENTRIES), used: 0, most: 0.35 * 2 ** (part / PARTS) };
  });
  const random = new Uint32Array(new Uint8Array(randomBytes(1024)).buffer);
  let slots = 0;
  let count = 0;
  // Kept, since it is asked for at every search.
  let bytesTaken = parts.reduce((sum, part) => sum + part.entries.byteLength, 0);
  /** Of the last slab. */
  let used = 0;
  /** An id, to compare with those that are there. */
  let scratch = Buffer.alloc(MAX_UTF8 * 64);
  let longestId = 0;

  const pageOf = (slot: Slot): Page => pages[Math.floor(slot / PAGE_SLOTS)] as Page;
  const isAlive = (slot: Slot): boolean => pageOf(slot).alive[slot % PAGE_SLOTS] === 1;

  /** The slab of an item that was added, and where in it its record begins. */
  const recordOf = (slot: Slot): { slab: Buffer; start: number } => {
    const { places } = pageOf(slot);
    const at = 2 * (slot % PAGE_SLOTS);
    return { slab: slabs[places[at] as number] as Buffer, start: places[at + 1] as number };
  };

  /** A slab with room for so many bytes, from `used` on. */
  const slabFor = (bytes: number): Buffer => {
    const last = slabs.at(-1);
    if (last && used + bytes <= last.length) return last;
    const size = Math.max(bytes, last ? Math.min(SLAB_BYTES, 2 * last.length) : FIRST_SLAB_BYTES);
    const slab = Buffer.allocUnsafeSlow(size);
    slabs.push(slab);
    bytesTaken += size;
    used = 0;
    return slab;
  };

  /**
   * As FNV-1a, of random numbers in the place of bytes: of FNV-1a itself, whatever it begins with, texts are soon found that
   * have one hash, and a table of those takes a second a thousand. http://www.isthe.com/chongo/tech/comp/fnv/
   */
  const hashOf = (bytes: Buffer, start: number, end: number): number => {
    let hash = 0x811c9dc5;
    for (let at = start; at < end; at++) {
      hash = Math.imul(hash ^ (random[bytes[at] as number] as number), 0x01000193);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash, 0x85ebca6b);
    return (hash ^ (hash >>> 13)) >>> 0;
  };

  const hasId = (slot: Slot, bytes: Buffer, start: number, end: number): boolean => {
    const { slab, start: record } = recordOf(slot);
    if (slab.readUInt32LE(record + 4) !== end - start) return false;
    const id = record + HEADER_BYTES;
    for (let at = start; at < end; at++) if (bytes[at] !== slab[id + at - start]) return false;
    return true;
  };

  const partOf = (hash: number): Part => parts[hash >>> (32 - PART_BITS)] as Part;

  /** Where in the part's entries the id is, or where it may be put. */
  const entryOf = ({ entries }: Part, hash: number, bytes: Buffer, start: number, end: number): number => {
    const mask = entries.length - 1;
    for (let at = (2 * hash) & mask; ; at = (at + 2) & mask) {
      const next = entries[at + 1] as number;
      if (next === 0 || (entries[at] === hash && hasId(next - 1, bytes, start, end))) return at;
    }
  };

  const grow = (part: Part): void => {
    const { entries: before } = part;
    part.entries = new Uint32Array(2 * before.length);
    bytesTaken += before.byteLength;
    const mask = part.entries.length - 1;
    for (let from = 0; from < before.length; from += 2) {
      if (before[from + 1] === 0) continue;
      let at = (2 * (before[from] as number)) & mask;
      while (part.entries[at + 1] !== 0) at = (at + 2) & mask;
      part.entries[at] = before[from] as number;
      part.entries[at + 1] = before[from + 1] as number;
    }
  };

  /** Makes a record, which says its place, the one of its id. */
  const enter = ({ slab: number, start: record }: Written): void => {
    const slab = slabs[number] as Buffer;
    const [slot, idBytes] = [slab.readUInt32LE(record), slab.readUInt32LE(record + 4)];
    const [start, end] = [record + HEADER_BYTES, record + HEADER_BYTES + idBytes];
    const hash = hashOf(slab, start, end);
    const part = partOf(hash);
    const entry = entryOf(part, hash, slab, start, end);
    const before = part.entries[entry + 1] as number;
    if (before > 0) remove(before - 1);
    else part.used += 1;
    part.entries[entry] = hash;
    part.entries[entry + 1] = slot + 1;
    if (2 * part.used > part.entries.length * part.most) grow(part);

    while (pages.length * PAGE_SLOTS <= slot) {
      const page = { places: new Uint32Array(2 * PAGE_SLOTS).fill(NONE), alive: new Uint8Array(PAGE_SLOTS) };
      pages.push(page);
      bytesTaken += page.places.byteLength + page.alive.byteLength;
    }
    const { places, alive } = pageOf(slot);
    places[2 * (slot % PAGE_SLOTS)] = number;
    places[2 * (slot % PAGE_SLOTS) + 1] = record;
    alive[slot % PAGE_SLOTS] = 1;
    longestId = Math.max(longestId, idBytes);
    slots = slot + 1;
    count += 1;
  };

  const write = (id: string, metadata: string | null): Written => {
    const most = HEADER_BYTES + MAX_UTF8 * (id.length + (metadata?.length ?? 0));
    const fits = used + most <= (slabs.at(-1)?.length ?? 0);
    const bytes = fits ? most : HEADER_BYTES + Buffer.byteLength(id) + Buffer.byteLength(metadata ?? "");
    const slab = slabFor(bytes);
    const start = used;
    const idBytes = slab.write(id, start + HEADER_BYTES);
    const metadataBytes = metadata === null ? 0 : slab.write(metadata, start + HEADER_BYTES + idBytes);
    slab.writeUInt32LE(idBytes, start + 4);
    slab.writeUInt32LE(metadata === null ? NONE : metadataBytes, start + 8);
    used += HEADER_BYTES + idBytes + metadataBytes;
    return { slab: slabs.length - 1, start };
  };

  const add = (item: Written): Slot => {
    const slot = slots;
    slabs[item.slab]?.writeUInt32LE(slot, item.start);
    enter(item);
    return slot;
  };

  const remove = (slot: Slot): void => {
    const { alive } = pageOf(slot);
    if (alive[slot % PAGE_SLOTS] === 0) return;
    alive[slot % PAGE_SLOTS] = 0;
    count -= 1;
  };

  const slotOf = (id: string): Slot | undefined => {
    // No character is shorter in UTF-8.
    if (id.length > longestId) return undefined;
    if (scratch.length < MAX_UTF8 * id.length) scratch = Buffer.alloc(MAX_UTF8 * id.length);
    const end = writeText(scratch, id);
    const hash = hashOf(scratch, 0, end);
    const part = partOf(hash);
    const slot = (part.entries[entryOf(part, hash, scratch, 0, end) + 1] as number) - 1;
    return slot >= 0 && isAlive(slot) ? slot : undefined;
  };

  const idOf = (slot: Slot): string => {
    const { slab, start } = recordOf(slot);
    return slab.toString("utf8", start + HEADER_BYTES, start + HEADER_BYTES + slab.readUInt32LE(start + 4));
  };

  const metadataOf = (slot: Slot): string | null => {
    const { slab, start } = recordOf(slot);
    const length = slab.readUInt32LE(start + 8);
    if (length === NONE) return null;
    const from = start + HEADER_BYTES + slab.readUInt32LE(start + 4);
    return slab.toString("utf8", from, from + length);
  };

  async function* records(then: Uint8Array[], places: number): AsyncGenerator<Uint8Array> {
    let batch = Buffer.allocUnsafe(BATCH_BYTES);
    let filled = 0;
    for (let slot = 0; slot < places; slot++) {
      if (then[Math.floor(slot / PAGE_SLOTS)]?.[slot % PAGE_SLOTS] !== 1) continue;
      const { slab, start } = recordOf(slot);
      const bytes = recordBytes(slab, start);
      if (filled + bytes > batch.length) {
        if (filled > 0) yield batch.subarray(0, filled);
        await setImmediate();
        batch = Buffer.allocUnsafe(Math.max(BATCH_BYTES, bytes));
        filled = 0;
      }
      slab.copy(batch, filled, start, start + bytes);
      filled += bytes;
    }
    if (filled > 0) yield batch.subarray(0, filled);
  }

  /** Enters the whole records among so many bytes that are at `used`, and tells how many bytes they have. */
  const enterAll = (slab: Buffer, filled: number, places: number): number => {
    const end = used + filled;
    const from = used;
    while (used + HEADER_BYTES <= end) {
      const bytes = recordBytes(slab, used);
      if (used + bytes > end) break;
      const slot = slab.readUInt32LE(used);
      // Between them are places of items that had gone.
      if (slot < slots || slot >= places) throw corruptSnapshot("an item's place is wrong");
      enter({ slab: slabs.length - 1, start: used });
      used += bytes;
    }
    return used - from;
  };

  const load = async (saved: AsyncIterable<Uint8Array>, places: number): Promise<void> => {
    /** Bytes of a record that is not whole yet, at `used`. */
    let rest = 0;
    for await (const piece of saved) {
      for (let at = 0; at < piece.length; at += BATCH_BYTES) {
        const some = piece.subarray(at, at + BATCH_BYTES);
        const [before, from] = [slabs.at(-1), used];
        const slab = slabFor(rest + some.length);
        if (before && slab !== before) before.copy(slab, 0, from, from + rest);
        slab.set(some, used + rest);
        rest += some.length;
        rest -= enterAll(slab, rest, places);
        if (rest > MAX_RECORD_BYTES) throw corruptSnapshot("an item is too long");
        await setImmediate();
      }
    }
    if (rest > 0) throw corruptSnapshot("its last item is truncated");
    slots = places;
  };

  return {
    get slots() {
      return slots;
    },
    get count() {
      return count;
    },
    get bytes() {
      return bytesTaken;
    },
    slotOf,
    idOf,
    metadataOf,
    write,
    add,
    remove,
    // Records are only ever added, so a copy of who is alive is a copy of all.
    save: () =>
      records(
        pages.map(({ alive }) => alive.slice()),
        slots,
      ),
    load,
  };
}

function recordBytes(bytes: Buffer, start: number): number {
  const metadataBytes = bytes.readUInt32LE(start + 8);
  return HEADER_BYTES + bytes.readUInt32LE(start + 4) + (metadataBytes === NONE ? 0 : metadataBytes);
}

/** Writes a text, and tells its bytes. Most ids are ASCII, and a call of the runtime takes longer than they do. */
function writeText(into: Buffer, text: string): number {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code > 0x7f) return into.write(text);
    into[at] = code;
  }
  return text.length;
}
