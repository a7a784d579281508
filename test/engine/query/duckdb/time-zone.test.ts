import { describe, expect, onTestFinished, test } from "vitest";
import type { Json } from "../../../../src/engine/kernel/json.ts";

import { type Lake, openLake } from "../../../support/lake.ts";
import { openRemoteLake } from "../../../support/remote-lake.ts";

async function open(timeZone: string | undefined, folder?: string): Promise<Lake> {
  const lake = await openLake({ settings: { timeZone }, ...(folder !== undefined && { folder }) });
  onTestFinished(() => lake[Symbol.asyncDispose]());
  return lake;
}

const rows = async (lake: Lake, sql: string, params?: unknown[]): Promise<Json[][]> =>
  (await lake.engine.query(sql, params && { params })).rows;

/** Of a day in Chicago, which is -05:00 from 2024-03-10T08:00Z to 2024-11-03T07:00Z, and else -06:00. */
const PARTS = [
  "id,t,plain\na,2024-01-01T05:59:59Z,2024-01-01 05:59:59\nb,2024-01-01T06:00:00Z,2024-01-01 06:00:00\n",
  "id,t,plain\nc,2024-03-10T07:59:59Z,2024-03-10 02:30:00\nd,2024-03-10T08:00:00Z,2024-03-10 03:00:00\n",
  "id,t,plain\ne,2024-11-03T06:30:00Z,2024-11-03 01:30:00\nf,2024-11-03T07:30:00Z,2024-11-03 01:30:00\n",
];

async function fill(lake: Lake): Promise<Lake> {
  for (const text of PARTS) await lake.engine.ingest({ name: "events", source: { text }, mode: "append" });
  return lake;
}

const chicago = async (): Promise<Lake> => fill(await open("America/Chicago"));

describe("in the zone of the setting", () => {
  test.each<[sql: string, right: Json[][]]>([
    [
      "SELECT id, t FROM events ORDER BY id",
      [
        ["a", "2023-12-31T23:59:59-06:00"],
        ["b", "2024-01-01T00:00:00-06:00"],
        ["c", "2024-03-10T01:59:59-06:00"],
        ["d", "2024-03-10T03:00:00-05:00"],
        ["e", "2024-11-03T01:30:00-05:00"],
        ["f", "2024-11-03T01:30:00-06:00"],
      ],
    ],
    [
      "SELECT t::DATE, t::TIMESTAMP, hour(t), year(t) FROM events WHERE id = 'a'",
      [["2023-12-31", "2023-12-31T23:59:59", 23, 2023]],
    ],
    [
      "SELECT t::VARCHAR, strftime(t, '%Y-%m-%d %H'), dayname(t) FROM events WHERE id = 'a'",
      [["2023-12-31 23:59:59-06", "2023-12-31 23", "Sunday"]],
    ],
    [
      "SELECT date_trunc('day', t), date_trunc('hour', t), date_trunc('year', t) FROM events WHERE id = 'd'",
      [["2024-03-10T00:00:00-06:00", "2024-03-10T03:00:00-05:00", "2024-01-01T00:00:00-06:00"]],
    ],
    ["SELECT id FROM events WHERE t >= '2024-01-01' AND t < '2024-03-10 03:00' ORDER BY id", [["b"], ["c"]]],
    ["SELECT id FROM events WHERE t >= DATE '2024-01-01' AND t < DATE '2024-03-10' ORDER BY id", [["b"]]],
    ["SELECT id FROM events WHERE t = TIMESTAMP '2024-01-01 00:00:00'", [["b"]]],
    ["SELECT id FROM events WHERE t = '2024-01-01'", [["b"]]],
    ["SELECT id FROM events WHERE t = '2024-01-01T06:00:00Z'", [["b"]]],
    ["SELECT id FROM events WHERE t IN ('2023-12-31 23:59:59', '2024-11-03 01:30:00-06')", [["a"], ["f"]]],
    ["SELECT id FROM events WHERE t BETWEEN '2023-12-31' AND '2024-01-01' ORDER BY id", [["a"], ["b"]]],
    ["SELECT plain::TIMESTAMPTZ FROM events WHERE id = 'a'", [["2024-01-01T05:59:59-06:00"]]],
    ["SELECT id FROM events WHERE plain < '2024-01-01 06:00' ", [["a"]]],
    ["SELECT t AT TIME ZONE 'Asia/Tokyo' FROM events WHERE id = 'b'", [["2024-01-01T15:00:00"]]],
    ["SELECT now()::DATE = (now() AT TIME ZONE 'America/Chicago')::DATE, current_date = now()::DATE", [[true, true]]],
    ["SELECT min(t)::DATE, max(t) FROM events", [["2023-12-31", "2024-11-03T01:30:00-06:00"]]],
    [
      "SELECT min, max FROM (SUMMARIZE events) WHERE column_name = 't'",
      [["2023-12-31 23:59:59-06", "2024-11-03 01:30:00-06"]],
    ],
    ["SELECT t::DATE AS day, count(*) FROM events GROUP BY ALL ORDER BY ALL LIMIT 1", [["2023-12-31", 1]]],
  ])("%s", async (sql, right) => {
    await using lake = await chicago();
    expect(await rows(lake, sql)).toEqual(right);
  });
});

/** Conditions that leave files out by their least and greatest values, and parameters of them. */
const CONDITIONS: [condition: string, params?: unknown[]][] = [
  ["t < '2024-01-01'"],
  ["t <= '2024-01-01'"],
  ["t >= '2024-11-03 01:00'"],
  ["t > '2024-11-03 01:29'"],
  ["t = '2023-12-31 23:59:59'"],
  ["t = '2024-03-10 03:00'"],
  ["t = '2024-03-10 02:00'"],
  ["t = TIMESTAMP '2024-01-01 00:00'"],
  ["t < DATE '2024-01-01'"],
  ["t BETWEEN '2024-03-10 01:00' AND '2024-03-10 01:59:59'"],
  ["t IN ('2024-01-01', '2024-03-10 01:59:59')"],
  ["t < $1", ["2024-01-01"]],
  ["t >= $1", ["2024-11-03 01:30"]],
  ["t = $1", ["2024-01-01 06:00:00+00"]],
  ["plain < '2024-01-01 06:00'"],
  ["plain >= TIMESTAMP '2024-11-03 01:30'"],
];

test.each(["America/Chicago", "Pacific/Auckland", "Asia/Kolkata", "UTC", undefined])(
  "files are left out in %s as their rows are",
  { tags: ["slow"] },
  async (timeZone) => {
    await using lake = await openRemoteLake({ timeZone });
    for (const text of PARTS) await lake.engine.ingest({ name: "events", source: { text }, mode: "append" });
    for (const [condition, given] of CONDITIONS) {
      const options = given ? { params: given } : {};
      lake.fetched.clear();
      const found = (await lake.remote.query(`SELECT id FROM events WHERE ${condition} ORDER BY id`, options)).rows;
      expect(lake.fetched.size, condition).toBeLessThan(3);
      // Of an expression nothing is known without reading it.
      const all = condition.replaceAll(/\b(t|plain)\b(?= )/g, "(CASE WHEN id IS NOT NULL THEN $& END)");
      const right = (await lake.engine.query(`SELECT id FROM events WHERE ${all} ORDER BY id`, options)).rows;
      expect({ condition, found }).toEqual({ condition, found: right });
    }
  },
);

test("results that are kept are of the zone that the lake is opened with", { tags: ["slow"] }, async () => {
  const sql = "SELECT id, t, t::DATE FROM events WHERE t < '2024-01-01 00:00' ORDER BY id";
  const first = await chicago();
  expect(await rows(first, sql)).toEqual([["a", "2023-12-31T23:59:59-06:00", "2023-12-31"]]);
  const hits = first.engine.stats().results.hits;
  expect(await rows(first, sql)).toEqual([["a", "2023-12-31T23:59:59-06:00", "2023-12-31"]]);
  expect(first.engine.stats().results.hits).toBe(hits + 1);
  await first.engine[Symbol.asyncDispose]();
  const second = await open("Asia/Tokyo", first.folder);
  expect(await rows(second, sql)).toEqual([]);
  expect(await rows(second, "SELECT id, t FROM events WHERE t < '2024-01-01 15:00' ORDER BY id")).toEqual([
    ["a", "2024-01-01T14:59:59+09:00"],
  ]);
});

test("files keep what they say: text without an offset is UTC or has no zone, in any setting", {
  tags: ["slow"],
}, async () => {
  const text = "a,b\n2024-01-01 00:00:00,2024-01-01T00:00:00Z\n2024-06-01 12:00:00,2024-06-01T12:00:00+02:00\n";
  const kept = async (timeZone: string | undefined): Promise<unknown> => {
    await using lake = await open(timeZone);
    await lake.engine.ingest({ name: "t", source: { text } });
    await lake.engine.ingest({
      name: "j",
      source: { text: '[{"a":"2024-01-01T00:00:00","b":"2024-01-01T00:00:00Z"}]' },
      format: "json",
    });
    return [
      await rows(lake, "SELECT epoch_us(a), epoch_us(b), typeof(a), typeof(b) FROM t"),
      await rows(lake, "SELECT epoch_us(a), epoch_us(b), typeof(a), typeof(b) FROM j"),
      (await lake.engine.describe("t")).manifest.files.map(({ stats, key }) => [stats, key]),
    ];
  };
  const right = await kept(undefined);
  expect(await kept("America/Chicago")).toEqual(right);
  expect(await kept("Asia/Kolkata")).toEqual(right);
});

test("a query that is kept as a dataset computes in the zone", { tags: ["slow"] }, async () => {
  await using lake = await chicago();
  await lake.engine.ingest({
    name: "days",
    source: { sql: "SELECT id, t, t::DATE AS day, date_trunc('day', t) AS start FROM events WHERE t < '2024-01-02'" },
  });
  expect(await rows(lake, "SELECT id, day, start, t FROM days ORDER BY id")).toEqual([
    ["a", "2023-12-31", "2023-12-31T00:00:00-06:00", "2023-12-31T23:59:59-06:00"],
    ["b", "2024-01-01", "2024-01-01T00:00:00-06:00", "2024-01-01T00:00:00-06:00"],
  ]);
  expect(await rows(lake, "SELECT id FROM days WHERE start = '2024-01-01'")).toEqual([["b"]]);
});

test("conditions and texts of vector indexes are of the zone", { tags: ["slow"] }, async () => {
  await using lake = await chicago();
  await lake.call("vector-index-create", {
    name: "notes",
    dataset: "events",
    id: "id",
    text: "{id} {t}",
    where: "t < '2024-11-03'",
    metadata: ["t"],
  });
  const items = await rows(lake, "SELECT id, text, metadata->>'t' FROM notes ORDER BY id");
  expect(items.map(([id]) => id)).toEqual(["a", "b", "c", "d"]);
  expect(items[0]).toEqual(["a", "a 2023-12-31 23:59:59-06", "2023-12-31 23:59:59-06"]);
  const found = async (where: string): Promise<unknown[]> => {
    const { hits } = await lake.call<{ hits: { id: string }[] }>("vector-search", {
      index: "notes",
      text: "a",
      where,
    });
    return hits.map(({ id }) => id).sort((a, b) => a.localeCompare(b));
  };
  expect(await found("t >= '2024-01-01' AND t < '2024-03-10 03:00'")).toEqual(["b", "c"]);
  expect(await found("hour(t) = 23")).toEqual(["a"]);
  expect(await found("(metadata->>'t')::TIMESTAMPTZ = '2024-01-01'")).toEqual(["b"]);
  expect(
    await rows(lake, "SELECT id FROM vector_search('notes', 'a', 4, filter := 't::DATE = ''2023-12-31''')"),
  ).toEqual([["a"]]);
});
