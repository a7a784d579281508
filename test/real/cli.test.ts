import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, createWriteStream, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { MAIN, openWorkspace, type Workspace } from "./process.ts";

const FILES = {
  "Q3 Workers.csv": "id,name,zip\n1,Ann,01234\n2,日本語,60601\n3,,x\n",
  "bad.csv": "a,b\n1,2\n1,2,3\n4,5\n",
};

async function openFolder(): Promise<Workspace & { run: ReturnType<typeof runner> }> {
  const workspace = await openWorkspace();
  for (const [name, content] of Object.entries(FILES)) writeFileSync(join(workspace.folder, name), content);
  return { ...workspace, run: runner(workspace.folder) };
}

function runner(cwd: string) {
  return (args: string[], input = "") => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
      cwd,
      input,
      encoding: "utf8",
      maxBuffer: 2 ** 28,
    });
    return { status, stdout, stderr };
  };
}

function start(cwd: string, args: string[]): ChildProcess & { stderrText: () => string; closed: Promise<unknown[]> } {
  const env = { ...process.env, TMPDIR: cwd };
  const child = spawn(process.execPath, [MAIN, ...args], { cwd, env, stdio: ["pipe", "pipe", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  // From now on: a child that ends before it is asked must not be waited for in vain.
  return Object.assign(child, { stderrText: () => stderr, closed: once(child, "close") });
}

test("lines before a table are told, blank ones as such", async () => {
  await using folder = await openFolder();
  const { run } = folder;
  const blank = run(["ingest", "-", "--name", "blank"], "\n\nid,n\n1,2\n");
  expect(blank.stdout).toContain("  left out 2 blank lines before the table\n  column names are on line 3\n");
  const titled = run(["ingest", "-", "--name", "titled"], "Report\n\nid,n,m\n1,2,3\n");
  expect(titled.stdout).toContain(
    '  left out 2 lines before the table (--skip-lines 0 keeps them):\n    line 1: "Report"\n    and 1 blank line\n',
  );
});

test("a person loads files, looks, asks, and is told what happened", async () => {
  await using folder = await openFolder();
  const { run } = folder;

  const loaded = run(["ingest", "Q3 Workers.csv", "bad.csv"]);
  expect(loaded.stdout).toMatch(
    /^q3_workers: version 1, 3 rows, 3 columns, .* 3 rows from Q3 Workers\.csv in [\d.]+ s\n/,
  );
  expect(loaded.stdout).toContain('named q3_workers: "Q3 Workers" cannot be');
  expect(
    loaded.stderr,
  ).toBe(`lakehouse-mcp: bad.csv, line 3, column "b": expected 2 columns, found 3. Nothing was ingested.
Repair the file, or call again with --on-bad-rows skip to leave out that row.
1 of 2 files loaded.
`);
  expect(loaded.status).toBe(2);

  const skipped = run(["ingest", "bad.csv", "--on-bad-rows", "skip"]);
  expect(skipped.stdout).toContain('  left out 1 bad row:\n    line 3: column "b": expected 2 columns, found 3\n');
  expect(skipped).toMatchObject({ status: 0, stderr: "" });
  expect(run(["ingest", "bad.csv", "--on-bad-rows", "skip"]).stdout).toContain(
    "bad: unchanged, version 1 holds bad.csv",
  );
  expect(run(["ingest", "-", "--name", "piped", "--json"], "x\n1\n2\n")).toMatchObject({ status: 0, stderr: "" });

  const listed = run(["list", "--json"]);
  expect(JSON.parse(listed.stdout).map(({ name, rows }: { name: string; rows: number }) => [name, rows])).toEqual([
    ["bad", 2],
    ["piped", 2],
    ["q3_workers", 3],
  ]);
  expect(run(["list", "zip"]).stdout).toMatch(/^name .*\n─.*\nq3_workers +table +1 +3 /);
  const described = run(["describe", "q3_workers@1"]);
  expect(described.stdout).toContain("create from Q3 Workers.csv");
  expect(described.stdout).toMatch(/^zip +VARCHAR +01234 +x +0$/m);
  expect(JSON.parse(run(["describe", "piped", "--json"]).stdout)).toMatchObject({ source: "stdin", rows: 2 });

  const asked = run(["sql", "SELECT * FROM q3_workers ORDER BY id"]);
  expect(asked.stdout).toBe(`id  name    zip
──  ──────  ─────
 1  Ann     01234
 2  日本語  60601
 3  NULL    x
`);
  expect(asked.stderr).toMatch(/^3 rows from q3_workers@1, \d+ ms\n$/);
  writeFileSync(join(folder.folder, "q.sql"), "SELECT $zip || name AS both FROM q3_workers WHERE id = $id");
  expect(run(["sql", "--file", "q.sql", "-p", 'zip="0"', "-p", "id=1", "-o", "ndjson"]).stdout).toBe(
    '{"both":"0Ann"}\n',
  );
  expect(run(["sql", "-o", "json"], "SELECT 1 AS one").stdout).toBe('[\n{"one":1}\n]\n');
  expect(run(["sql", "EXPLAIN SELECT 1"]).stdout).toContain("┌──");
  expect(run(["sql", "-o", "csv", "--", "-- why\nSELECT 1 AS one"]).stdout).toBe("one\r\n1\r\n");
  const more = run(["sql", "--max-rows", "2", "SELECT * FROM range(5)"]);
  expect(more.stderr).toContain("There are more rows: these are the first 2.");
}, 180_000);

test("an index is searched", async () => {
  await using folder = await openFolder();
  await using server = await folder.start({ env: { LAKEHOUSE_EMBED_PROVIDER: "builtin" } });
  await server.call("vector-index-create", { name: "notes", model: "builtin-512" });
  await server.call("vector-upsert", {
    index: "notes",
    items: [
      { id: "a", text: "forklift driver, night shift", metadata: { state: "IL" } },
      { id: "b", text: "pastry chef", metadata: { state: "WI" } },
    ],
  });
  const search = (...args: string[]) =>
    folder.run(["search", "notes", ...args, "--data", "lake", "--embed-provider", "builtin", "-o", "ndjson"]);
  const found = search("forklift", "-k", "1", "--include", "text");
  expect(JSON.parse(found.stdout)).toMatchObject({
    id: "a",
    text: "forklift driver, night shift",
    metadata: { state: "IL" },
  });
  expect(found.stderr).toMatch(/^1 hit in notes@\d+ \(2 items\), cosine, /);
  expect(JSON.parse(search("forklift", "--where", "metadata->>'state' = 'WI'").stdout)).toMatchObject({ id: "b" });
  expect(search().status).toBe(2);
}, 120_000);

test("CSV that was written is read back as the same rows", async () => {
  await using folder = await openFolder();
  const { run } = folder;
  const sql = `SELECT * FROM (VALUES
    (1, 'plain', 1.5, DATE '2024-02-29', TIMESTAMP '2024-02-29 12:00:00.5', true),
    (-9007199254740993, 'comma, "quote"' || chr(10) || 'line' || chr(13), 1e-300, NULL, NULL, NULL),
    (NULL, '', NULL, DATE '1969-12-31', TIMESTAMP '1969-12-31 23:59:59', false),
    (3, NULL, 0.1, NULL, NULL, NULL),
    (4, ' edges ', -2, NULL, NULL, NULL),
    (5, '日本語 👩‍👩‍👧 |', 7, NULL, NULL, NULL),
    (6, '007', 7, NULL, NULL, NULL)) t(n, text, d, day, moment, yes)`;
  const first = run(["sql", "-o", "csv", sql]);
  expect(first).toMatchObject({ status: 0, stderr: "" });
  const loaded = run(["ingest", "-", "--name", "back", "--json"], first.stdout);
  expect(JSON.parse(loaded.stdout).columns.map(({ type }: { type: string }) => type)).toEqual([
    "BIGINT",
    "VARCHAR",
    "DOUBLE",
    "DATE",
    "TIMESTAMP",
    "BOOLEAN",
  ]);
  // The one thing that CSV as ingest reads it cannot say: an empty text is taken for NULL.
  const again = run(["sql", "-o", "csv", "FROM back"]);
  expect(again.stdout).toBe(first.stdout.replace(',"",', ",,"));

  const single = run(["sql", "-o", "csv", "SELECT unnest(['a', NULL, 'b']) AS word"]);
  expect(single.stdout).toBe('word\r\na\r\n""\r\nb\r\n');
  expect(run(["ingest", "-", "--name", "single"], single.stdout).status).toBe(0);
  expect(run(["sql", "-o", "csv", "FROM single"]).stdout).toBe(single.stdout);
}, 120_000);

test("exit codes tell what went wrong", async () => {
  await using folder = await openFolder();
  const { run } = folder;
  run(["ingest", "Q3 Workers.csv"]);
  for (const [code, args, said] of [
    [2, ["sql", "SELEC 1"], "syntax error"],
    [2, ["sql", "SELECT 1", "--outptu", "csv"], "--output"],
    [2, ["ingest"], "argument is missing"],
    [2, ["sql", "SELECT 1", "-o", "table", "-n", "20000"], "10000"],
    [3, ["ingest", "nowhere.csv"], "nowhere.csv"],
    [3, ["describe", "q3_worker"], "q3_workers"],
    [3, ["list", "--data", "elsewhere"], "no lakehouse in elsewhere"],
    [4, ["sql", "DROP TABLE q3_workers"], "read"],
    [4, ["sql", "SELECT * FROM read_csv('bad.csv')"], "read_csv"],
    [5, ["ingest", "Q3 Workers.csv", "--max-ingest-bytes", "10"], "--max-ingest-bytes"],
    [5, ["ingest", "-", "--name", "x", "--max-ingest-bytes", "10"], "--max-ingest-bytes"],
    [5, ["sql", "SELECT count(*) FROM range(1e12::BIGINT) a", "--query-timeout", "300ms"], "--query-timeout"],
    [6, ["ingest", "Q3 Workers.csv", "--mode", "create"], "exists already"],
  ] as const) {
    const { status, stderr, stdout } = run([...args], "a,b\n1,2\n3,4\n5,6\n");
    expect(stderr, args.join(" ")).toContain(said);
    expect(status, args.join(" ")).toBe(code);
    expect(stdout).toBe("");
    expect(stderr).not.toMatch(/\n\s+at |"level":/);
  }
  expect(readdirSync(folder.folder).sort()).toEqual(["Q3 Workers.csv", "bad.csv", "inbox", "lakehouse-data"]);
}, 180_000);

test("a damaged manifest ends with 8, and is named", async () => {
  await using folder = await openFolder();
  const { run } = folder;
  run(["ingest", "Q3 Workers.csv"]);
  const versions = join(folder.folder, "lakehouse-data", "catalog", "q3_workers");
  for (const name of readdirSync(versions)) writeFileSync(join(versions, name), "damaged");
  for (const args of [
    ["describe", "q3_workers"],
    ["sql", "FROM q3_workers"],
  ]) {
    const { status, stderr, stdout } = run(args);
    expect(stderr, args.join(" ")).toMatch(/^lakehouse-mcp: catalog\/q3_workers\/\d+\.parquet is damaged: /m);
    expect([status, stdout], args.join(" ")).toEqual([8, ""]);
  }
}, 120_000);

test("a million rows are written in bounded memory, and a reader that has enough is no error", async () => {
  await using folder = await openFolder();
  const query = "SELECT i, 'row number ' || i AS text, i * 1.5 AS x FROM range(1000000) t(i)";
  const exporting = start(folder.folder, ["sql", "-o", "csv", query]);
  const target = join(folder.folder, "out.csv");
  exporting.stdout?.pipe(createWriteStream(target));
  let peak = 0;
  const watch = setInterval(() => {
    peak = Math.max(peak, residentOf(exporting.pid ?? 0));
  }, 50);
  const [code] = await exporting.closed;
  clearInterval(watch);
  expect(exporting.stderrText()).toBe("");
  expect(code).toBe(0);
  const text = readFileSync(target, "utf8");
  expect(text.length).toBeGreaterThan(30e6);
  expect(text.endsWith("999999,row number 999999,1499998.5\r\n")).toBe(true);
  if (process.platform === "linux") expect(peak).toBeLessThan(400 * 2 ** 20);

  const cut = start(folder.folder, ["sql", "-o", "csv", query]);
  await once(cut.stdout as NonNullable<typeof cut.stdout>, "data");
  cut.stdout?.destroy();
  expect(await cut.closed).toEqual([0, null]);
  expect(cut.stderrText()).toBe("");
}, 180_000);

test("Ctrl-C ends a query and a load with 130, and leaves nothing behind", async () => {
  await using folder = await openFolder();
  const query = start(folder.folder, ["sql", "SELECT count(*) FROM range(1e13::BIGINT) a"]);
  const temporary = (start: string) => readdirSync(folder.folder).some((name) => name.startsWith(start));
  while (query.exitCode === null && !temporary("lakehouse-query-")) await sleep(20);
  await sleep(500);
  query.kill("SIGINT");
  expect(await query.closed).toEqual([130, null]);
  expect(query.stderrText()).toBe("lakehouse-mcp: cancelled.\n");

  const big = join(folder.folder, "big.csv");
  const lines = Array.from({ length: 1_500_000 }, (_, n) => `${n},text of line ${n},${n / 7}`);
  writeFileSync(big, `n,text,x\n${lines.join("\n")}\n`);
  const load = start(folder.folder, ["ingest", "big.csv"]);
  const spool = join(folder.folder, "lakehouse-data", ".spool");
  const spooled = () => existsSync(spool) && readdirSync(spool).some((name) => name.startsWith("ingest."));
  while (load.exitCode === null && !spooled()) await sleep(20);
  load.kill("SIGINT");
  load.kill("SIGINT");
  expect(await load.closed).toEqual([130, null]);
  expect(readdirSync(spool)).toEqual([]);
  expect(folder.run(["list", "--json"]).stdout).toBe("[]\n");

  const waiting = start(folder.folder, ["ingest", "-", "--name", "x"]);
  while (waiting.exitCode === null && !temporary("lakehouse-stdin-")) await sleep(20);
  waiting.kill("SIGINT");
  expect(await waiting.closed).toEqual([130, null]);
  expect(temporary("lakehouse-stdin-")).toBe(false);
}, 180_000);

test("SIGTERM ends a query that runs with 143", async () => {
  await using folder = await openFolder();
  const query = start(folder.folder, ["sql", "-o", "ndjson", "FROM range(1e13::BIGINT)"]);
  await once(query.stdout as NonNullable<typeof query.stdout>, "data");
  query.stdout?.resume();
  query.kill("SIGTERM");
  expect(await query.closed).toEqual([143, null]);
  expect(query.stderrText()).toBe("lakehouse-mcp: cancelled.\n");
}, 120_000);

const HAS_SCRIPT = spawnSync("script", ["--version"], { encoding: "utf8" }).stdout?.includes("util-linux") ?? false;

/** What a command writes to a terminal that does not know its size. */
function onTerminal(cwd: string, args: string[]): string[] {
  const command = [process.execPath, MAIN, ...args].map((word) => `'${word}'`).join(" ");
  const { stdout } = spawnSync("script", ["-qec", `stty cols 0 rows 0; ${command}`, "/dev/null"], {
    cwd,
    encoding: "utf8",
  });
  return stdout.split("\r\n");
}

describe.skipIf(!HAS_SCRIPT && process.env.CI === undefined)("a terminal of width 0 counts as one of 80", () => {
  test("for a table", async () => {
    await using folder = await openFolder();
    const [head, rule, row] = onTerminal(folder.folder, ["sql", "SELECT repeat(chr(120), 200) AS a, 1 AS n"]);
    expect([head, rule, row].map((line) => line?.length)).toEqual([80, 80, 80]);
    expect(row).toBe(`${"x".repeat(76)}…  1`);
  });

  test("for a bar of progress", async () => {
    await using folder = await openFolder();
    const [drawn] = onTerminal(folder.folder, ["ingest", "Q3 Workers.csv"]);
    expect(drawn).toMatch(/^\r[█░]{24} +\d+ % {2}Q3 Workers\.csv: \w+/);
  });
});

test.skipIf(!existsSync("/dev/full"))(
  "output that cannot be written is told, without a stack",
  async () => {
    await using folder = await openFolder();
    const full = openSync("/dev/full", "w");
    const { status, stderr } = spawnSync(process.execPath, [MAIN, "sql", "-o", "csv", "FROM range(100000)"], {
      cwd: folder.folder,
      stdio: ["ignore", full, "pipe"],
      encoding: "utf8",
    });
    closeSync(full);
    expect({ status, stderr }).toEqual({ status: 7, stderr: "lakehouse-mcp: the output cannot be written: ENOSPC.\n" });
  },
  60_000,
);

test("help, and names that are nearly right", async () => {
  await using folder = await openFolder();
  const { run } = folder;
  const help = run(["--help"]).stdout;
  for (const name of ["stdio", "serve", "ingest", "sql", "list", "describe", "search"]) {
    expect(help).toMatch(new RegExp(`^  ${name} `, "m"));
    const own = run(["help", name]);
    expect(own).toMatchObject({ status: 0, stderr: "" });
    expect(run([name, "--help"]).stdout).toBe(own.stdout);
  }
  expect(run(["ingets", "x.csv"])).toMatchObject({ status: 2, stderr: expect.stringContaining("ingest") });
  expect(run(["sql", "SELECT 1", "--log-level", "info"]).stderr).toContain("1 row");
}, 180_000);

/** Bytes of memory that a process has; 0 where that cannot be read. */
function residentOf(pid: number): number {
  try {
    const [, kib = "0"] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Number(kib) * 1024;
  } catch {
    return 0;
  }
}

test("parameters of the command line are exact", async () => {
  await using folder = await openFolder();
  const sql = "SELECT $1::VARCHAR AS one, typeof($1) AS type, $2[1] AS two";
  const { status, stdout, stderr } = folder.run([
    ...["sql", sql, "-p", "9007199254740993", "-p", "[9007199254740993, 1]", "-o", "ndjson", "--data", "memory"],
  ]);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  expect(JSON.parse(stdout.split("\n")[0] ?? "")).toMatchObject({ one: "9007199254740993", type: "BIGINT" });
  expect(stdout).toMatch(/"two":\s*"?9007199254740993\b/);
});
