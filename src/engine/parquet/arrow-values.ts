import {
  allocate,
  type Column,
  column,
  int32s,
  int64s,
  isValid,
  type Memory,
  numbers,
  setBit,
} from "./arrow-column.ts";

/**
 * Values of Arrow's logical types, as what Parquet and DuckDB hold of them. Every value is looked at: none outside of its
 * type reaches native code, and none is rounded. `refuse` throws, naming the column and the value.
 */
export type Refuse = (value: string, why: string) => never;

const DAY_MS = 86_400_000;
/** DuckDB's least moment in microseconds; its greatest number stands for infinity. */
const LEAST_MICROS = -9_223_372_022_400_000_000n;
const MOST_MICROS = 2n ** 63n - 2n;
const INFINITY = 2n ** 63n - 1n;
/** The first whole day that fits in nanoseconds. */
const LEAST_NANOS = -9_223_286_400_000_000_000n;
const BEYOND = "is beyond what a moment can be in DuckDB";

/** Calls `check` with every value that is not NULL. */
function each(column: Column, check: (value: number, index: number) => void): void {
  const value = numbers(column.data, column.width, true);
  for (let index = 0; index < column.length; index++) {
    if (isValid(column, index)) check(value(index), index);
  }
}

/** Times of day; 24:00:00 is one in DuckDB. */
export function checkTimes(times: Column, ticksPerSecond: number, refuse: Refuse): Column {
  const most = 86_400 * ticksPerSecond;
  each(times, (value, index) => {
    if (value < 0 || value > most) refuse(exact(times, index), "is no time of a day");
  });
  return times;
}

/** Days since 1970. The numbers that DuckDB has for infinity it writes to Arrow, too: `tellInfinity` hears of them. */
export function checkDates(dates: Column, refuse: Refuse, tellInfinity: () => void): Column {
  each(dates, (value) => {
    if (value === -(2 ** 31)) refuse(String(value), "is beyond what a date can be in DuckDB");
    if (Math.abs(value) === 2 ** 31 - 1) tellInfinity();
  });
  return dates;
}

export function daysOfMillis(moments: Column, memory: Memory, refuse: Refuse): Column {
  const data = allocate(memory, moments.length * 4);
  const days = int32s(data);
  each(moments, (value, index) => {
    const day = value / DAY_MS;
    if (!Number.isInteger(day))
      refuse(`${exact(moments, index)} ms`, "is not a whole day; as a timestamp[ms] it can be kept");
    if (Math.abs(day) >= 2 ** 31 - 1) refuse(exact(moments, index), "is beyond what a date can be in DuckDB");
    days[index] = day;
  });
  return column("fixed", moments.length, { validity: moments.validity, width: 4, data });
}

export function checkMoments(
  moments: Column,
  unit: "ms" | "us" | "ns",
  refuse: Refuse,
  tellInfinity: () => void,
): Column {
  const [least, most] =
    unit === "ns"
      ? [LEAST_NANOS, MOST_MICROS]
      : unit === "us"
        ? [LEAST_MICROS, MOST_MICROS]
        : [LEAST_MICROS / 1000n, MOST_MICROS / 1000n];
  // Doubles are exact enough to tell which values are near the ends.
  const near = Number(most) * 0.99;
  let values: BigInt64Array | undefined;
  each(moments, (value, index) => {
    if (Math.abs(value) < near) return;
    values ??= int64s(moments.data);
    const whole = values[index] ?? 0n;
    if (isInfinite(whole)) tellInfinity();
    else if (whole < least || whole > most) refuse(String(whole), BEYOND);
  });
  return moments;
}

/** In any unit: DuckDB writes them to Arrow as they are. */
function isInfinite(moment: bigint): boolean {
  return moment === INFINITY || moment === -INFINITY;
}

/** Seconds as microseconds. */
export function microsOfSeconds(moments: Column, memory: Memory, refuse: Refuse, tellInfinity: () => void): Column {
  const data = allocate(memory, moments.length * 8);
  const micros = int64s(data);
  let seconds: BigInt64Array | undefined;
  each(moments, (value, index) => {
    // No double tells the greatest numbers apart.
    if (Math.abs(value) === Number(INFINITY)) {
      seconds ??= int64s(moments.data);
      const whole = seconds[index] ?? 0n;
      if (isInfinite(whole)) {
        tellInfinity();
        micros[index] = whole;
        return;
      }
    }
    if (value < Number(LEAST_MICROS / 1_000_000n) || value > Number(MOST_MICROS / 1_000_000n)) {
      refuse(exact(moments, index), BEYOND);
    }
    micros[index] = BigInt(value) * 1_000_000n;
  });
  return column("fixed", moments.length, { validity: moments.validity, width: 8, data });
}

/** Seconds of a day as milliseconds. */
export function millisOfSeconds(times: Column, memory: Memory, refuse: Refuse): Column {
  const data = allocate(memory, times.length * 4);
  const millis = int32s(data);
  each(checkTimes(times, 1, refuse), (value, index) => {
    millis[index] = value * 1000;
  });
  return column("fixed", times.length, { validity: times.validity, width: 4, data });
}

/**
 * Decimals of `width` 4, 8, 16 or 32 bytes as 128-bit ones, multiplied by 10^`shift`. One with more digits than its
 * type says would be cut by whoever believes the type.
 */
export function decimals(values: Column, precision: number, shift: number, memory: Memory, refuse: Refuse): Column {
  const { width, length } = values;
  const limit = 10n ** BigInt(precision);
  const factor = 10n ** BigInt(shift);
  const isPlain = width === 16 && shift === 0;
  const data = isPlain ? values.data : allocate(memory, length * 16);
  const out = isPlain ? undefined : new DataView(data.buffer, data.byteOffset, data.byteLength);
  const view = new DataView(values.data.buffer, values.data.byteOffset, values.data.byteLength);
  // Below this, the lowest 64 bits say it all.
  const small = Math.min(Number(limit), 2 ** 53);
  for (let index = 0; index < length; index++) {
    if (!isValid(values, index)) continue;
    if (isPlain) {
      const rest = view.getInt32(index * 16 + 4, true);
      const high = view.getInt32(index * 16 + 8, true);
      const sign = view.getInt32(index * 16 + 12, true);
      const low = rest * 2 ** 32 + view.getUint32(index * 16, true);
      if (Math.abs(low) < small && high === sign && sign === rest >> 31) continue;
    }
    const value = integer(view, index * width, width);
    if (value >= limit || value <= -limit) refuse(String(value), `has more than ${precision} digits`);
    if (!out) continue;
    const moved = value * factor;
    out.setBigUint64(index * 16, BigInt.asUintN(64, moved), true);
    out.setBigInt64(index * 16 + 8, moved >> 64n, true);
  }
  return column("fixed", length, { validity: values.validity, width: 16, data });
}

function integer(view: DataView, at: number, width: number): bigint {
  if (width === 4) return BigInt(view.getInt32(at, true));
  let value = view.getBigInt64(at + width - 8, true);
  for (let word = width - 16; word >= 0; word -= 8) value = (value << 64n) | view.getBigUint64(at + word, true);
  return value;
}

/** Every byte but 0 is true. */
export function bitsOfBytes(bytes: Column, memory: Memory): Column {
  const data = allocate(memory, Math.ceil(bytes.length / 8));
  each(bytes, (value, index) => {
    if (value !== 0) setBit(data, index);
  });
  return column("bits", bytes.length, { validity: bytes.validity, data });
}

/** Texts made of the values of a column; NULL stays NULL. */
export function texts(values: Column, memory: Memory, text: (index: number) => string): Column {
  const { length, validity } = values;
  const offsets = allocate(memory, 4 * (length + 1));
  const ends = int32s(offsets);
  const parts: Buffer[] = [];
  let total = 0;
  for (let index = 0; index < length; index++) {
    if (isValid(values, index)) {
      const bytes = Buffer.from(text(index));
      parts.push(bytes);
      total += bytes.length;
      memory.left -= bytes.length;
    }
    ends[index + 1] = total;
  }
  const data = allocate(memory, 0);
  return column("bytes", length, { validity, offsets, data: total > 0 ? Buffer.concat(parts, total) : data });
}

export function uuidText({ data }: Column): (index: number) => string {
  return (index) => {
    const hex = Buffer.from(data.subarray(index * 16, index * 16 + 16)).toString("hex");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  };
}

/** Intervals as DuckDB writes them, which keeps nanoseconds that its own type would not. */
export function intervalText({ data, width }: Column, unit: string): (index: number) => string {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return (index) => {
    const at = index * width;
    if (unit === "month") return interval(view.getInt32(at, true), 0, 0n);
    if (unit === "day_time") {
      return interval(0, view.getInt32(at, true), BigInt(view.getInt32(at + 4, true)) * 1_000_000n);
    }
    return interval(view.getInt32(at, true), view.getInt32(at + 4, true), view.getBigInt64(at + 8, true));
  };
}

function interval(months: number, days: number, nanos: bigint): string {
  const counted = (count: number, unit: string): string[] =>
    count === 0 ? [] : [`${count} ${unit}${Math.abs(count) === 1 ? "" : "s"}`];
  const parts = [
    ...counted(Math.trunc(months / 12), "year"),
    ...counted(months % 12, "month"),
    ...counted(days, "day"),
  ];
  if (nanos !== 0n || parts.length === 0) parts.push(clock(nanos));
  return parts.join(" ");
}

function clock(nanos: bigint): string {
  const size = nanos < 0n ? -nanos : nanos;
  const seconds = size / 1_000_000_000n;
  const pad = (value: bigint): string => String(value).padStart(2, "0");
  const fraction = String(size % 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0+$/, "");
  const time = `${pad(seconds / 3600n)}:${pad((seconds / 60n) % 60n)}:${pad(seconds % 60n)}`;
  return `${nanos < 0n ? "-" : ""}${time}${fraction === "" ? "" : `.${fraction}`}`;
}

function exact({ data, width }: Column, index: number): string {
  return width === 8 ? String(int64s(data)[index]) : String(int32s(data)[index]);
}
