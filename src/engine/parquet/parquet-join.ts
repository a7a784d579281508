import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { readFooter } from "./parquet-footer.ts";
import { intBytes, type RawField, rawFields, T, ThriftReader, writeList, writeStruct } from "./thrift-compact.ts";

/**
 * Joins Parquet files that have the same rows in the same row groups, and different columns, into the file `to`: pages are
 * copied, footers become one. For tables of so many columns that DuckDB has no room to write them at once.
 */
export async function joinColumns(paths: readonly string[], to: string): Promise<number> {
  const out = await open(to, "wx", 0o600);
  try {
    await out.write("PAR1");
    let at = 4;
    const parts: Part[] = [];
    for (const path of paths) {
      const handle = await open(path, "r");
      try {
        const { bytes, end } = await readFooter(handle, "A part of the table", undefined);
        parts.push(readPart(bytes, at - 4));
        at += await append(out, path, 4, end);
      } finally {
        await handle.close();
      }
    }
    const footer = joinFooters(parts);
    const tail = Buffer.alloc(8);
    tail.writeUInt32LE(footer.length);
    tail.write("PAR1", 4, "latin1");
    await out.write(Buffer.concat([footer, tail]));
    return at + footer.length + tail.length;
  } finally {
    await out.close();
  }
}

async function append(out: FileHandle, path: string, start: number, end: number): Promise<number> {
  if (end <= start) return 0;
  for await (const chunk of createReadStream(path, { start, end: end - 1, highWaterMark: 2 ** 20 })) {
    await out.write(chunk as Buffer);
  }
  return end - start;
}

/** A footer in pieces: elements of the schema below the root, and row groups whose offsets are those in the joined file. */
interface Part {
  fields: RawField[];
  root: RawField[];
  elements: Uint8Array[];
  groups: { fields: RawField[]; columns: Uint8Array[] }[];
}

/** Fields of `FileMetaData`. */
const SCHEMA = 2;
const ROW_GROUPS = 4;
const COLUMN_ORDERS = 7;

function readPart(footer: Uint8Array, shift: number): Part {
  const fields = rawFields(new ThriftReader(footer));
  const [root = new Uint8Array(), ...elements] = listOf(fields, SCHEMA);
  const groups = listOf(fields, ROW_GROUPS).map((group) => {
    const groupFields = rawFields(new ThriftReader(group));
    return { fields: groupFields, columns: listOf(groupFields, 1).map((column) => shifted(column, shift)) };
  });
  return { fields, root: rawFields(new ThriftReader(root)), elements, groups };
}

/** Elements of the list that is the field `id`. */
function listOf(fields: readonly RawField[], id: number): Uint8Array[] {
  const field = fields.find((each) => each.id === id);
  if (!field) return [];
  const reader = new ThriftReader(field.value);
  const { type, count } = reader.list();
  return Array.from({ length: count }, () => {
    const from = reader.at;
    reader.skip(type);
    return field.value.subarray(from, reader.at);
  });
}

/** Offsets in `ColumnChunk` (its own, of the two page indexes) and in `ColumnMetaData` (of pages and Bloom filters). */
const CHUNK_OFFSETS = [2, 4, 6];
const DATA_OFFSETS = [9, 10, 11, 14];

function shifted(chunk: Uint8Array, shift: number): Uint8Array {
  const move = (field: RawField, ids: readonly number[]): RawField =>
    ids.includes(field.id) && field.type === T.i64 ? { ...field, value: intBytes(numberOf(field) + shift) } : field;
  const fields = rawFields(new ThriftReader(chunk)).map((field) => {
    if (field.id !== 3) return move(field, CHUNK_OFFSETS);
    const data = rawFields(new ThriftReader(field.value)).map((inner) => move(inner, DATA_OFFSETS));
    return { ...field, value: writeStruct(data) };
  });
  return writeStruct(fields);
}

function numberOf({ value }: RawField): number {
  return new ThriftReader(value).int();
}

function joinFooters(parts: readonly Part[]): Uint8Array {
  const [first] = parts;
  if (!first) throw new RangeError("No parts to join.");
  const root = first.root.map((field) => {
    const children = sum(parts.map((part) => part.root.find(({ id }) => id === 5)));
    return field.id === 5 ? { ...field, value: intBytes(children) } : field;
  });
  const elements = [writeStruct(root), ...parts.flatMap((part) => part.elements)];
  const groups = first.groups.map((group, index) => {
    const same = parts.map((part) => part.groups[index]);
    const fields = group.fields.map((field) => {
      if (field.id === 1)
        return {
          ...field,
          value: writeList(
            T.struct,
            same.flatMap((each) => each?.columns ?? []),
          ),
        };
      const others = same.map((each) => each?.fields.find(({ id }) => id === field.id));
      if (field.id === 3 && others.some((each) => !each || numberOf(each) !== numberOf(field))) {
        throw new RangeError("Parts of a table have different row groups.");
      }
      // Its size, and its compressed size; `file_offset` stays that of the first column.
      return field.id === 2 || field.id === 6 ? { ...field, value: intBytes(sum(others)) } : field;
    });
    return writeStruct(fields);
  });
  if (parts.some((part) => part.groups.length !== first.groups.length)) {
    throw new RangeError("Parts of a table have different numbers of row groups.");
  }
  const fields = first.fields.flatMap((field): RawField[] => {
    if (field.id === SCHEMA) return [{ ...field, value: writeList(T.struct, elements) }];
    if (field.id === ROW_GROUPS) return [{ ...field, value: writeList(T.struct, groups) }];
    if (field.id !== COLUMN_ORDERS) return [field];
    return [
      {
        ...field,
        value: writeList(
          T.struct,
          parts.flatMap((part) => listOf(part.fields, COLUMN_ORDERS)),
        ),
      },
    ];
  });
  return writeStruct(fields);
}

function sum(fields: readonly (RawField | undefined)[]): number {
  return fields.reduce((total, field) => total + (field ? numberOf(field) : 0), 0);
}
