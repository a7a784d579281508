import {
  DuckDBArrayType,
  DuckDBArrayValue,
  DuckDBBitValue,
  DuckDBBlobValue,
  type DuckDBDataChunk,
  DuckDBDateValue,
  DuckDBGeometryValue,
  DuckDBListType,
  DuckDBListValue,
  DuckDBMapType,
  DuckDBMapValue,
  DuckDBStructType,
  DuckDBStructValue,
  DuckDBTimeNSValue,
  DuckDBTimestampMillisecondsValue,
  DuckDBTimestampNanosecondsValue,
  DuckDBTimestampSecondsValue,
  DuckDBTimestampTZValue,
  DuckDBTimestampValue,
  DuckDBTimeTZValue,
  DuckDBTimeValue,
  type DuckDBType,
  DuckDBTypeId,
  DuckDBUnionType,
  DuckDBUnionValue,
  type DuckDBValue,
  DuckDBVariantValue,
  DuckDBVector,
} from "@duckdb/node-api";
import bindings, { type Vector } from "@duckdb/node-bindings";
import type { Json } from "../kernel/json.ts";
import { dateText, timestampText, timestampTzText, timeText, timeTzText } from "./moments.ts";
import type { ZoneOffsets } from "./zone-offsets.ts";

/** Bytes of JSON text that are still allowed; readers subtract what a value takes at least. */
export interface Room {
  left: number;
}

/** Thrown before a value that is too large for its room is copied out of DuckDB. */
export class NoRoom extends Error {}

/**
 * Reads the cell of one row as JSON. Numbers that a double does not hold are texts: integers beyond 2^53, DECIMAL,
 * BIGNUM, NaN and the infinities. Moments are ISO 8601, or `infinity`; INTERVAL and BIT are DuckDB's text, BLOB and
 * GEOMETRY (as WKB) base64, JSON its text. A MAP is an object if its keys are texts and unique, else a list of
 * `{key, value}`; a UNION is `{tag: value}`; a STRUCT without names is a list, and one with a name that is not unique a
 * list of `{key, value}`. Throws `NoRoom`.
 */
export type CellReader = (row: number, room: Room) => Json;

type Zone = ZoneOffsets | undefined;

/** Readers of the columns of one chunk, valid as long as the chunk is. `zone`: for moments; undefined: UTC. */
export function cellReaders(chunk: DuckDBDataChunk, types: readonly DuckDBType[], zone?: ZoneOffsets): CellReader[] {
  const rows = chunk.rowCount;
  return types.map((type, index) => cellReader(bindings.data_chunk_get_vector(chunk.chunk, index), type, rows, zone));
}

/** DuckDB's name of a type, cut where an ENUM or STRUCT is very long. */
export function typeName(type: DuckDBType): string {
  const name = type.alias ?? type.toString();
  return name.length > MAX_TYPE_NAME ? `${name.slice(0, MAX_TYPE_NAME)}…` : name;
}

const MAX_TYPE_NAME = 500;
const STRING_BYTES = 16;

function cellReader(vector: Vector, type: DuckDBType, count: number, zone: Zone): CellReader {
  if (type instanceof DuckDBListType) return listReader(vector, type.valueType, count, zone);
  if (type instanceof DuckDBMapType) return mapReader(vector, type, count, zone);
  if (type instanceof DuckDBArrayType) return arrayReader(vector, type, count, zone);
  if (type instanceof DuckDBStructType) return structReader(vector, type, count, zone);
  if (type instanceof DuckDBUnionType) return unionReader(vector, type, count, zone);
  if (type.typeId === DuckDBTypeId.VARIANT) return variantReader(vector, type, count, zone);
  if (isText(type)) return textReader(vector, type, count);
  const values = DuckDBVector.create(vector, count, type);
  const float = type.typeId === DuckDBTypeId.FLOAT;
  return (row, room) => {
    const value = values.getItem(row);
    take(room, 1);
    return float && typeof value === "number" ? shortFloat(value) : toJson(value, zone);
  };
}

/** Reads the length before the text, which may be larger than this process can hold. */
function textReader(vector: Vector, type: DuckDBType, count: number): CellReader {
  const values = DuckDBVector.create(vector, count, type);
  const bytes = textLengths(vector, count);
  const valid = validity(vector, count);
  return (row, room) => {
    if (!valid(row)) return take(room, 1, null);
    take(room, bytes(row) + 2);
    return toJson(values.getItem(row));
  };
}

function isText(type: DuckDBType): boolean {
  switch (type.typeId) {
    case DuckDBTypeId.VARCHAR:
    case DuckDBTypeId.BLOB:
    case DuckDBTypeId.BIT:
    case DuckDBTypeId.BIGNUM:
    case DuckDBTypeId.GEOMETRY:
      return true;
    default:
      return false;
  }
}

function listReader(vector: Vector, itemType: DuckDBType, count: number, zone: Zone): CellReader {
  const { entry, size } = entries(vector, count);
  const valid = validity(vector, count);
  const item = lazy(() => cellReader(bindings.list_vector_get_child(vector), itemType, size, zone));
  return (row, room) => {
    if (!valid(row)) return take(room, 1, null);
    const [offset, length] = entry(row);
    take(room, 2 + length);
    return readItems(item(), offset, length, room);
  };
}

function arrayReader(vector: Vector, type: DuckDBArrayType, count: number, zone: Zone): CellReader {
  const valid = validity(vector, count);
  const item = cellReader(bindings.array_vector_get_child(vector), type.valueType, count * type.length, zone);
  return (row, room) => {
    if (!valid(row)) return take(room, 1, null);
    take(room, 2 + type.length);
    return readItems(item, row * type.length, type.length, room);
  };
}

function readItems(item: CellReader, offset: number, length: number, room: Room): Json[] {
  const items: Json[] = [];
  for (let index = 0; index < length; index++) items.push(item(offset + index, room));
  return items;
}

function structReader(vector: Vector, type: DuckDBStructType, count: number, zone: Zone): CellReader {
  const valid = validity(vector, count);
  const fields = type.entryTypes.map((field, index) =>
    cellReader(bindings.struct_vector_get_child(vector, index), field, count, zone),
  );
  const unnamed = type.entryNames.every((name) => name === "");
  return (row, room) => {
    if (!valid(row)) return take(room, 1, null);
    take(room, 2 + fields.length);
    const values = fields.map((field) => field(row, room));
    return unnamed ? values : named(type.entryNames, values);
  };
}

/** A MAP is a LIST of STRUCT(key, value). */
function mapReader(vector: Vector, type: DuckDBMapType, count: number, zone: Zone): CellReader {
  const { entry, size } = entries(vector, count);
  const valid = validity(vector, count);
  const entriesOf = lazy(() => {
    const child = bindings.list_vector_get_child(vector);
    return {
      key: cellReader(bindings.struct_vector_get_child(child, 0), type.keyType, size, zone),
      value: cellReader(bindings.struct_vector_get_child(child, 1), type.valueType, size, zone),
    };
  });
  const isText = type.keyType.typeId === DuckDBTypeId.VARCHAR || type.keyType.typeId === DuckDBTypeId.ENUM;
  return (row, room) => {
    if (!valid(row)) return take(room, 1, null);
    const [offset, length] = entry(row);
    take(room, 2 + 4 * length);
    const keys = readItems(entriesOf().key, offset, length, room);
    const values = readItems(entriesOf().value, offset, length, room);
    return isText ? named(keys.map(String), values) : pairs(keys, values);
  };
}

/** A UNION is a STRUCT of its tag and every member. */
function unionReader(vector: Vector, type: DuckDBUnionType, count: number, zone: Zone): CellReader {
  const tags = DuckDBVector.create(bindings.struct_vector_get_child(vector, 0), count);
  const valid = validity(vector, count);
  const members = type.memberTypes.map((member, index) =>
    cellReader(bindings.struct_vector_get_child(vector, index + 1), member, count, zone),
  );
  return (row, room) => {
    const tag = valid(row) ? tags.getItem(row) : null;
    if (tag === null) return take(room, 1, null);
    take(room, 4);
    const index = Number(tag);
    return object([type.memberTags[index] ?? ""], [members[index]?.(row, room) ?? null]);
  };
}

/** A VARIANT is a STRUCT of keys, children, values and their bytes, which decoding takes memory in proportion to. */
function variantReader(vector: Vector, type: DuckDBType, count: number, zone: Zone): CellReader {
  const values = DuckDBVector.create(vector, count, type);
  const valid = validity(vector, count);
  const nodes = entries(bindings.struct_vector_get_child(vector, 2), count);
  const bytes = textLengths(bindings.struct_vector_get_child(vector, 3), count);
  return (row, room) => {
    if (!valid(row)) return take(room, 1, null);
    take(room, Math.max(nodes.entry(row)[1], bytes(row) / 2));
    return toJson(values.getItem(row), zone);
  };
}

function entries(vector: Vector, count: number): { entry: (row: number) => [number, number]; size: number } {
  const data = bindings.vector_get_data(vector, count * 16);
  const pairs = new BigUint64Array(data.buffer, data.byteOffset, count * 2);
  return {
    entry: (row) => [Number(pairs[row * 2] ?? 0n), Number(pairs[row * 2 + 1] ?? 0n)],
    size: bindings.list_vector_get_size(vector),
  };
}

function textLengths(vector: Vector, count: number): (row: number) => number {
  const data = bindings.vector_get_data(vector, count * STRING_BYTES);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return (row) => view.getUint32(row * STRING_BYTES, LITTLE_ENDIAN);
}

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

function validity(vector: Vector, count: number): (row: number) => boolean {
  // Null when every row is valid, whatever the declared type says.
  const bits: Uint8Array | null = bindings.vector_get_validity(vector, Math.ceil(count / 64) * 8);
  return (row) => bits === null || (((bits[row >> 3] ?? 0) >> (row & 7)) & 1) === 1;
}

function take(room: Room, bytes: number): undefined;
function take(room: Room, bytes: number, value: null): null;
function take(room: Room, bytes: number, value?: null): null | undefined {
  room.left -= bytes;
  if (room.left < 0) throw new NoRoom();
  return value;
}

function lazy<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** An object, or pairs where a key is not unique: Parquet files have such maps. */
function named(keys: readonly string[], values: readonly Json[]): Json {
  return new Set(keys).size === keys.length ? object(keys, values) : pairs(keys, values);
}

function pairs(keys: readonly Json[], values: readonly Json[]): Json {
  return keys.map((key, index) => ({ key, value: values[index] ?? null }));
}

function object(keys: readonly string[], values: readonly Json[]): Json {
  // `fromEntries` defines; assigning to `__proto__` would not.
  return Object.fromEntries(keys.map((key, index) => [key, values[index] ?? null]));
}

/** Any DuckDB value as JSON. */
export function toJson(value: DuckDBValue, zone?: Zone): Json {
  if (value === null || value === undefined) return null;
  switch (typeof value) {
    case "boolean":
    case "string":
      return value;
    case "number":
      return Number.isFinite(value) ? value + 0 : String(value);
    case "bigint":
      return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : String(value);
    default:
      return objectToJson(value, zone);
  }
}

function objectToJson(value: Exclude<DuckDBValue, null | boolean | number | string | bigint>, zone: Zone): Json {
  if (value instanceof DuckDBDateValue) return dateText(value.days);
  if (value instanceof DuckDBTimestampValue) return timestampText(value.micros, 6);
  if (value instanceof DuckDBTimestampTZValue) return timestampTzText(value.micros, zone?.offsetAt(value.micros));
  if (value instanceof DuckDBTimestampSecondsValue) return timestampText(value.seconds, 0);
  if (value instanceof DuckDBTimestampMillisecondsValue) return timestampText(value.millis, 3);
  if (value instanceof DuckDBTimestampNanosecondsValue) return timestampText(value.nanos, 9);
  if (value instanceof DuckDBTimeValue) return timeText(value.micros, 6);
  if (value instanceof DuckDBTimeNSValue) return timeText(value.nanos, 9);
  if (value instanceof DuckDBTimeTZValue) return timeTzText(value.micros, value.offset);
  if (value instanceof DuckDBBlobValue || value instanceof DuckDBGeometryValue) return base64(value.bytes);
  if (value instanceof DuckDBListValue || value instanceof DuckDBArrayValue)
    return value.items.map((item) => toJson(item, zone));
  if (value instanceof DuckDBStructValue)
    return object(
      Object.keys(value.entries),
      Object.values(value.entries).map((item) => toJson(item, zone)),
    );
  if (value instanceof DuckDBMapValue)
    return value.entries.map((pair) => ({ key: toJson(pair.key, zone), value: toJson(pair.value, zone) }));
  if (value instanceof DuckDBUnionValue) return object([value.tag], [toJson(value.value, zone)]);
  if (value instanceof DuckDBVariantValue) return toJson(value.value, zone);
  if (value instanceof DuckDBBitValue) return value.toString();
  // DECIMAL, INTERVAL and UUID.
  return String(value);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/** The shortest decimal number of the same 32-bit float: 0.1 and not 0.10000000149011612. */
function shortFloat(value: number): Json {
  if (!Number.isFinite(value)) return String(value);
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short + 0;
  }
  return Number(value.toPrecision(9)) + 0;
}
