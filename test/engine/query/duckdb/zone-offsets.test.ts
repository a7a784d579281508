import { expect, test } from "vitest";
import { openRemoteDuck } from "../../../../src/engine/duckdb/remote.ts";
import { inScope } from "../../../../src/engine/kernel/scope.ts";

const SETTINGS = {
  memoryBytes: 256 * 2 ** 20,
  threads: 2,
  tempFolder: "/nonexistent",
  maxTempBytes: 2 ** 20,
  folders: ["/nonexistent"],
};

/** Moments of all of DuckDB's years, close together where zones have changed, with parts of a second. */
const MOMENTS = `SELECT make_timestamptz(micros) AS t FROM (
  SELECT -5500000000000000 + i * 2740937777777 AS micros FROM range(4000) r(i)
  UNION ALL SELECT 946684800000000 + i * 17999999999 FROM range(1500) r(i)
  UNION ALL SELECT 5e15::BIGINT + i * 271000000123457 FROM range(1500) r(i)
  UNION ALL SELECT -60000000000000000 + i * 13777777777777 FROM range(300) r(i))`;

/** DuckDB's own text, 2024-03-11 02:00:00.5-05, in the form of ours. */
function isoOf(text: string): string {
  const [, year = "", rest, clock, sign, offset = ""] = /^(\d+)(-\d\d-\d\d) ([\d:.]+)([+-])([\d:]+)$/.exec(text) ?? [];
  const shown = Number(year) > 9999 ? `+${year.padStart(6, "0")}` : year;
  return `${shown}${rest}T${clock}${sign}${offset.length === 2 ? `${offset}:00` : offset}`;
}

test.each([
  "America/Chicago",
  "America/St_Johns",
  "Asia/Kolkata",
  "Asia/Manila",
  "Pacific/Apia",
  "Pacific/Chatham",
  "Africa/Casablanca",
  "Europe/Dublin",
  "Europe/London",
  "Antarctica/Troll",
  "Australia/Lord_Howe",
  "Africa/Monrovia",
  "US/Central",
  "europe/amsterdam",
])("moments are shown in %s as DuckDB has them there", { tags: ["slow"] }, async (timeZone) => {
  await inScope(async (scope) => {
    const duck = await openRemoteDuck(scope, { ...SETTINGS, timeZone });
    const connection = await duck.connect();
    const limits = { params: undefined, maxRows: 10_000, maxBytes: 2 ** 24, signal: new AbortController().signal };
    const statement = {
      sql: `SELECT t, t::VARCHAR FROM (${MOMENTS}) WHERE t::VARCHAR NOT LIKE '%BC%'`,
      explain: false,
    };
    const { rows } = await connection.execute(statement, limits, undefined);
    expect(rows.length).toBeGreaterThan(7000);
    // DuckDB leaves out the seconds that an offset had while clocks went by the sun; its clock has them.
    const toMinutes = (shown: unknown): string => String(shown).replace(/([+-]\d\d:\d\d):\d\d$/, "$1");
    const wrong = rows.filter(([shown, text]) => toMinutes(shown) !== isoOf(String(text)));
    expect(wrong.slice(0, 10)).toEqual([]);
  });
});

test.each([undefined, "UTC", "Etc/UTC", "Zulu"])("moments are shown with a Z in %s", async (timeZone) => {
  await inScope(async (scope) => {
    const duck = await openRemoteDuck(scope, { ...SETTINGS, timeZone });
    const connection = await duck.connect();
    const limits = { params: undefined, maxRows: 10, maxBytes: 10_000, signal: new AbortController().signal };
    const statement = { sql: "SELECT TIMESTAMPTZ '2024-03-11 02:00', TIMESTAMPTZ 'infinity'", explain: false };
    expect((await connection.execute(statement, limits, undefined)).rows).toEqual([
      ["2024-03-11T02:00:00Z", "infinity"],
    ]);
  });
});

test("moments inside of other values, and what is no moment, are shown as they are", async () => {
  await inScope(async (scope) => {
    const duck = await openRemoteDuck(scope, { ...SETTINGS, timeZone: "America/Chicago" });
    const connection = await duck.connect();
    const limits = { params: undefined, maxRows: 10, maxBytes: 10_000, signal: new AbortController().signal };
    const t = "TIMESTAMPTZ '2024-07-01 05:30:00.123456Z'";
    const sql = `SELECT [${t}], {'a': ${t}}, MAP {'k': ${t}}, MAP {${t}: 1}, union_value(u := ${t}), array_value(${t}), ${t}::VARIANT,
      {'a': ${t}}::VARIANT, NULL::TIMESTAMPTZ, '-infinity'::TIMESTAMPTZ, TIMESTAMP_NS '2024-07-01 05:30:00.123456789',
      TIMESTAMP '2024-07-01 05:30:00', (${t})::TIMETZ`;
    const { rows } = await connection.execute({ sql, explain: false }, limits, undefined);
    const shown = "2024-07-01T00:30:00.123456-05:00";
    expect(rows[0]).toEqual([
      ...[[shown], { a: shown }, { k: shown }, [{ key: shown, value: 1 }], { u: shown }, [shown], shown, { a: shown }],
      ...[null, "-infinity", "2024-07-01T05:30:00.123456789", "2024-07-01T05:30:00", "00:30:00.123456-05:00"],
    ]);
  });
});
