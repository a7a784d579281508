import { rmSync } from "node:fs";
import { mkdtemp, readFile, realpath } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { meaningTour } from "./meaning.ts";
import { packageVersion, ROOT, type Server, startServer } from "./server.ts";
import { count, openTerminal, size, type Terminal, time } from "./terminal.ts";
import { WORKER_COLUMNS, writeWorkers } from "./workers.ts";

/** The two-minute tour: an agent's session against the built server, over stdio, through the official client. */

const DEFAULT_MAX_INGEST = 256 * 2 ** 20;
/** A little more than a row of the table takes. */
const ROW_BYTES = 750;
const LEAST_ROWS = 1_000;
const INGEST_TIMEOUT_MS = 600_000;

const QUERIES: { title: string; sql: string; params?: unknown[] }[] = [
  {
    title: "Where the people are",
    sql: `SELECT state, count(*) AS workers, round(avg(hourly_rate), 2) AS avg_rate
FROM workers GROUP BY state ORDER BY workers DESC LIMIT 5`,
  },
  {
    title: "Forklift drivers in IL, available, reliability over 0.9",
    sql: `SELECT name, city, zip, phone, hourly_rate, reliability FROM workers
WHERE role = $1 AND state = $2 AND available AND reliability > 0.9
ORDER BY reliability DESC, worker_id LIMIT 5`,
    params: ["forklift driver", "IL"],
  },
  {
    title: "The best paid in each role",
    sql: `SELECT role, name, city, hourly_rate FROM workers
QUALIFY row_number() OVER (PARTITION BY role ORDER BY hourly_rate DESC, worker_id) = 1
ORDER BY hourly_rate DESC LIMIT 5`,
  },
  {
    title: "Freezer work without an injury, by zip area, out of the resume text",
    sql: `SELECT left(zip, 3) AS zip_area, any_value(city) AS city, count(*) AS workers FROM workers
WHERE resume_text LIKE '%freezer at -20 F%' AND resume_text LIKE '%no lost-time injury%'
GROUP BY zip_area ORDER BY workers DESC, zip_area LIMIT 5`,
  },
];

interface Ingested {
  dataset_id: string;
  version: number;
  rows: number;
  bytes: number;
  schema_fingerprint: string;
  unchanged: boolean;
  columns: { name: string; type: string }[];
}

interface Described {
  name: string;
  version: number;
  rows: number;
  columns: { name: string; type: string }[];
}

interface Answer<T> {
  /** What the server said in words. */
  text: string;
  refused: boolean;
  data: T;
  ms: number;
}

interface Tour {
  terminal: Terminal;
  server: Server;
  folder: string;
  rows: number;
  calls: { count: number; ms: number };
}

const terminal = openTerminal(process.stdout);
const folder = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-demo-")));
const cleanUp = (): void => rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    cleanUp();
    process.exit(130);
  });
}
let server: Server | undefined;
try {
  const rows = rowsAskedFor();
  terminal.line(`\n${terminal.bold(`lakehouse-mcp ${await packageVersion()}`)}  an agent's session over stdio\n`);
  const { server: started, ms } = await start(rows);
  server = started;
  await tour({ terminal, server, folder, rows, calls: { count: 0, ms: 0 } }, ms);
} catch (error) {
  terminal.line(`\n${terminal.red("The tour stopped:")} ${error instanceof Error ? error.message : String(error)}`);
  if (server?.log()) terminal.line(`\nThe server's log:\n${server.log().trimEnd()}`);
  process.exitCode = 1;
} finally {
  await server?.close();
  cleanUp();
}

function rowsAskedFor(): number {
  const { values } = parseArgs({ options: { rows: { type: "string", default: "50000" } } });
  const rows = Number(values.rows);
  if (!Number.isSafeInteger(rows) || rows < LEAST_ROWS) {
    throw new Error(`--rows ${values.rows}: expected a whole number, ${LEAST_ROWS} or more`);
  }
  return rows;
}

async function start(rows: number): Promise<{ server: Server; ms: number }> {
  const started = performance.now();
  const bytes = rows * ROW_BYTES;
  const server = await startServer({
    data: join(folder, "lake"),
    allow: [folder],
    env: bytes > DEFAULT_MAX_INGEST ? { LAKEHOUSE_MAX_INGEST_BYTES: String(bytes) } : {},
  });
  return { server, ms: performance.now() - started };
}

async function tour(context: Tour, connectMs: number): Promise<void> {
  await showTools(context, connectMs);
  const csv = await generate(context);
  const first = await ingestWorkers(context, csv);
  await showCatalog(context, first);
  for (const query of QUERIES) await showQuery(context, query);
  await showRefusedCopy(context);
  await ingestAgain(context, csv);
  await showDrift(context, first);
  await showMeaning(context);
  terminal.line(`\n${context.calls.count} tool calls in ${time(context.calls.ms)}. Everything was as expected.`);
  terminal.line(`\n${terminal.bold("Put it in your client")} (Claude Code, Claude Desktop, Cursor): mcp.json`);
  terminal.code((await readFile(join(ROOT, "mcp.json"), "utf8")).trimEnd());
  terminal.line(`or try it in a terminal: node ${join(ROOT, "dist", "main.js")} --help\n`);
}

async function showTools({ server }: Tour, connectMs: number): Promise<void> {
  const started = performance.now();
  const { tools } = await server.client.listTools();
  const names = tools.map((tool) => tool.name);
  for (const name of ["ingest", "sql", "catalog-list", "catalog-describe"]) {
    expect(names.includes(name), `the server offers no tool ${name}`);
  }
  const protocol = server.client.getNegotiatedProtocolVersion() ?? "unknown";
  terminal.step("done", "connect", `server started, protocol ${protocol}`, connectMs);
  terminal.step("done", "tools/list", names.join(", "), performance.now() - started);
}

async function generate({ rows, folder }: Tour): Promise<string> {
  const started = performance.now();
  const csv = join(folder, "workers.csv");
  const bytes = await writeWorkers(csv, { rows });
  const summary = `workers.csv: ${count(rows)} rows × ${WORKER_COLUMNS.length} columns, ${size(bytes)}`;
  terminal.step("done", "(generate)", summary, performance.now() - started);
  return csv;
}

async function ingestWorkers(context: Tour, path: string): Promise<Ingested> {
  let reports = 0;
  const answer = await call<Ingested>(context, "ingest", { name: "workers", path }, (fraction, message) => {
    reports++;
    terminal.progress("ingest", fraction, message);
  });
  const { data } = answer;
  expectDone("ingest", answer);
  expect(data.rows === context.rows, `ingest kept ${data.rows} of ${context.rows} rows`, answer);
  expect(data.version === 1 && !data.unchanged, "the first ingest did not make version 1", answer);
  expect(data.columns.length === WORKER_COLUMNS.length, "columns were lost", answer);
  const zip = data.columns.find((column) => column.name === "zip");
  expect(zip?.type === "VARCHAR", "zip codes lost their leading zeros", answer);
  terminal.step("done", "ingest", `workers: ${count(data.rows)} rows, ${size(data.bytes)} of Parquet`, answer.ms, [
    `version ${data.version} · progress reported ${reports}× · dataset ${data.dataset_id}`,
  ]);
  return data;
}

async function showCatalog(context: Tour, first: Ingested): Promise<void> {
  const list = await call<{ datasets: { name: string; rows: number }[]; total: number }>(context, "catalog-list", {});
  expectDone("catalog-list", list);
  expect(list.data.total === 1 && list.data.datasets[0]?.name === "workers", "the catalog lacks workers", list);
  terminal.step(
    "done",
    "catalog-list",
    list.data.datasets.map((d) => `${d.name}, ${count(d.rows)} rows`).join("; "),
    list.ms,
  );

  const described = await call<Described>(context, "catalog-describe", { name: "workers" });
  expectDone("catalog-describe", described);
  const { columns, rows, version } = described.data;
  expect(rows === first.rows && columns.length === first.columns.length, "the description is another's", described);
  terminal.step("done", "catalog-describe", `version ${version}, ${columns.length} columns`, described.ms, [
    columns.map((column) => `${column.name}\u00a0${column.type}`).join(", "),
  ]);
}

async function showQuery(context: Tour, { title, sql, params }: (typeof QUERIES)[number]): Promise<void> {
  const args = params ? { sql, params } : { sql };
  const answer = await call<{ columns: { name: string }[]; rows: unknown[][] }>(context, "sql", args);
  expectDone("sql", answer);
  const { columns, rows } = answer.data;
  expect(rows.length > 0, `no rows for "${title}"`, answer);
  terminal.line();
  terminal.step("done", "sql", title, answer.ms);
  terminal.code(params ? `${sql}\n-- ${params.map((value, at) => `$${at + 1} = ${String(value)}`).join(", ")}` : sql);
  terminal.table(
    columns.map((column) => column.name),
    alike(rows),
  );
}

/** Cells as text, the numbers of a column with as many decimals as the longest has. */
function alike(rows: unknown[][]): string[][] {
  const decimals = (value: unknown): number =>
    typeof value === "number" ? (String(value).split(".")[1]?.length ?? 0) : 0;
  const most = (at: number): number => Math.max(...rows.map((row) => decimals(row[at])));
  const cell = (value: unknown, at: number): string => {
    if (typeof value !== "number") return String(value ?? "");
    const digits = most(at);
    return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  };
  return rows.map((row) => row.map(cell));
}

async function showRefusedCopy(context: Tour): Promise<void> {
  const sql = "COPY workers TO 'workers-out.csv'";
  const answer = await call(context, "sql", { sql });
  expect(answer.refused, "the server ran a COPY", answer);
  terminal.line();
  terminal.step("refused", "sql", sql, answer.ms, answer.text.trim().split("\n"));
}

async function ingestAgain(context: Tour, path: string): Promise<void> {
  const answer = await call<Ingested>(context, "ingest", { name: "workers", path });
  expectDone("ingest", answer);
  expect(answer.data.unchanged && answer.data.version === 1, "the same file made a new version", answer);
  terminal.step("done", "ingest", "the same file again: unchanged, still version 1", answer.ms);
}

/** The agency's next export renames a column: refused, and what is live stays as it was. */
async function showDrift(context: Tour, first: Ingested): Promise<void> {
  const path = join(context.folder, "workers-renamed.csv");
  const header = WORKER_COLUMNS.join(",").replace("hourly_rate", "pay_rate");
  await writeWorkers(path, { rows: LEAST_ROWS, header });
  const answer = await call(context, "ingest", { name: "workers", path });
  expect(answer.refused, "a changed schema replaced the table", answer);
  expect(/hourly_rate/.test(answer.text) && /pay_rate/.test(answer.text), "the conflict names no column", answer);
  terminal.step(
    "refused",
    "ingest",
    "a file whose hourly_rate is now pay_rate",
    answer.ms,
    answer.text.trim().split("\n"),
  );

  const live = await call<Described>(context, "catalog-describe", { name: "workers" });
  expectDone("catalog-describe", live);
  expect(live.data.version === 1 && live.data.rows === first.rows, "the refused file changed the table", live);
  terminal.step("done", "catalog-describe", `untouched: version 1, ${count(live.data.rows)} rows`, live.ms);
}

async function showMeaning(context: Tour): Promise<void> {
  await meaningTour({
    terminal,
    expect,
    done: async <T>(tool: string, args: Record<string, unknown>, onProgress?: Progress) => {
      const answer = await call<T>(context, tool, args, onProgress);
      expectDone(tool, answer);
      return answer;
    },
    restart: async () => {
      const started = performance.now();
      await context.server.close();
      server = undefined;
      context.server = (await start(context.rows)).server;
      server = context.server;
      return performance.now() - started;
    },
  });
}

type Progress = (fraction: number, message: string) => void;

async function call<T = unknown>(
  { server, calls }: Tour,
  name: string,
  args: Record<string, unknown>,
  onProgress?: Progress,
): Promise<Answer<T>> {
  const started = performance.now();
  const result = await server.client.callTool(
    { name, arguments: args },
    {
      timeout: INGEST_TIMEOUT_MS,
      ...(onProgress && {
        onprogress: ({ progress, total, message }) => onProgress(progress / (total ?? 1), message ?? ""),
      }),
    },
  );
  const ms = performance.now() - started;
  calls.count++;
  calls.ms += ms;
  const text = result.content.map((part) => (part.type === "text" ? part.text : "")).join("\n");
  return { text, refused: result.isError === true, data: result.structuredContent as T, ms };
}

function expectDone(tool: string, answer: Answer<unknown>): void {
  expect(!answer.refused && answer.data !== undefined, `${tool} failed`, answer);
}

function expect(condition: boolean, problem: string, answer?: Answer<unknown>): asserts condition {
  if (!condition) throw new Error(answer ? `${problem}. The server answered:\n${answer.text}` : problem);
}
