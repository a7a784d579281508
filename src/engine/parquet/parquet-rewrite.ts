import { constants } from "node:fs";
import { chmod, copyFile, open } from "node:fs/promises";
import { openPauses, type ParquetFooter, type Pauses } from "./parquet-footer.ts";
import type { OldMeaning } from "./parquet-schema.ts";
import {
  intBytes,
  type RawField,
  rawFields,
  T,
  ThriftReader,
  textBytes,
  writeList,
  writeStruct,
} from "./thrift-compact.ts";

/** How a schema element is to be read instead. The pages stay as they are, so only a type of the same bytes will do. */
export interface Reread {
  /** What it means instead, as the older annotation; `none` for the physical type alone. */
  meaning?: OldMeaning | "none";
  /** INT96 as the 12 bytes that it has. */
  isBytes?: boolean;
  /** Instead of its own name. */
  name?: string;
}

export interface RereadOptions {
  /** By index in the schema. */
  rereads: ReadonlyMap<number, Reread>;
  /** Leaves out what the writer noted, of which DuckDB takes some for types. */
  withoutNotes?: boolean;
  signal?: AbortSignal | undefined;
}

/**
 * Writes `to`: a copy of the Parquet file with another footer behind it, in which the elements of `rereads` are of another
 * type. Their statistics are left out, since they are of the old type.
 */
export async function writeReread(
  from: string,
  to: string,
  footer: ParquetFooter,
  { rereads, withoutNotes = false, signal }: RereadOptions,
): Promise<void> {
  const leaves = footer.leaves.map(({ index }) => rereads.get(index));
  const pauses = openPauses(signal);
  const bytes = await rewriteFooter(footer.bytes, rereads, leaves, withoutNotes, pauses);
  await copyFile(from, to, constants.COPYFILE_FICLONE);
  await chmod(to, 0o600);
  const handle = await open(to, "r+");
  try {
    // The old footer stays where it is, as bytes that nothing refers to; the eight after it are the old end mark.
    const { size } = await handle.stat();
    const tail = Buffer.alloc(8);
    tail.writeUInt32LE(bytes.length);
    tail.write("PAR1", 4, "latin1");
    await handle.write(Buffer.concat([bytes, tail]), 0, bytes.length + tail.length, size);
  } finally {
    await handle.close();
  }
}

async function rewriteFooter(
  footer: Uint8Array,
  rereads: ReadonlyMap<number, Reread>,
  leaves: readonly (Reread | undefined)[],
  withoutNotes: boolean,
  pauses: Pauses,
): Promise<Uint8Array> {
  const fields = rawFields(new ThriftReader(footer)).filter(({ id }) => !(withoutNotes && id === 5));
  for (const field of fields) {
    if (field.id === 2) {
      field.value = await mapList(field.value, pauses, (element, index) => {
        const reread = rereads.get(index);
        return reread ? writeStruct(rereadElement(rawFields(element), reread)) : undefined;
      });
    } else if (field.id === 4) {
      field.value = await mapList(field.value, pauses, (group) => rereadGroup(group, leaves, pauses));
    }
  }
  return writeStruct(fields);
}

/** `map` gives the element that begins at the reader anew, or undefined to keep it. */
async function mapList(
  list: Uint8Array,
  pauses: Pauses,
  map: (element: ThriftReader, index: number) => Uint8Array | undefined | Promise<Uint8Array>,
): Promise<Uint8Array> {
  const reader = new ThriftReader(list);
  const { type, count } = reader.list();
  const elements: Uint8Array[] = [];
  for (let index = 0; index < count; index++) {
    const from = reader.at;
    reader.skip(type);
    elements.push((await map(new ThriftReader(list, from), index)) ?? list.subarray(from, reader.at));
    if (pauses.isDue()) await pauses.take();
  }
  return writeList(type, elements);
}

const FIXED_LEN_BYTE_ARRAY = 7;
const INT96_BYTES = 12;
/** Fields of `SchemaElement`: `converted_type`, `scale`, `precision`, and the newer `logicalType`. */
const MEANING = [6, 7, 8, 10];

function rereadElement(fields: RawField[], { meaning, isBytes, name }: Reread): RawField[] {
  const replaced = new Map<number, RawField>();
  const put = (id: number, value: number | undefined): void => {
    if (value !== undefined) replaced.set(id, { id, type: T.i32, value: intBytes(value) });
  };
  if (name !== undefined) replaced.set(4, { id: 4, type: T.binary, value: textBytes(name) });
  if (isBytes) {
    put(1, FIXED_LEN_BYTE_ARRAY);
    put(2, INT96_BYTES);
  }
  if (meaning !== undefined && meaning !== "none") {
    put(6, meaning.converted);
    put(7, meaning.scale);
    put(8, meaning.precision);
  }
  const kept = fields.filter(({ id }) => !replaced.has(id) && (meaning === undefined || !MEANING.includes(id)));
  return [...kept, ...replaced.values()].sort((left, right) => left.id - right.id);
}

async function rereadGroup(
  group: ThriftReader,
  leaves: readonly (Reread | undefined)[],
  pauses: Pauses,
): Promise<Uint8Array> {
  const fields = rawFields(group);
  for (const field of fields) {
    if (field.id !== 1) continue;
    field.value = await mapList(field.value, pauses, (chunk, index) => {
      const reread = leaves[index];
      return reread?.meaning ? rereadChunk(rawFields(chunk), reread) : undefined;
    });
  }
  return writeStruct(fields);
}

/** `ColumnChunk`: of its metadata, the type and the statistics. */
function rereadChunk(fields: RawField[], { isBytes }: Reread): Uint8Array {
  for (const field of fields) {
    if (field.id !== 3) continue;
    const metadata = rawFields(new ThriftReader(field.value)).filter(({ id }) => id !== 12);
    for (const inner of metadata) if (inner.id === 1 && isBytes) inner.value = intBytes(FIXED_LEN_BYTE_ARRAY);
    field.value = writeStruct(metadata);
  }
  return writeStruct(fields);
}
