import { Refusal } from "../kernel/refusal.ts";
import { ArrowFormatError } from "./arrow-errors.ts";
import { type FlatTable, readFlat } from "./flatbuffer.ts";

/**
 * The outer layer of Arrow IPC: messages and the schema, read from their flatbuffers. Pure; throws `RangeError` or
 * `ArrowFormatError` on what is not Arrow. https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
 */
export interface ArrowMessage {
  kind: "schema" | "dictionary" | "batch" | "other";
  bodyLength: number;
  /** Of a record batch or a dictionary. */
  rows: number;
  dictionaryId: string;
  isDelta: boolean;
  compression: "none" | "lz4" | "zstd";
}

/** Where the parts of a record batch or dictionary are in its body. */
export interface BatchLayout {
  rows: number;
  nodes: [length: number, nulls: number][];
  buffers: [offset: number, length: number][];
  variadicCounts: number[];
}

export interface ArrowField {
  name: string;
  type: ArrowType;
  dictionary: { id: string; bits: number; isSigned: boolean } | undefined;
  extension: { name: string; metadata: string } | undefined;
  children: ArrowField[];
}

/** `kind` is the name in the format's Schema.fbs; for a dictionary, of its values. What a kind does not have is 0 or "". */
export interface ArrowType {
  kind: string;
  unit: string;
  /** Of integers, floats, decimals. */
  bits: number;
  isSigned: boolean;
  precision: number;
  scale: number;
  /** Bytes of a fixed-size binary, items of a fixed-size list. */
  size: number;
  zone: string;
}

export const MESSAGE_KINDS = ["other", "schema", "dictionary", "batch"] as const;
export const TYPES =
  "? Null Int FloatingPoint Binary Utf8 Bool Decimal Date Time Timestamp Interval List Struct Union FixedSizeBinary FixedSizeList Map Duration LargeBinary LargeUtf8 LargeList RunEndEncoded BinaryView Utf8View ListView LargeListView".split(
    " ",
  );
const TIME_UNITS = ["second", "millisecond", "microsecond", "nanosecond"];
const UNITS: Record<string, string[]> = {
  Date: ["day", "millisecond"],
  Time: TIME_UNITS,
  Timestamp: TIME_UNITS,
  Duration: TIME_UNITS,
  Interval: ["month", "day_time", "month_day_nano"],
};
/** Schema.fbs defaults of `unit`, which the encoding leaves out. */
const DEFAULT_UNITS: Record<string, number> = { Date: 1, Time: 1, Duration: 1 };
/** Of a FloatingPoint, by its precision. */
const FLOAT_BITS = [16, 32, 64];
/** Reading lists in lists back from Parquet takes DuckDB twice as long with every level. */
const MAX_DEPTH = 16;
const MAX_FIELDS = 100_000;
/** The first metadata version with the layout of today, V4 of 2018. */
const MIN_VERSION = 3;

/** The header of the message whose flatbuffer `metadata` is. */
export function readMessage(metadata: Uint8Array): ArrowMessage {
  const message = readFlat(metadata);
  const kind = MESSAGE_KINDS[message.byte(1, 0)] ?? "other";
  const header = message.table(2);
  const batch = kind === "dictionary" ? header?.table(1) : kind === "batch" ? header : undefined;
  if ((kind === "batch" || kind === "dictionary") && !batch) throw new ArrowFormatError("a message without its header");
  if (kind !== "other" && message.short(0, 0) < MIN_VERSION) {
    throw new Refusal(
      "invalid",
      "is of an Arrow version before 0.8.",
      "Write it again with a newer one, or as Parquet.",
    );
  }
  const codec = batch?.table(3);
  return {
    kind,
    bodyLength: message.long(3),
    rows: batch?.long(0) ?? 0,
    dictionaryId: kind === "dictionary" ? String(header?.long(0) ?? 0) : "",
    isDelta: kind === "dictionary" && header?.byte(2, 0) === 1,
    compression: !codec ? "none" : codec.byte(0, 0) === 0 ? "lz4" : "zstd",
  };
}

/** The layout of a record batch or dictionary message. */
export function readBatch(metadata: Uint8Array): BatchLayout {
  const message = readFlat(metadata);
  const header = message.table(2);
  const batch = message.byte(1, 0) === 2 ? header?.table(1) : header;
  if (!batch) throw new ArrowFormatError("a message without its header");
  return {
    rows: batch.long(0),
    nodes: batch.longPairs(1),
    buffers: batch.longPairs(2),
    variadicCounts: batch.longs(4),
  };
}

/** The footer of an Arrow file: where its messages are, and its schema as a message of its own. */
export function readFooter(footer: Uint8Array): { schema: Uint8Array; dictionaries: number[]; batches: number[] } {
  const table = readFlat(footer);
  const schema = table.table(1);
  if (!schema) throw new ArrowFormatError("a footer without a schema");
  return {
    schema: wrapSchema(footer, schema.at, table.short(0, 0)),
    dictionaries: table.blockOffsets(2),
    batches: table.blockOffsets(3),
  };
}

/**
 * A schema message around the schema at `at` in `footer`. Offsets in a flatbuffer are relative, so the footer goes in
 * whole, behind a message table that points into it.
 */
function wrapSchema(footer: Uint8Array, at: number, version: number): Uint8Array {
  const prefix = new DataView(new ArrayBuffer(32));
  prefix.setUint32(0, 16, true);
  // The table's layout, at 4: its size and the table's, then where version, header type and header are in the table.
  for (const [index, word] of [10, 12, 4, 6, 8].entries()) prefix.setUint16(4 + 2 * index, word, true);
  prefix.setInt32(16, 16 - 4, true);
  prefix.setInt16(20, version, true);
  prefix.setUint8(22, MESSAGE_KINDS.indexOf("schema"));
  prefix.setUint32(24, 32 + at - 24, true);
  return Buffer.concat([new Uint8Array(prefix.buffer), footer]);
}

/** Fields of a schema message. */
export function readSchema(metadata: Uint8Array): ArrowField[] {
  const budget = { fields: MAX_FIELDS };
  return schemaOf(metadata)
    .tables(1)
    .map((field) => readField(field, [], budget));
}

export function isBigEndian(metadata: Uint8Array): boolean {
  return schemaOf(metadata).short(0, 0) === 1;
}

function schemaOf(metadata: Uint8Array): FlatTable {
  const schema = readFlat(metadata).table(2);
  if (!schema) throw new ArrowFormatError("a schema message without a schema");
  return schema;
}

/** The encoding lets fields share children, so a small schema could stand for an endless one: hence the budget. */
function readField(field: FlatTable, above: string[], budget: { fields: number }): ArrowField {
  if (above.length > MAX_DEPTH) {
    const message = `: column ${JSON.stringify(above[0])} nests its types deeper than ${MAX_DEPTH} levels.`;
    throw new Refusal("invalid", message, "Write the inner levels as JSON text.");
  }
  budget.fields -= 1;
  if (budget.fields < 0) {
    throw new Refusal("limit", `has more than ${MAX_FIELDS} fields.`, "Write it as several files with fewer columns.");
  }
  const name = field.text(0);
  const encoding = field.table(4);
  const index = encoding?.table(1);
  return {
    name,
    type: readType(TYPES[field.byte(2, 0)] ?? "?", field.table(3)),
    dictionary: encoding && {
      id: String(encoding.long(0)),
      bits: index?.int(0, 0) ?? 32,
      isSigned: index ? index.byte(1, 0) === 1 : true,
    },
    extension: readExtension(field),
    children: field.tables(5).map((child) => readField(child, [...above, name], budget)),
  };
}

function readType(kind: string, type: FlatTable | undefined): ArrowType {
  const units = UNITS[kind];
  const isFloat = kind === "FloatingPoint";
  return {
    kind,
    unit: units?.[type?.short(0, DEFAULT_UNITS[kind] ?? 0) ?? 0] ?? "",
    bits:
      kind === "Decimal"
        ? (type?.int(2, 128) ?? 128)
        : isFloat
          ? (FLOAT_BITS[type?.short(0, 0) ?? 0] ?? 0)
          : kind === "Int"
            ? (type?.int(0, 0) ?? 0)
            : 0,
    isSigned: kind === "Int" && type?.byte(1, 0) === 1,
    precision: kind === "Decimal" ? (type?.int(0, 0) ?? 0) : 0,
    scale: kind === "Decimal" ? (type?.int(1, 0) ?? 0) : 0,
    size: kind === "FixedSizeBinary" || kind === "FixedSizeList" ? (type?.int(0, 0) ?? 0) : 0,
    zone: kind === "Timestamp" && type?.has(1) ? type.text(1) : "",
  };
}

/** Other metadata may hold anything, and says nothing about the values. */
function readExtension(field: FlatTable): ArrowField["extension"] {
  const texts = new Map<string, string>();
  for (const pair of field.tables(6)) {
    const key = Buffer.from(pair.bytes(0)).toString("latin1");
    if (key.startsWith("ARROW:extension:")) texts.set(key.slice(16), Buffer.from(pair.bytes(1)).toString("utf8"));
  }
  const name = texts.get("name");
  return name === undefined || name === "" ? undefined : { name, metadata: texts.get("metadata") ?? "" };
}
