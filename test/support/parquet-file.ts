/** Writes Parquet files piece by piece, also such as no writer makes: every field can be given, changed or left out. */

/** A value in Thrift's compact protocol, with its type. */
export interface Thrift {
  type: number;
  bytes: Buffer;
}

export const i32 = (value: number): Thrift => ({ type: 5, bytes: varint(zigzag(BigInt(value))) });
export const i64 = (value: number | bigint): Thrift => ({ type: 6, bytes: varint(zigzag(BigInt(value))) });
export const i8 = (value: number): Thrift => ({ type: 3, bytes: Buffer.of(value & 0xff) });
export const bool = (value: boolean): Thrift => ({ type: value ? 1 : 2, bytes: Buffer.alloc(0) });
export const binary = (value: string | Uint8Array): Thrift => {
  const bytes = Buffer.from(value as string);
  return { type: 8, bytes: Buffer.concat([varint(BigInt(bytes.length)), bytes]) };
};
export const list = (items: Thrift[], type = items[0]?.type ?? 12): Thrift => {
  const head =
    items.length < 15
      ? Buffer.of((items.length << 4) | type)
      : Buffer.concat([Buffer.of(0xf0 | type), varint(BigInt(items.length))]);
  return { type: 9, bytes: Buffer.concat([head, ...items.map(({ bytes }) => bytes)]) };
};
/** Fields by id; undefined ones are left out. */
export const struct = (fields: Record<number, Thrift | undefined>): Thrift => {
  const parts: Buffer[] = [];
  let last = 0;
  for (const [key, value] of Object.entries(fields)) {
    if (!value) continue;
    const id = Number(key);
    const step = id - last;
    parts.push(
      step > 0 && step < 16
        ? Buffer.of((step << 4) | value.type)
        : Buffer.concat([Buffer.of(value.type), varint(zigzag(BigInt(id)))]),
      value.bytes,
    );
    last = id;
  }
  return { type: 12, bytes: Buffer.concat([...parts, Buffer.of(0)]) };
};

function zigzag(value: bigint): bigint {
  return value < 0n ? -2n * value - 1n : 2n * value;
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left >>= 7n) {
    if (left < 0x80n) return Buffer.from([...bytes, Number(left)]);
    bytes.push(Number(left & 0x7fn) | 0x80);
  }
}

export const TYPE = { BOOLEAN: 0, INT32: 1, INT64: 2, INT96: 3, FLOAT: 4, DOUBLE: 5, BYTE_ARRAY: 6, FIXED: 7 } as const;
export type TypeName = keyof typeof TYPE;

export interface ElementOptions {
  type?: TypeName;
  length?: number;
  /** Default: required. */
  repetition?: "required" | "optional" | "repeated";
  children?: number;
  converted?: number;
  scale?: number;
  precision?: number;
  /** Member of the union `LogicalType`. */
  logical?: Record<number, Thrift>;
}

const REPETITION = { required: 0, optional: 1, repeated: 2 };

/** A `SchemaElement`. */
export function element(name: string, options: ElementOptions = {}): Thrift {
  const { type, length, repetition = "required", children, converted, scale, precision, logical } = options;
  const maybe = (value: number | undefined): Thrift | undefined => (value === undefined ? undefined : i32(value));
  return struct({
    1: type && i32(TYPE[type]),
    2: maybe(length),
    3: i32(REPETITION[repetition]),
    4: binary(name),
    5: maybe(children),
    6: maybe(converted),
    7: maybe(scale),
    8: maybe(precision),
    10: logical && struct(logical),
  });
}

const UNIT = { ms: 1, us: 2, ns: 3 };
export const logical = {
  string: { 1: struct({}) },
  map: { 2: struct({}) },
  list: { 3: struct({}) },
  date: { 6: struct({}) },
  uuid: { 14: struct({}) },
  float16: { 15: struct({}) },
  decimal: (precision: number, scale: number) => ({ 5: struct({ 1: i32(scale), 2: i32(precision) }) }),
  time: (unit: keyof typeof UNIT, utc = false) => ({
    7: struct({ 1: bool(utc), 2: struct({ [UNIT[unit]]: struct({}) }) }),
  }),
  timestamp: (unit: keyof typeof UNIT, utc = false) => ({
    8: struct({ 1: bool(utc), 2: struct({ [UNIT[unit]]: struct({}) }) }),
  }),
  integer: (bits: number, signed: boolean) => ({ 10: struct({ 1: i8(bits), 2: bool(signed) }) }),
};

export interface ChunkOptions {
  type: TypeName;
  path: string[];
  /** As they are in the pages, plainly encoded. */
  values: Buffer;
  count: number;
  /** Levels of a page of version 1, already encoded. */
  levels?: Buffer;
  codec?: number;
  /** Instead of the fields that a page header, the chunk or its metadata would have. */
  page?: Record<number, Thrift | undefined>;
  pageBody?: Record<number, Thrift | undefined>;
  chunk?: Record<number, Thrift | undefined>;
  metadata?: Record<number, Thrift | undefined>;
  /** Bytes before the data page: a dictionary page. */
  before?: Buffer;
}

export interface FileOptions {
  elements: Thrift[];
  chunks: ChunkOptions[];
  rows: number;
  /** Instead of the fields that the footer or the row group would have. */
  footer?: Record<number, Thrift | undefined>;
  group?: Record<number, Thrift | undefined>;
}

/** One row group, one page for each column, nothing compressed. `elements` are those below the root, of which `roots` are columns. */
export function parquetFile({ elements, chunks, rows, footer, group }: FileOptions, roots = chunks.length): Buffer {
  const parts: Buffer[] = [Buffer.from("PAR1")];
  let at = 4;
  const columns = chunks.map((chunk) => {
    const data = Buffer.concat([chunk.levels ?? Buffer.alloc(0), chunk.values]);
    const header = struct({
      1: i32(0),
      2: i32(data.length),
      3: i32(data.length),
      5: struct({ 1: i32(chunk.count), 2: i32(0), 3: i32(3), 4: i32(3), ...chunk.pageBody }),
      ...chunk.page,
    }).bytes;
    const before = chunk.before ?? Buffer.alloc(0);
    const start = at;
    parts.push(before, header, data);
    at += before.length + header.length + data.length;
    const metadata = struct({
      1: i32(TYPE[chunk.type]),
      2: list([i32(0)]),
      3: list(chunk.path.map(binary)),
      4: i32(chunk.codec ?? 0),
      5: i64(chunk.count),
      6: i64(at - start),
      7: i64(at - start),
      9: i64(start + before.length),
      11: before.length > 0 ? i64(start) : undefined,
      ...chunk.metadata,
    });
    return struct({ 2: i64(0), 3: metadata, ...chunk.chunk });
  });
  const end = struct({
    1: i32(1),
    2: list([element("schema", { children: roots }), ...elements]),
    3: i64(rows),
    4: list([struct({ 1: list(columns), 2: i64(at), 3: i64(rows), ...group })]),
    ...footer,
  }).bytes;
  const tail = Buffer.alloc(8);
  tail.writeUInt32LE(end.length);
  tail.write("PAR1", 4, "latin1");
  return Buffer.concat([...parts, end, tail]);
}

/** A file with one required column `c`. `values` are numbers of the physical type, or bytes. */
export function oneColumn(
  type: TypeName,
  options: ElementOptions,
  values: readonly (bigint | number | Buffer | string)[],
  chunk: Partial<ChunkOptions> = {},
): Buffer {
  return parquetFile({
    elements: [element("c", { type, ...options })],
    chunks: [{ type, path: ["c"], values: plain(type, values), count: values.length, ...chunk }],
    rows: values.length,
  });
}

/** Statistics with the smallest and largest value. */
export function statistics(type: TypeName, min: bigint | number | Buffer, max: bigint | number | Buffer): Thrift {
  return struct({ 3: i64(0), 5: binary(plain(type, [max])), 6: binary(plain(type, [min])) });
}

export function plain(type: TypeName, values: readonly (bigint | number | Buffer | string)[]): Buffer {
  return Buffer.concat(
    values.map((value) => {
      if (type === "BYTE_ARRAY") {
        const bytes = Buffer.from(value as string);
        const length = Buffer.alloc(4);
        length.writeUInt32LE(bytes.length);
        return Buffer.concat([length, bytes]);
      }
      if (Buffer.isBuffer(value)) return value;
      const bytes = Buffer.alloc(type === "INT32" || type === "FLOAT" ? 4 : 8);
      if (type === "INT32") bytes.writeInt32LE(Number(value));
      else if (type === "FLOAT") bytes.writeFloatLE(Number(value));
      else if (type === "DOUBLE") bytes.writeDoubleLE(Number(value));
      else bytes.writeBigInt64LE(BigInt(value));
      return bytes;
    }),
  );
}

/** Levels all of which are `level`, as a page of version 1 has them: the length, then one run. */
export function levels(level: number, count: number): Buffer {
  const run = Buffer.concat([varint(BigInt(count << 1)), Buffer.of(level)]);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(run.length);
  return Buffer.concat([length, run]);
}

/** INT96: nanoseconds of the day, then the Julian day. */
export function int96(julian: number, nanos: bigint): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeBigInt64LE(nanos);
  bytes.writeUInt32LE(julian >>> 0, 8);
  return bytes;
}
