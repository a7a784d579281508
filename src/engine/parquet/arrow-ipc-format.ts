import { Refusal } from "../kernel/refusal.ts";
import { ArrowFormatError } from "./arrow-errors.ts";
import { type FlatTable, readFlat } from "./flatbuffer.ts";

/**
 * The outer layer of Arrow IPC: messages and the schema, read from their flatbuffers. Pure; throws `RangeError` or
 * `ArrowFormatError` on what is not Arrow. https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
 */
export type ArrowMessage = { bodyLength: number } & (
  | { kind: "schema"; schema: FlatTable }
  | { kind: "dictionary"; id: string; isDelta: boolean; batch: BatchHeader }
  | { kind: "batch"; batch: BatchHeader }
  | { kind: "other" }
);

/** Of a record batch, or of the values of a dictionary. */
export interface BatchHeader {
  rows: number;
  compression: "none" | "lz4" | "zstd";
  layout(): BatchLayout;
}

/** Where the parts of a record batch or dictionary are in its body. */
export interface BatchLayout {
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

const MESSAGE_KINDS = ["other", "schema", "dictionary", "batch"] as const;
const TYPES =
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

/** Reads the flatbuffer of a message. */
export function readMessage(metadata: Uint8Array): ArrowMessage {
  const message = readFlat(metadata);
  const kind = MESSAGE_KINDS[message.byte(1, 0)] ?? "other";
  const bodyLength = message.long(3);
  if (kind === "other") return { kind, bodyLength };
  checkVersion(message.short(0, 0));
  const header = message.table(2);
  if (!header) throw new ArrowFormatError("a message without its header");
  if (kind === "schema") return { kind, bodyLength, schema: header };
  if (kind === "batch") return { kind, bodyLength, batch: batchHeader(header) };
  const batch = batchHeader(header.table(1));
  return { kind, bodyLength, id: String(header.long(0)), isDelta: header.byte(2, 0) === 1, batch };
}

function batchHeader(batch: FlatTable | undefined): BatchHeader {
  if (!batch) throw new ArrowFormatError("a message without its header");
  const rows = batch.long(0);
  if (rows < 0) throw new ArrowFormatError("a message has a negative length");
  const codec = batch.table(3);
  return {
    rows,
    compression: !codec ? "none" : codec.byte(0, 0) === 0 ? "lz4" : "zstd",
    layout: () => ({ nodes: batch.longPairs(1), buffers: batch.longPairs(2), variadicCounts: batch.longs(4) }),
  };
}

function checkVersion(version: number): void {
  if (version >= MIN_VERSION) return;
  throw new Refusal("invalid", "is of an Arrow version before 0.8.", "Write it again with a newer one, or as Parquet.");
}

/** The footer of an Arrow file: its schema, and where its messages are. */
export function readFooter(footer: Uint8Array): { schema: FlatTable; dictionaries: number[]; batches: number[] } {
  const table = readFlat(footer);
  const schema = table.table(1);
  if (!schema) throw new ArrowFormatError("a footer without a schema");
  checkVersion(table.short(0, 0));
  return { schema, dictionaries: table.blockOffsets(2), batches: table.blockOffsets(3) };
}

export function readSchema(schema: FlatTable): ArrowField[] {
  const budget = { fields: MAX_FIELDS };
  return schema.tables(1).map((field) => readField(field, [], budget));
}

export function isBigEndian(schema: FlatTable): boolean {
  return schema.short(0, 0) === 1;
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
