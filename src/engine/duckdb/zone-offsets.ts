import type { Connection } from "./duckdb.ts";

/**
 * A time zone by DuckDB's rules, so that results show what statements compute with, whatever rules Node or the host
 * has.
 */
export interface ZoneOffsets {
  /** Seconds east of UTC, at a moment in microseconds since 1970. */
  offsetAt(micros: bigint): number;
}

const MICROS = 1_000_000n;
const DAY_SECONDS = 86_400;
/** 1800-01-01: before it all clocks went by the sun, and no zone has a transition. */
const FIRST = -5_364_662_400;
/** 400 years: the period of dates and days of the week, and so of rules without an end. */
const CYCLE = 146_097 * DAY_SECONDS;
/** 2100-01-01: after it all transitions are yearly. */
const LAST_RULE = 4_102_444_800;
const END = LAST_RULE + CYCLE;

/**
 * Seconds at which the offset changes, and the new offsets: each day is compared with the day before, then bisected.
 * The first row is the offset before all changes.
 */
const TRANSITIONS = `WITH RECURSIVE
  days AS (SELECT s, date_part('timezone', make_timestamptz(s * 1000000)) AS o FROM range(${FIRST}, ${END}, ${DAY_SECONDS}) AS r(s)),
  found(low, high, after) AS (
    SELECT s - ${DAY_SECONDS}, s, o FROM (SELECT s, o, lag(o) OVER (ORDER BY s) AS before FROM days) WHERE o <> before
    UNION ALL
    SELECT if(is_after, low, mid), if(is_after, mid, high), after
    FROM (SELECT *, date_part('timezone', make_timestamptz(mid * 1000000)) = after AS is_after
          FROM (SELECT *, (low + high) // 2 AS mid FROM found WHERE high - low > 1)))
SELECT s::DOUBLE AS at, o::DOUBLE AS offset FROM days WHERE s = ${FIRST}
UNION ALL SELECT high::DOUBLE, after::DOUBLE FROM found WHERE high - low = 1 ORDER BY 1`;

/** The last zone that was read, which takes a tenth of a second. */
let known: { name: string; zone: ZoneOffsets | undefined } | undefined;

/** The zone of a connection whose instance was opened in it. Undefined for UTC, by any of its names. */
export async function readZone(connection: Connection, name = "UTC"): Promise<ZoneOffsets | undefined> {
  if (name === "UTC") return undefined;
  if (known?.name !== name) {
    const rows = await connection.rows<{ at: number; offset: number }>(TRANSITIONS);
    known = { name, zone: rows.every(({ offset }) => offset === 0) ? undefined : zoneOf(rows) };
  }
  return known.zone;
}

function zoneOf(transitions: readonly { at: number; offset: number }[]): ZoneOffsets {
  return {
    offsetAt: (micros) => {
      const inSecond = ((micros % MICROS) + MICROS) % MICROS;
      const seconds = Number((micros - inSecond) / MICROS);
      const at = seconds < END ? seconds : LAST_RULE + ((seconds - LAST_RULE) % CYCLE);
      let from = 0;
      let to = transitions.length;
      while (to - from > 1) {
        const middle = (from + to) >> 1;
        if ((transitions[middle]?.at ?? 0) <= at) from = middle;
        else to = middle;
      }
      return transitions[from]?.offset ?? 0;
    },
  };
}
