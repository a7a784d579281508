/** ISO 8601 of DuckDB's dates and times, which reach from 290309 BC to 5881580 AD: further than `Date`. */

const DATE_INFINITY = 2 ** 31 - 1;
const TIMESTAMP_INFINITY = 2n ** 63n - 1n;
const SECONDS_PER_DAY = 86_400n;

/** `days` since 1970-01-01. */
export function dateText(days: number): string {
  if (days === DATE_INFINITY) return "infinity";
  if (days === -DATE_INFINITY) return "-infinity";
  const { year, month, day } = civil(days);
  return `${yearText(year)}-${pad(month)}-${pad(day)}`;
}

/** `ticks` since 1970-01-01T00:00:00, `digits` of them per second as a power of ten. */
export function timestampText(ticks: bigint, digits: 0 | 3 | 6 | 9, zone = ""): string {
  if (ticks === TIMESTAMP_INFINITY) return "infinity";
  if (ticks === -TIMESTAMP_INFINITY) return "-infinity";
  const perDay = SECONDS_PER_DAY * 10n ** BigInt(digits);
  const inDay = ((ticks % perDay) + perDay) % perDay;
  return `${dateText(Number((ticks - inDay) / perDay))}T${timeText(inDay, digits)}${zone}`;
}

/** A moment in a zone with this offset in seconds. Undefined: in UTC, as in `…Z`. */
export function timestampTzText(micros: bigint, offset: number | undefined): string {
  if (offset === undefined) return timestampText(micros, 6, "Z");
  if (micros === TIMESTAMP_INFINITY || micros === -TIMESTAMP_INFINITY) return timestampText(micros, 6);
  return timestampText(micros + BigInt(offset) * 1_000_000n, 6, offsetText(offset));
}

/** `ticks` since midnight. 24:00:00 is a time as well. */
export function timeText(ticks: bigint, digits: 0 | 3 | 6 | 9): string {
  const perSecond = 10n ** BigInt(digits);
  const seconds = Number(ticks / perSecond);
  const fraction =
    digits === 0
      ? ""
      : String(ticks % perSecond)
          .padStart(digits, "0")
          .replace(/0+$/, "");
  const clock = `${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`;
  return fraction === "" ? clock : `${clock}.${fraction}`;
}

/** `offset` in seconds east of UTC. */
export function timeTzText(micros: bigint, offset: number): string {
  return `${timeText(micros, 6)}${offsetText(offset)}`;
}

/** Before about 1900 clocks went by the sun: offsets of that time have seconds. */
function offsetText(offset: number): string {
  const seconds = Math.abs(offset);
  const zone = `${offset < 0 ? "-" : "+"}${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}`;
  return seconds % 60 === 0 ? zone : `${zone}:${pad(seconds % 60)}`;
}

/** https://howardhinnant.github.io/date_algorithms.html#civil_from_days */
function civil(days: number): { year: number; month: number; day: number } {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1;
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}

/** Year 0 is 1 BC. Years outside of 0 to 9999 have a sign and at least six digits. */
function yearText(year: number): string {
  if (year >= 0 && year <= 9999) return String(year).padStart(4, "0");
  return `${year < 0 ? "-" : "+"}${String(Math.abs(year)).padStart(6, "0")}`;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}
