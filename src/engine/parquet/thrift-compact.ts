/**
 * The compact protocol of Thrift, in which Parquet writes its footer and page headers. Nothing is trusted: counts and
 * lengths never exceed the bytes that are left, and nesting is bounded.
 * https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
 */
export class ThriftError extends Error {
  /** More bytes could make it right. */
  readonly isShort: boolean;

  constructor(message: string, isShort = false) {
    super(message);
    this.isShort = isShort;
  }
}

export const T = {
  true: 1,
  false: 2,
  byte: 3,
  i16: 4,
  i32: 5,
  i64: 6,
  double: 7,
  binary: 8,
  list: 9,
  set: 10,
  map: 11,
  struct: 12,
} as const;

/** Parquet's own structures nest 8 deep; native readers recurse. */
const MAX_DEPTH = 16;

export class ThriftReader {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  byte(): number {
    const value = this.bytes[this.at];
    if (value === undefined) throw new ThriftError("it ends too early", true);
    this.at += 1;
    return value;
  }

  /** Exact up to 2^53; above that nearly, which no size, count or offset may reach anyway. */
  varint(): number {
    let value = 0;
    let factor = 1;
    for (let read = 0; read < 10; read++) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 0x80;
    }
    throw new ThriftError("a number is longer than 64 bits");
  }

  /** A signed 16, 32 or 64-bit number. */
  int(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  binary(): Uint8Array {
    const length = this.varint();
    const end = this.at + length;
    if (end > this.bytes.length) throw new ThriftError("a text is longer than what is left", true);
    const value = this.bytes.subarray(this.at, end);
    this.at = end;
    return value;
  }

  list(): { type: number; count: number } {
    const head = this.byte();
    const count = head >> 4 === 15 ? this.varint() : head >> 4;
    if (count > this.bytes.length - this.at) throw new ThriftError("a list is longer than what is left", true);
    return { type: head & 15, count };
  }

  /**
   * Calls `read` for each field of the struct that begins here; what it does not read, for which it returns false, is
   * skipped. A boolean has its value as its type.
   */
  struct(read: (id: number, type: number) => boolean, depth = 0): void {
    if (depth > MAX_DEPTH) throw new ThriftError("it is nested too deep");
    for (let field = this.field(0); field; field = this.field(field.id)) {
      if (!read(field.id, field.type)) this.skip(field.type, depth + 1);
    }
  }

  /** The head of the field that follows the field `last`; undefined at the end of the struct. */
  field(last: number): { id: number; type: number } | undefined {
    const head = this.byte();
    if (head === 0) return undefined;
    return { id: head >> 4 === 0 ? this.int() : last + (head >> 4), type: head & 15 };
  }

  /** Goes past a value; a boolean field has none. */
  skip(type: number, depth = 0): void {
    if (depth > MAX_DEPTH) throw new ThriftError("it is nested too deep");
    switch (type) {
      case T.true:
      case T.false:
        return;
      case T.byte:
        this.byte();
        return;
      case T.i16:
      case T.i32:
      case T.i64:
        this.varint();
        return;
      case T.double:
        this.forward(8);
        return;
      case T.binary:
        this.binary();
        return;
      case T.list:
      case T.set: {
        const { type: inner, count } = this.list();
        for (let index = 0; index < count; index++) this.skipElement(inner, depth + 1);
        return;
      }
      case T.map: {
        const count = this.varint();
        if (count > this.bytes.length - this.at) throw new ThriftError("a map is longer than what is left", true);
        if (count === 0) return;
        const types = this.byte();
        for (let index = 0; index < count; index++) {
          this.skipElement(types >> 4, depth + 1);
          this.skipElement(types & 15, depth + 1);
        }
        return;
      }
      case T.struct:
        this.struct(() => false, depth);
        return;
      default:
        throw new ThriftError(`${type} is no type of a field`);
    }
  }

  /** In a list or map, where a boolean takes a byte. */
  skipElement(type: number, depth: number): void {
    if (type === T.true || type === T.false) this.byte();
    else this.skip(type, depth);
  }

  private forward(bytes: number): void {
    if (this.at + bytes > this.bytes.length) throw new ThriftError("it ends too early", true);
    this.at += bytes;
  }
}

/** A field as it is, unread: what a rewritten struct keeps. */
export interface RawField {
  id: number;
  type: number;
  value: Uint8Array;
}

/** The fields of the struct that begins at the reader, each with its bytes. */
export function rawFields(reader: ThriftReader): RawField[] {
  const fields: RawField[] = [];
  reader.struct((id, type) => {
    const from = reader.at;
    reader.skip(type);
    fields.push({ id, type, value: reader.bytes.subarray(from, reader.at) });
    return true;
  });
  return fields;
}

export function writeStruct(fields: readonly RawField[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let last = 0;
  for (const { id, type, value } of fields) {
    const step = id - last;
    parts.push(step > 0 && step < 16 ? Uint8Array.of((step << 4) | type) : concat([Uint8Array.of(type), intBytes(id)]));
    parts.push(value);
    last = id;
  }
  parts.push(Uint8Array.of(0));
  return concat(parts);
}

export function writeList(type: number, elements: readonly Uint8Array[]): Uint8Array {
  const { length } = elements;
  const head =
    length < 15 ? Uint8Array.of((length << 4) | type) : concat([Uint8Array.of(0xf0 | type), varintBytes(length)]);
  return concat([head, ...elements]);
}

export function intBytes(value: number): Uint8Array {
  return varintBytes(value < 0 ? -2 * value - 1 : 2 * value);
}

export function textBytes(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  return concat([varintBytes(bytes.length), bytes]);
}

function varintBytes(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 0x80)) {
    if (left < 0x80) return Uint8Array.from([...bytes, left]);
    bytes.push((left % 0x80) | 0x80);
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}
