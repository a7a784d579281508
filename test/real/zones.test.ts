import { afterAll, beforeAll, expect, test } from "vitest";
import { openWorkspace, type Workspace } from "./process.ts";

let workspace: Workspace;
beforeAll(async () => {
  workspace = await openWorkspace();
});
afterAll(() => workspace[Symbol.asyncDispose]());

const EVENTS = `id,t,plain,day
a,2024-03-10T06:59:59Z,2024-03-10 02:30:00,2024-03-10
b,2024-03-11T02:00:00Z,2024-03-11 02:00:00,2024-03-11
c,2024-03-11T20:00:00+05:30,2024-03-11 20:00:00,2024-03-11
d,2024-11-03T05:30:00-04:00,2024-11-03 01:30:00,2024-11-03
e,1899-12-31T23:59:59Z,1899-12-31 23:59:59,1899-12-31
`;
const JSON_EVENTS = `[{"id":"a","t":"2024-03-11T02:00:00Z","name":"ısı"},{"id":"b","t":"2024-03-11T20:00:00Z","name":"Äpfel"},
{"id":"c","t":"2024-03-11T18:00:00Z","name":"Zebra"},{"id":"d","t":"2024-12-31T23:30:00Z","name":"apfel"}]`;

/** Each a statement over the two tables, and where it is short, what is right. */
const STATEMENTS: [sql: string, rows?: unknown[][]][] = [
  ["SELECT id, t, t::DATE, t::TIMESTAMP, t::VARCHAR FROM events ORDER BY id"],
  ["SELECT t::DATE, hour(t) FROM events WHERE id = 'b'", [["2024-03-11", 2]]],
  ["SELECT id FROM events WHERE t >= '2024-03-11' ORDER BY id", [["b"], ["c"], ["d"]]],
  ["SELECT id FROM events WHERE t >= DATE '2024-03-11' ORDER BY id", [["b"], ["c"], ["d"]]],
  ["SELECT id FROM events WHERE t = TIMESTAMP '2024-03-11 02:00:00'", [["b"]]],
  ["SELECT id FROM events WHERE t < TIMESTAMPTZ '2024-03-10 12:00' ORDER BY id", [["a"], ["e"]]],
  ["SELECT id FROM events WHERE plain::TIMESTAMPTZ = '2024-03-11T02:00:00Z'", [["b"]]],
  ["SELECT id FROM events WHERE t::TIMETZ = '02:00:00+00'", [["b"]]],
  ["SELECT id FROM events WHERE t BETWEEN '2024-03-11' AND '2024-03-12' ORDER BY id", [["b"], ["c"]]],
  [
    "SELECT hour(t), minute(t), day(t), month(t), year(t), week(t), isoyear(t), dayofweek(t), dayofyear(t), era(t) FROM events ORDER BY id",
  ],
  [
    "SELECT extract(timezone FROM t), date_part('timezone_hour', t), epoch(t), epoch(plain), epoch(day), julian(t) FROM events ORDER BY id",
  ],
  [
    "SELECT date_trunc('hour', t), date_trunc('day', t), date_trunc('week', t), date_trunc('month', t), date_trunc('year', t) FROM events ORDER BY id",
  ],
  [
    "SELECT time_bucket(INTERVAL '1 day', t), time_bucket(INTERVAL '1 week', t), last_day(t), dayname(t), monthname(t) FROM events ORDER BY id",
  ],
  [
    "SELECT strftime(t, '%Y-%m-%d %H:%M:%S %z %Z %A %B %p %c %x %X %j %U %V'), strftime(plain, '%c %p') FROM events ORDER BY id",
  ],
  [
    "SELECT date_diff('day', t, plain::TIMESTAMPTZ), date_sub('hour', t, TIMESTAMPTZ '2024-06-01'), age(t, TIMESTAMPTZ '2024-03-01') FROM events ORDER BY id",
  ],
  ["SELECT t + INTERVAL 1 DAY, t - INTERVAL 1 MONTH, t - TIMESTAMPTZ '2020-01-01' FROM events ORDER BY id"],
  ["SELECT t::DATE, count(*) FROM events GROUP BY ALL ORDER BY ALL"],
  [
    "SELECT make_timestamptz(2024, 3, 10, 2, 30, 0), make_timestamptz(2024, 3, 10, 2, 30, 0, 'America/New_York'), to_timestamp(0), to_timestamp(1.5)::DATE",
  ],
  [
    "SELECT t AT TIME ZONE 'America/New_York', plain AT TIME ZONE 'Asia/Kolkata' FROM events WHERE id = 'b'",
    [["2024-03-10T22:00:00", "2024-03-10T20:30:00Z"]],
  ],
  ["SELECT timezone('Pacific/Chatham', t), timezone('Pacific/Chatham', plain) FROM events ORDER BY id"],
  [
    "SELECT now()::DATE = (now() AT TIME ZONE 'UTC')::DATE, current_date = (now() AT TIME ZONE 'UTC')::DATE, today() = current_date",
    [[true, true, true]],
  ],
  [
    "SELECT abs(epoch(current_localtimestamp()) - epoch(now())) < 1, current_localtime() = (now() AT TIME ZONE 'UTC')::TIME, current_time::TIME = current_localtime()",
    [[true, true, true]],
  ],
  [
    "SELECT '2024-03-11 02:00'::TIMESTAMPTZ, '2024-03-11 02:00:00 Asia/Kolkata'::TIMESTAMPTZ, '02:00'::TIMETZ, '2024-03-11'::DATE::TIMESTAMPTZ, strptime('2024-03-11 02:00', '%Y-%m-%d %H:%M')::TIMESTAMPTZ, strptime('2024-03-11 02:00 +0100', '%Y-%m-%d %H:%M %z')",
  ],
  ["SELECT unnest(generate_series(TIMESTAMPTZ '2024-03-09', TIMESTAMPTZ '2024-03-12', INTERVAL 1 DAY))"],
  ["SELECT * FROM range(TIMESTAMPTZ '2024-03-09', TIMESTAMPTZ '2024-03-12', INTERVAL 12 HOUR)"],
  ["SELECT to_json(t), {'t': t}::VARCHAR, [t]::VARCHAR, t::VARCHAR || '', json_object('t', t) FROM events ORDER BY id"],
  ["SELECT min(t), max(t), avg(epoch(t)), median(t), mode(t::DATE), histogram(t::DATE) FROM events"],
  [
    "SELECT id, sum(1) OVER (ORDER BY t RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND CURRENT ROW) FROM events ORDER BY id",
  ],
  ["SELECT e.id, j.id FROM events e ASOF JOIN notes j ON e.t >= j.t ORDER BY ALL"],
  ["SUMMARIZE events"],
  ["SUMMARIZE notes"],
  ["DESCRIBE notes"],
  ["SELECT id, t, t::DATE, typeof(t) FROM notes ORDER BY id"],
  ["FROM (PIVOT events ON t::DATE USING count(*)) ORDER BY ALL"],
  [
    "SELECT file, stats FROM (SELECT 1 AS file, stats FROM lakehouse_files WHERE name IN ('events', 'notes')) ORDER BY stats::VARCHAR",
  ],
  ["SELECT name FROM notes ORDER BY name", [["Zebra"], ["apfel"], ["Äpfel"], ["ısı"]]],
  ["SELECT name FROM notes ORDER BY name COLLATE NOCASE"],
  ["SELECT name FROM notes ORDER BY name COLLATE de"],
  [
    "SELECT upper('iı'), lower('Iİ'), 'I' ILIKE 'i', 'i' = 'I' COLLATE NOCASE, 1234.5::VARCHAR, '1234.5'::DOUBLE, format('{:,}', 1234567.5), printf('%.2f', 1.5)",
  ],
  [
    "SELECT id FROM vector_search('notes_index', 'apfel', 4, filter := 't >= ''2024-03-11 12:00'' AND t::DATE < ''2024-12-31''') ORDER BY id",
    [["b"], ["c"]],
  ],
];

async function answers(env: Record<string, string>): Promise<string[]> {
  await using own = await openWorkspace();
  const files = [await own.file("events.csv", EVENTS), await own.file("notes.json", JSON_EVENTS)];
  const server = await own.start({ env, args: ["--embed-provider", "builtin"] });
  await server.call("ingest", { name: "events", path: files[0] });
  await server.call("ingest", { name: "notes", path: files[1] });
  await server.call("vector-index-create", { name: "notes_index", dataset: "notes", id: "id", text: "{name} {t}" });
  const told: string[] = [];
  for (const [sql, rows] of STATEMENTS) {
    const found = (await server.call("sql", { sql })).rows;
    if (rows) expect({ env, sql, found }).toEqual({ env, sql, found: rows });
    told.push(JSON.stringify(found));
  }
  const { columns } = await server.call("catalog-describe", { name: "events" });
  const { items } = (await server.call("vector-search", {
    index: "notes_index",
    text: "apfel",
    where: "hour(t) = 23",
    include: ["text", "row"],
  })) as { items: unknown };
  return [...told, JSON.stringify(columns), JSON.stringify(items)];
}

test("the answers are the same in every zone and language of the host", async () => {
  const right = await answers({ TZ: "UTC", LANG: "C" });
  expect(right.length).toBe(STATEMENTS.length + 2);
  for (const env of [
    { TZ: "America/New_York", LANG: "de_DE.UTF-8", LC_ALL: "de_DE.UTF-8" },
    { TZ: "Asia/Kolkata", LANG: "tr_TR.UTF-8", LC_ALL: "tr_TR.UTF-8" },
    { TZ: "Pacific/Chatham", LANG: "th_TH.UTF-8", LC_ALL: "th_TH.UTF-8" },
    { TZ: "America/St_Johns", LANG: "fa_IR.UTF-8", LC_ALL: "fa_IR.UTF-8" },
    { TZ: "No/Such_Zone", LANG: "ar_SA.UTF-8", LC_ALL: "ar_SA.UTF-8" },
  ]) {
    const found = await answers(env);
    found.forEach((answer, at) => {
      const asked = STATEMENTS[at]?.[0] ?? "describe, search";
      expect({ env, asked, answer }).toEqual({ env, asked, answer: right[at] });
    });
  }
});
