import { createReadStream, createWriteStream } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { LakeError } from "../errors.ts";
import { decodeStruct, encodeStruct, type ListValue, type StructValue } from "./thrift.ts";

/**
 * Puts the columns of several Parquet files, which have the same rows in the same row groups, beside each other in one
 * file. Pages are copied as they are; only footers are read and written. It is how tables are written that are too wide for
 * DuckDB's memory, which takes 32 KiB for each column at least. https://parquet.apache.org/docs/file-format/metadata/
 */
export async function joinColumns(
  paths: readonly string[],
  to: string,
  signal: AbortSignal | undefined,
): Promise<number> {
  const footers: Footer[] = [];
  let offset = MAGIC.length;
  for (const path of paths) {
    const footer = await readFooter(path);
    footers.push({ ...footer, shift: offset - MAGIC.length });
    offset += footer.dataEnd - MAGIC.length;
  }
  const joined = encodeStruct(joinFooters(footers));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(joined.length);
  const write = createWriteStream(to, { mode: 0o600 });
  async function* content(): AsyncGenerator<Buffer> {
    yield MAGIC;
    for (const { path, dataEnd } of footers) {
      if (dataEnd === MAGIC.length) continue;
      yield* createReadStream(path, { start: MAGIC.length, end: dataEnd - 1 }) as AsyncIterable<Buffer>;
    }
    yield Buffer.concat([joined, length, MAGIC]);
  }
  await pipeline(content, write, { signal });
  return offset + joined.length + length.length + MAGIC.length;
}

const MAGIC = Buffer.from("PAR1");

/** Field ids of parquet.thrift. */
const META = { schema: 2, rows: 3, groups: 4, orders: 7 } as const;
const ELEMENT = { children: 5 } as const;
const GROUP = { columns: 1, bytes: 2, rows: 3, offset: 5, compressed: 6 } as const;
const CHUNK = { offset: 2, meta: 3, offsetIndex: 4, columnIndex: 6 } as const;
const CHUNK_META = { data: 9, index: 10, dictionary: 11, bloom: 14 } as const;

interface Footer {
  path: string;
  meta: StructValue;
  dataEnd: number;
  /** By how much its offsets grow in the joined file. */
  shift: number;
}

async function readFooter(path: string): Promise<Omit<Footer, "shift">> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const tail = await file.read(Buffer.alloc(8), 0, 8, size - 8);
    const length = tail.buffer.readUInt32LE(0);
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - 8 - length);
    return { path, meta: decodeStruct(buffer), dataEnd: size - 8 - length };
  } finally {
    await file.close();
  }
}

function joinFooters(footers: Footer[]): StructValue {
  const [first] = footers;
  if (!first) throw new LakeError("internal", "No files to join.");
  const rows = footers.map(({ meta }) => numberAt(meta, META.rows));
  if (rows.some((count) => count !== rows[0]))
    throw new LakeError("internal", "Columns have different numbers of rows.");
  const [root, ...elements] = listAt(first.meta, META.schema).items as StructValue[];
  const others = footers.slice(1).flatMap(({ meta }) => listAt(meta, META.schema).items.slice(1) as StructValue[]);
  if (root) setNumber(root, ELEMENT.children, elements.length + others.length);
  listAt(first.meta, META.schema).items = [root as StructValue, ...elements, ...others];

  const groups = footers.map((footer) => shifted(footer));
  const joined = groups[0] ?? [];
  for (const [index, group] of joined.entries()) {
    for (const other of groups.slice(1)) {
      const beside = other[index];
      if (!beside || numberAt(beside, GROUP.rows) !== numberAt(group, GROUP.rows)) {
        throw new LakeError("internal", "Columns have different row groups.");
      }
      listAt(group, GROUP.columns).items.push(...listAt(beside, GROUP.columns).items);
      for (const field of [GROUP.bytes, GROUP.compressed]) {
        if (group.has(field)) setNumber(group, field, numberAt(group, field) + numberAt(beside, field));
      }
    }
  }
  if (first.meta.has(META.orders)) {
    const orders = footers.flatMap(({ meta }) => listAt(meta, META.orders).items);
    listAt(first.meta, META.orders).items = orders;
  }
  return first.meta;
}

/** The row groups of a file, with offsets for where its pages will be. */
function shifted({ meta, shift }: Footer): StructValue[] {
  const groups = listAt(meta, META.groups).items as StructValue[];
  for (const group of groups) {
    shiftNumber(group, GROUP.offset, shift);
    for (const chunk of listAt(group, GROUP.columns).items as StructValue[]) {
      // An offset of 0 is none.
      for (const field of [CHUNK.offset, CHUNK.offsetIndex, CHUNK.columnIndex]) shiftNumber(chunk, field, shift);
      const described = chunk.get(CHUNK.meta)?.value as StructValue;
      for (const field of Object.values(CHUNK_META)) shiftNumber(described, field, shift);
    }
  }
  return groups;
}

function shiftNumber(struct: StructValue, field: number, by: number): void {
  if (struct.has(field) && numberAt(struct, field) > 0) setNumber(struct, field, numberAt(struct, field) + by);
}

function numberAt(struct: StructValue, field: number): number {
  return Number(struct.get(field)?.value ?? 0);
}

function setNumber(struct: StructValue, field: number, value: number): void {
  const found = struct.get(field);
  if (found) found.value = BigInt(value);
}

function listAt(struct: StructValue, field: number): ListValue {
  const found = struct.get(field)?.value;
  if (!found) throw new LakeError("internal", `A Parquet footer has no field ${field}.`);
  return found as ListValue;
}
