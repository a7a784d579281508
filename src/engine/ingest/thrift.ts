/**
 * Thrift's compact protocol, as far as Parquet footers need it: any struct as a map that can be changed and written again.
 * https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
 */
export type StructValue = Map<number, Field>;
export interface ListValue {
  type: number;
  items: Value[];
}
export type Value = bigint | boolean | Buffer | ListValue | StructValue;
export interface Field {
  type: number;
  value: Value;
}

const [TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, STRUCT] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12];

export function decodeStruct(bytes: Buffer): StructValue {
  return readStruct({ bytes, at: 0 });
}

interface Cursor {
  bytes: Buffer;
  at: number;
}

function readStruct(cursor: Cursor): StructValue {
  const fields: StructValue = new Map();
  for (let id = 0; ; ) {
    const head = readByte(cursor);
    if (head === 0) return fields;
    const type = head & 0x0f;
    id = head >> 4 === 0 ? Number(zigzag(readVarint(cursor))) : id + (head >> 4);
    const isBoolean = type === TRUE || type === FALSE;
    fields.set(id, { type, value: isBoolean ? type === TRUE : readValue(cursor, type) });
  }
}

function readValue(cursor: Cursor, type: number): Value {
  switch (type) {
    case TRUE:
    case FALSE:
      return readByte(cursor) === TRUE;
    case BYTE:
      return BigInt(readByte(cursor));
    case I16:
    case I32:
    case I64:
      return zigzag(readVarint(cursor));
    case DOUBLE:
      return readBytes(cursor, 8);
    case BINARY:
      return readBytes(cursor, Number(readVarint(cursor)));
    case LIST:
    case SET: {
      const head = readByte(cursor);
      const length = head >> 4 === 15 ? Number(readVarint(cursor)) : head >> 4;
      return { type: head & 0x0f, items: Array.from({ length }, () => readValue(cursor, head & 0x0f)) };
    }
    case STRUCT:
      return readStruct(cursor);
    default:
      throw new RangeError(`Thrift type ${type} is not known.`);
  }
}

function readByte(cursor: Cursor): number {
  return cursor.bytes.readUInt8(cursor.at++);
}

function readBytes(cursor: Cursor, length: number): Buffer {
  cursor.at += length;
  if (cursor.at > cursor.bytes.length) throw new RangeError("A Thrift text ends too early.");
  return cursor.bytes.subarray(cursor.at - length, cursor.at);
}

function readVarint(cursor: Cursor): bigint {
  let value = 0n;
  for (let shift = 0n; ; shift += 7n) {
    const byte = readByte(cursor);
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

function zigzag(value: bigint): bigint {
  return (value >> 1n) ^ -(value & 1n);
}

export function encodeStruct(fields: StructValue): Buffer {
  const parts: Buffer[] = [];
  writeStruct(parts, fields);
  return Buffer.concat(parts);
}

function writeStruct(parts: Buffer[], fields: StructValue): void {
  let last = 0;
  for (const [id, { type, value }] of fields) {
    const isBoolean = type === TRUE || type === FALSE;
    const written = isBoolean ? (value === true ? TRUE : FALSE) : type;
    const step = id - last;
    if (step > 0 && step < 16) parts.push(Buffer.from([(step << 4) | written]));
    else parts.push(Buffer.from([written]), varint(fromSigned(BigInt(id))));
    last = id;
    if (!isBoolean) writeValue(parts, type, value);
  }
  parts.push(Buffer.from([0]));
}

function writeValue(parts: Buffer[], type: number, value: Value): void {
  if (typeof value === "boolean") parts.push(Buffer.from([value ? TRUE : FALSE]));
  else if (typeof value === "bigint")
    parts.push(type === BYTE ? Buffer.from([Number(value)]) : varint(fromSigned(value)));
  else if (Buffer.isBuffer(value)) parts.push(...(type === BINARY ? [varint(BigInt(value.length))] : []), value);
  else if (value instanceof Map) writeStruct(parts, value);
  else {
    const { length } = value.items;
    const short = length < 15;
    parts.push(Buffer.from([((short ? length : 15) << 4) | value.type]), ...(short ? [] : [varint(BigInt(length))]));
    for (const item of value.items) writeValue(parts, value.type, item);
  }
}

function fromSigned(value: bigint): bigint {
  return value < 0n ? (-value << 1n) - 1n : value << 1n;
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 0x80n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 0x7fn) | 0x80);
  }
}
