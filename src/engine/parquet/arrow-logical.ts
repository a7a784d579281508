import {
  Binary,
  BinaryView,
  Bool,
  type DataType,
  DateDay,
  Decimal,
  FixedSizeBinary,
  Float,
  Int,
  Precision,
  Time,
  Timestamp,
  TimeUnit,
  Utf8,
  Utf8View,
} from "apache-arrow";
import { Refusal } from "../kernel/refusal.ts";
import { type BatchReader, readBits, readBytes, readFixed, readViews } from "./arrow-batch.ts";
import { allocate, type Column, column } from "./arrow-column.ts";
import { ArrowFormatError } from "./arrow-errors.ts";
import type { ArrowField } from "./arrow-ipc-format.ts";
import { arrowTypeName, shortUnit, timeBits } from "./arrow-names.ts";
import type { Plan, Planning } from "./arrow-planning.ts";
import {
  bitsOfBytes,
  checkDates,
  checkMoments,
  checkTimes,
  daysOfMillis,
  decimals,
  intervalText,
  microsOfSeconds,
  millisOfSeconds,
  type Refuse,
  texts,
  uuidText,
} from "./arrow-values.ts";

/** Extension types that arrive as what they are. */
export const KEPT_EXTENSIONS: ReadonlySet<string> = new Set(["arrow.uuid", "arrow.json", "arrow.bool8"]);

const MOST_DIGITS = 38;
const UTC = /^(?:utc|z|gmt|etc\/utc|[+-]00:?00)$/i;
const CORRECT = "Correct the value, or write the column as text.";

/** How a field without children is read. Throws `Refusal`, naming it, when nothing holds all of its values. */
export function planLogical(field: ArrowField, planning: Planning): Plan {
  const about = aboutField(field, planning);
  const { type } = field;
  switch (type.kind) {
    case "Null":
      return plan(new Utf8(), "VARCHAR", ({ node, memory }) => {
        const { length } = node();
        const validity = allocate(memory, Math.ceil(length / 8));
        return column("bytes", length, { validity, offsets: allocate(memory, 4 * (length + 1)) });
      });
    case "Bool":
      return plan(new Bool(), "BOOLEAN", readBits);
    case "Int":
      return planInteger(field, about);
    case "FloatingPoint":
      return planFloat(field);
    case "Utf8":
    case "LargeUtf8":
      return asText(
        field,
        plan(new Utf8(), "VARCHAR", (batch) => readBytes(batch, type.kind === "LargeUtf8")),
      );
    case "Utf8View":
      return asText(field, plan(new Utf8View(), "VARCHAR", readViews));
    case "Binary":
    case "LargeBinary":
      return plan(new Binary(), "BLOB", (batch) => readBytes(batch, type.kind === "LargeBinary"));
    case "BinaryView":
      return plan(new BinaryView(), "BLOB", readViews);
    case "FixedSizeBinary":
      return planFixedBinary(field);
    case "Decimal":
      return planDecimal(field, about);
    case "Date":
      return planDate(field, about);
    case "Time":
      return planTime(field, about);
    case "Timestamp":
      return planTimestamp(field, about);
    case "Duration":
      about.tell("BIGINT", `Parquet has no durations: the numbers count ${type.unit}s.`);
      return plan(new Int(true, 64), "BIGINT", (batch) => readFixed(batch, 8));
    case "Interval":
      return planInterval(field, about);
    default:
      throw new Refusal(
        "invalid",
        `: column ${about.path} has the Arrow type ${arrowTypeName(field)}, which has no Parquet form.`,
        type.kind === "Union"
          ? "Write it as a struct with a field for each member, or as text."
          : "Write it as another type, or leave it out.",
      );
  }
}

/** Who speaks of a field. */
interface About {
  path: string;
  refuse: Refuse;
  tell(to: string, reason: string): void;
  tellInfinity(to: string): () => void;
}

function aboutField(field: ArrowField, { path, converted }: Planning): About {
  const name = path.join(".");
  const tell: About["tell"] = (to, reason) => {
    converted.push({ column: name, from: arrowTypeName(field), to, reason });
  };
  return {
    path: JSON.stringify(name),
    refuse: (value, why) => {
      const message = `: column ${JSON.stringify(name)} is a ${arrowTypeName(field)} and holds ${value}, which ${why}.`;
      throw new Refusal("invalid", message, CORRECT);
    },
    tell,
    tellInfinity: (to) => {
      let isTold = false;
      return () => {
        if (!isTold) tell(to, "The least and the greatest number are -infinity and infinity.");
        isTold = true;
      };
    },
  };
}

function plan(out: DataType, duck: string, read: (batch: BatchReader) => Column): Plan {
  return { out, duck, read };
}

function planInteger({ type: { bits, isSigned }, extension }: ArrowField, { path, refuse }: About): Plan {
  // Not in the format, but polars writes them. Parquet has none either.
  if (bits === 128 && isSigned) {
    return plan(new Decimal(0, MOST_DIGITS), `DECIMAL(${MOST_DIGITS},0)`, (batch) =>
      decimals(readFixed(batch, 16), MOST_DIGITS, 0, batch.memory, refuse),
    );
  }
  const name = { 8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT" }[bits];
  if (name === undefined) {
    const message = `: column ${path} has integers of ${bits} bits, which Arrow does not have.`;
    throw new Refusal("invalid", message, "Write it as int64, decimal128(38, 0) or text.");
  }
  if (extension?.name === "arrow.bool8" && bits === 8) {
    return plan(new Bool(), "BOOLEAN", (batch) => bitsOfBytes(readFixed(batch, 1), batch.memory));
  }
  return plan(new Int(isSigned, bits as 8 | 16 | 32 | 64), isSigned ? name : `U${name}`, (batch) =>
    readFixed(batch, bits / 8),
  );
}

function planFloat({ type: { bits } }: ArrowField): Plan {
  const precision = { 16: Precision.HALF, 32: Precision.SINGLE, 64: Precision.DOUBLE }[bits];
  if (precision === undefined) throw new ArrowFormatError("floats of an unknown size");
  const duck = bits === 64 ? "DOUBLE" : "FLOAT";
  return plan(new Float(precision), duck, (batch) => readFixed(batch, bits / 8));
}

function asText({ extension }: ArrowField, text: Plan): Plan {
  return extension?.name === "arrow.json" ? { ...text, cast: "JSON" } : text;
}

function planFixedBinary({ type: { size }, extension }: ArrowField): Plan {
  if (size < 0) throw new ArrowFormatError("values of a negative size");
  if (extension?.name === "arrow.uuid" && size === 16) {
    const read = (batch: BatchReader): Column => {
      const values = readFixed(batch, 16);
      return texts(values, batch.memory, uuidText(values));
    };
    return { ...plan(new Utf8(), "VARCHAR", read), cast: "UUID" };
  }
  if (size > 0) return plan(new FixedSizeBinary(size), "BLOB", (batch) => readFixed(batch, size));
  return plan(new Binary(), "BLOB", (batch) => {
    const values = readFixed(batch, 0);
    return texts(values, batch.memory, () => "");
  });
}

/** DuckDB has 38 digits, of which no more can be after the point than there are, and none before the first. */
function planDecimal({ type }: ArrowField, { path, refuse }: About): Plan {
  const { bits, precision, scale } = type;
  if (![32, 64, 128, 256].includes(bits) || precision < 1 || precision > 76) {
    throw new ArrowFormatError(`decimals of ${precision} digits in ${bits} bits`);
  }
  const shift = Math.max(0, -scale);
  const digits = Math.max(precision + shift, scale);
  if (digits > MOST_DIGITS) {
    const message = `: column ${path} is a decimal${bits}(${precision}, ${scale}), a decimal of ${digits} digits; 38 fit.`;
    throw new Refusal("invalid", message, "Write it as decimal128(38, s) or as text.");
  }
  const point = Math.max(0, scale);
  return plan(new Decimal(point, digits), `DECIMAL(${digits},${point})`, (batch) =>
    decimals(readFixed(batch, bits / 8), precision, shift, batch.memory, refuse),
  );
}

function planDate({ type: { unit } }: ArrowField, { refuse, tellInfinity }: About): Plan {
  const infinity = tellInfinity("DATE");
  return plan(new DateDay(), "DATE", (batch) =>
    unit === "day"
      ? checkDates(readFixed(batch, 4), refuse, infinity)
      : daysOfMillis(readFixed(batch, 8), batch.memory, refuse),
  );
}

const TICKS: Record<string, number> = { s: 1, ms: 1e3, us: 1e6, ns: 1e9 };
const UNITS: Record<string, TimeUnit> = {
  ms: TimeUnit.MILLISECOND,
  us: TimeUnit.MICROSECOND,
  ns: TimeUnit.NANOSECOND,
};

function planTime({ type }: ArrowField, { refuse }: About): Plan {
  const unit = shortUnit(type);
  const bits = timeBits(type);
  const stored = unit === "s" ? "ms" : unit;
  return plan(new Time(UNITS[stored] ?? TimeUnit.MILLISECOND, bits), unit === "ns" ? "TIME_NS" : "TIME", (batch) => {
    const times = readFixed(batch, bits / 8);
    return unit === "s" ? millisOfSeconds(times, batch.memory, refuse) : checkTimes(times, TICKS[unit] ?? 1, refuse);
  });
}

/** DuckDB has no nanoseconds with a zone, so those lose the zone, which is told, and not their digits. */
function planTimestamp({ type }: ArrowField, { refuse, tell, tellInfinity }: About): Plan {
  const { zone } = type;
  const unit = shortUnit(type);
  const isZoned = zone !== "";
  const duck = unit === "ns" ? "TIMESTAMP_NS" : isZoned ? "TIMESTAMP WITH TIME ZONE" : "TIMESTAMP";
  if (isZoned && unit === "ns") {
    tell(duck, "DuckDB has nanoseconds only without a time zone: the values are in UTC, with all their digits.");
  } else if (isZoned && !UTC.test(zone)) {
    tell(duck, "The moments are the same, kept in UTC; the name of the zone is not kept.");
  }
  const infinity = tellInfinity(duck);
  const stored = unit === "s" ? "us" : unit;
  const out = new Timestamp(UNITS[stored] ?? TimeUnit.MICROSECOND, isZoned && unit !== "ns" ? "UTC" : undefined);
  const planned = plan(out, duck, (batch) => {
    const moments = readFixed(batch, 8);
    return unit === "s"
      ? microsOfSeconds(moments, batch.memory, refuse, infinity)
      : checkMoments(moments, unit as "ms" | "us" | "ns", refuse, infinity);
  });
  return isZoned && unit === "ns" ? { ...planned, isZonedNanos: true } : planned;
}

/** Parquet's own counts whole milliseconds and cannot be negative. */
function planInterval({ type: { unit } }: ArrowField, { tell }: About): Plan {
  tell("VARCHAR", "Parquet would round intervals: they are texts such as 1 year 2 months 3 days 04:05:06.");
  const width = { month: 4, day_time: 8, month_day_nano: 16 }[unit];
  if (width === undefined) throw new ArrowFormatError("an interval of an unknown unit");
  return plan(new Utf8(), "VARCHAR", (batch) => {
    const values = readFixed(batch, width);
    return texts(values, batch.memory, intervalText(values, unit));
  });
}
