import { ThriftReader } from "../../src/engine/parquet/thrift-compact.ts";
import { binary, i32, i64, type Thrift } from "./parquet-file.ts";

/** A number below `below`, the same ones for the same seed (xorshift32). */
export type Random = (below: number) => number;

export function openRandom(seed: number): Random {
  let state = seed | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** A Thrift value as a tree, to be changed and written again. */
type Tree =
  | { type: number; bytes: Buffer }
  | { type: number; fields: { id: number; value: Tree }[] }
  | { type: number; inner: number; items: Tree[] };

const STRUCT = 12;
const LIST = 9;
const BINARY = 8;

function parse(reader: ThriftReader, type: number): Tree {
  if (type === STRUCT) {
    const fields: { id: number; value: Tree }[] = [];
    reader.struct((id, fieldType) => {
      fields.push({ id, value: parse(reader, fieldType) });
      return true;
    });
    return { type, fields };
  }
  if (type === LIST) {
    const { type: inner, count } = reader.list();
    return { type, inner, items: Array.from({ length: count }, () => parse(reader, inner)) };
  }
  const from = reader.at;
  reader.skip(type);
  return { type, bytes: Buffer.from(reader.bytes.subarray(from, reader.at)) };
}

function print(tree: Tree): Buffer {
  if ("bytes" in tree) return tree.bytes;
  if ("items" in tree) {
    const size = tree.items.length;
    return Buffer.concat([Buffer.of(0xf0 | tree.inner), i32Count(size), ...tree.items.map(print)]);
  }
  // Always with the whole id: the shorter form cannot say that a field comes twice, or before its turn.
  const fields = tree.fields.map(({ id, value }) =>
    Buffer.concat([Buffer.of(value.type), i32(id).bytes, print(value)]),
  );
  return Buffer.concat([...fields, Buffer.of(0)]);
}

function i32Count(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left >>>= 7) {
    if (left < 0x80) return Buffer.from([...bytes, left]);
    bytes.push((left & 0x7f) | 0x80);
  }
}

const NUMBERS = [
  0n,
  1n,
  -1n,
  2n,
  3n,
  4n,
  7n,
  8n,
  16n,
  127n,
  255n,
  4096n,
  65536n,
  2n ** 20n,
  2n ** 30n,
  2n ** 31n - 1n,
  -(2n ** 31n),
  2n ** 40n,
  2n ** 62n,
  -(2n ** 63n),
];

/** Changes one thing somewhere in the tree: a number, a text, whether a field is there, how often an element is. */
function change(tree: Tree, random: Random): void {
  const places = collect(tree);
  const place = places[random(places.length)];
  if (!place) return;
  if ("fields" in place) {
    const at = random(place.fields.length + 1);
    const field = place.fields[at];
    const kind = random(3);
    if (!field) place.fields.push({ id: random(24), value: some(random) });
    else if (kind === 0) place.fields.splice(at, 1);
    else if (kind === 1) place.fields.push({ ...field });
    else field.value = some(random);
  } else if ("items" in place) {
    const at = random(place.items.length + 1);
    const item = place.items[at];
    if (random(2) === 0) place.items.splice(at, 1);
    else if (item) for (let times = random(4); times >= 0; times--) place.items.push(item);
  } else if (place.type === BINARY) {
    place.bytes = binary(["", "c", "\u0000", "é".repeat(random(300))][random(4)] ?? "").bytes;
  } else if (place.type >= 4 && place.type <= 6) {
    place.bytes = i64(NUMBERS[random(NUMBERS.length)] ?? 0n).bytes;
  } else if (place.bytes.length > 0) {
    place.bytes[random(place.bytes.length)] = random(256);
  }
}

function some(random: Random): Tree {
  const value: Thrift = [
    i32(Number(NUMBERS[random(16)] ?? 0n)),
    i64(NUMBERS[random(NUMBERS.length)] ?? 0n),
    binary("x"),
  ][random(3)] as Thrift;
  return { type: value.type, bytes: value.bytes };
}

function collect(tree: Tree): Tree[] {
  const found: Tree[] = [];
  const todo: Tree[] = [tree];
  for (let next = todo.pop(); next; next = todo.pop()) {
    found.push(next);
    if ("fields" in next) todo.push(...next.fields.map(({ value }) => value));
    else if ("items" in next) todo.push(...next.items);
  }
  return found;
}

/** A copy of a sound Parquet file with one to three changes in its footer, its page headers or its bytes. */
export function mutant(file: Buffer, random: Random): Buffer {
  let bytes: Buffer = Buffer.from(file);
  for (let changes = 1 + random(3); changes > 0; changes--) {
    const kind = random(8);
    try {
      bytes =
        kind < 4 ? changedFooter(bytes, random) : kind < 7 ? changedPage(bytes, random) : changedByte(bytes, random);
    } catch {
      // An earlier change left nothing that could be read: a byte can still be changed.
      bytes = changedByte(bytes, random);
    }
  }
  return bytes;
}

function footerOf(file: Buffer): { at: number; bytes: Buffer } {
  const length = file.readUInt32LE(file.length - 8);
  const at = file.length - 8 - length;
  return { at, bytes: file.subarray(at, file.length - 8) };
}

function withFooter(data: Buffer, footer: Buffer): Buffer {
  const tail = Buffer.alloc(8);
  tail.writeUInt32LE(footer.length);
  tail.write("PAR1", 4, "latin1");
  return Buffer.concat([data, footer, tail]);
}

function changedFooter(file: Buffer, random: Random): Buffer {
  const { at, bytes } = footerOf(file);
  if (random(5) === 0) {
    const flipped = Buffer.from(bytes);
    const place = random(flipped.length);
    flipped[place] = (flipped[place] ?? 0) ^ (1 << random(8));
    return withFooter(file.subarray(0, at), flipped);
  }
  const tree = parse(new ThriftReader(bytes), STRUCT);
  change(tree, random);
  return withFooter(file.subarray(0, at), print(tree));
}

/** Changes the first page header of the last column chunk: nothing but the footer lies behind its pages. */
function changedPage(file: Buffer, random: Random): Buffer {
  const { at, bytes } = footerOf(file);
  const start = lastChunk(parse(new ThriftReader(bytes), STRUCT));
  const reader = new ThriftReader(file.subarray(0, at), start);
  const tree = parse(reader, STRUCT);
  change(tree, random);
  return withFooter(Buffer.concat([file.subarray(0, start), print(tree), file.subarray(reader.at, at)]), bytes);
}

function lastChunk(footer: Tree): number {
  const field = (tree: Tree | undefined, id: number): Tree | undefined =>
    tree && "fields" in tree ? tree.fields.findLast((each) => each.id === id)?.value : undefined;
  const last = (tree: Tree | undefined): Tree | undefined => (tree && "items" in tree ? tree.items.at(-1) : undefined);
  const metadata = field(last(field(last(field(footer, 4)), 1)), 3);
  const offset = field(metadata, 11) ?? field(metadata, 9);
  return offset && "bytes" in offset ? new ThriftReader(offset.bytes).int() : 4;
}

function changedByte(file: Buffer, random: Random): Buffer {
  const bytes = Buffer.from(file);
  const place = random(bytes.length);
  bytes[place] = random(256);
  return random(10) === 0 ? bytes.subarray(0, place) : bytes;
}
