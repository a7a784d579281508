import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { MAIN, openWorkspace } from "./process.ts";

test.each(["legacy", "modern"] as const)("a %s client works with the built server over stdio", async (era) => {
  await using workspace = await openWorkspace();
  const server = await workspace.start({ era });
  expect(server.client.getProtocolEra()).toBe(era);
  const path = await workspace.file("workers.csv", "id,name\n1,Ann\n2,Bob\n");
  expect(await server.call("ingest", { name: "workers", path })).toMatchObject({ rows: 2, version: 1 });
  expect(await server.call("sql", { sql: "SELECT count(*) AS n FROM workers" })).toMatchObject({ rows: [[2]] });
  const progress: number[] = [];
  await server.client.callTool(
    { name: "ingest", arguments: { name: "workers", text: "id,name\n3,Cy\n" } },
    { onprogress: (update) => progress.push(update.progress) },
  );
  expect(progress.at(-1)).toBe(1);
  expect([...progress].sort((a, b) => a - b)).toEqual(progress);
});

test("stdout carries nothing but the protocol", async () => {
  await using workspace = await openWorkspace();
  const child = spawn(process.execPath, [MAIN, "--data", join(workspace.folder, "lake")], { cwd: workspace.folder });
  let stdout = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  let id = 0;
  const send = (method: string, params: object, notify = false): void => {
    id += 1;
    child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...(notify ? {} : { id }), method, params })}\n`);
  };
  send("initialize", { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "raw", version: "1" } });
  send("notifications/initialized", {}, true);
  const statements = [
    "PRAGMA enable_profiling",
    "EXPLAIN ANALYZE SELECT sum(range) FROM range(1000000)",
    "SET enable_progress_bar_print = true",
    "SELECT write_log('x')",
    "SELECT count(*) FROM range(50000000)",
    "SELEC 1",
  ];
  for (const sql of statements) send("tools/call", { name: "sql", arguments: { sql } });
  child.stdin.write("this is not JSON\n");
  send("tools/call", { name: "ingest", arguments: { name: "t", text: "a\n1\n" } });
  const requests = statements.length + 2;
  const ids = () => new Set([...stdout.matchAll(/"id":(\d+)/g)].map(([, id]) => id));
  for (let tries = 0; tries < 800 && ids().size < requests; tries += 1) await sleep(50);
  child.stdin.end();
  const [code] = await once(child, "exit");
  expect(code).toBe(0);
  const answered = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  for (const message of answered) expect(message.jsonrpc).toBe("2.0");
  expect(new Set(answered.flatMap((message) => message.id ?? [])).size).toBe(requests);
});

test("inline text up to the limit is read, more is refused, and the next call is answered", async () => {
  await using workspace = await openWorkspace();
  const server = await workspace.start();
  const text = `a,b\n${`1,${"x".repeat(98)}\n`.repeat(160_000)}`;
  expect(await server.call("ingest", { name: "large", text })).toMatchObject({ rows: 160_000 });
  await expect(server.call("ingest", { name: "larger", text: text + text })).rejects.toThrow(/text/);
  await expect(server.call("ingest", { name: "largest", text: text + text + text })).rejects.toThrow(/use path/);
  expect((await server.call("sql", { sql: "SELECT count(*) FROM large" })).rows).toEqual([[160_000]]);
});

test("a server started in / offers no folder by itself", async () => {
  await using workspace = await openWorkspace();
  const { stderr } = spawnSync(process.execPath, [MAIN, "--data", join(workspace.folder, "lake")], {
    cwd: "/",
    encoding: "utf8",
    input: "",
  });
  expect(stderr).toContain("no folder is allowed");
});

test("the server ends when its client goes, and on a signal", async () => {
  await using workspace = await openWorkspace();
  for (const stop of ["SIGTERM", "SIGINT", "SIGHUP", "stdin"] as const) {
    const child = spawn(process.execPath, [MAIN, "--data", join(workspace.folder, "lake")], { cwd: workspace.folder });
    child.stdin.write(
      `${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "raw", version: "1" } } })}\n`,
    );
    await once(child.stdout, "data");
    if (stop === "stdin") child.stdin.end();
    else child.kill(stop);
    const [code] = await once(child, "exit");
    expect(code, stop).toBe(0);
  }
});

test("two servers on one folder see each other's commits at once and lose nothing", async () => {
  await using workspace = await openWorkspace();
  const [a, b] = await Promise.all([workspace.start({ era: "legacy" }), workspace.start()]);
  await a.call("ingest", { name: "shared", text: "writer,n\nstart,0\n" });
  expect(await b.call("sql", { sql: "SELECT count(*) FROM shared" })).toMatchObject({ rows: [[1]] });
  const rounds = Array.from({ length: 10 }, (_, n) => n);
  await Promise.all(
    [a, b].map(async (server, index) => {
      for (const n of rounds) {
        await server.call("ingest", { name: "shared", mode: "append", text: `writer,n\n${"ab"[index]},${n}\n` });
      }
    }),
  );
  const sql = "SELECT writer, count(*), count(DISTINCT n) FROM shared GROUP BY writer ORDER BY writer";
  for (const server of [a, b]) {
    expect((await server.call("sql", { sql })).rows).toEqual([
      ["a", 10, 10],
      ["b", 10, 10],
      ["start", 1, 1],
    ]);
    expect(await server.call("catalog-describe", { name: "shared" })).toMatchObject({
      version: 21,
      versions_total: 21,
    });
  }
});

test("kill -9 in the middle of writing leaves every acknowledged version and nothing half-done", async () => {
  await using workspace = await openWorkspace();
  const acknowledged: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    const server = await workspace.start();
    const writing = (async () => {
      for (let n = 0; n < 1000; n += 1) {
        const value = round * 1000 + n;
        await server.call("ingest", { name: "log", mode: "append", text: `value\n${value}\n` });
        acknowledged.push(value);
      }
    })().catch(() => "killed");
    const before = acknowledged.length;
    while (acknowledged.length < before + 3) await sleep(5);
    await sleep(round * 23);
    process.kill(server.pid, "SIGKILL");
    expect(await writing).toBe("killed");
  }
  const server = await workspace.start();
  const { rows } = await server.call("sql", { sql: "SELECT value FROM log ORDER BY value", max_rows: 10_000 });
  const present = (rows as number[][]).map(([value]) => value ?? -1);
  expect(new Set(present).size).toBe(present.length);
  expect(present).toEqual(expect.arrayContaining(acknowledged));
  // At most one write a round was under way, unacknowledged, when the process died.
  expect(present.length - acknowledged.length).toBeLessThanOrEqual(4);
  await server.call("ingest", { name: "log", mode: "append", text: "value\n-1\n" });
});

test("a start that cannot work says why, in one sentence, and exits with 2", async () => {
  await using workspace = await openWorkspace();
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [MAIN, ...args], { cwd: workspace.folder, encoding: "utf8" });
  writeFileSync(join(workspace.folder, "file"), "");
  for (const [args, said] of [
    [["--datta", "x"], "--data"],
    [["--data", "file"], "file"],
    [["--config", "nowhere.toml"], "nowhere.toml"],
    [["--threads", "many"], "--threads"],
    [["teleport"], "teleport"],
  ] as const) {
    const { status, stderr, stdout } = run(...args);
    expect(status, args.join(" ")).toBe(2);
    expect(stderr).toContain(said);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(stdout).toBe("");
  }
});

test("--help, --version and --print-config answer and exit", async () => {
  await using workspace = await openWorkspace();
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [MAIN, ...args], { cwd: workspace.folder, encoding: "utf8" });
  expect(run("--help").stdout).toContain("--max-ingest-bytes");
  expect(run("--version").stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  const config = JSON.parse(run("--print-config", "--threads", "3").stdout);
  expect(config).toMatchObject({ threads: 3, max_ingest_bytes: 268_435_456 });
  expect(readdirSync(workspace.folder)).toEqual(["inbox"]);
});

test("numbers are exact over stdio, and a message that is too deep is refused by its id", async () => {
  await using workspace = await openWorkspace();
  const child = spawn(process.execPath, [MAIN, "--data", join(workspace.folder, "lake")], { cwd: workspace.folder });
  let stdout = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  const messages = [
    '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}',
    '{"jsonrpc":"2.0","method":"notifications/initialized"}',
    '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"sql","arguments":{"sql":"SELECT $1","params":[9007199254740993]}}}',
    `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"sql","arguments":{"sql":"SELECT $1","params":${"[".repeat(100_000)}${"]".repeat(100_000)}}}}`,
    `{"jsonrpc":"2.0","id":"four","method":"resources/read","params":{"uri":"lakehouse://${"x".repeat(3_800_000)}"}}`,
    "\r",
    `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"sql","arguments":{"sql":"SELECT $1","params":[${"7".repeat(3_000_000)}]}}}`,
    '{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"sql","arguments":{"sql":"SELECT 6"}}}\r',
  ];
  // In pieces that end anywhere.
  const bytes = Buffer.from(`${messages.join("\n")}\n`);
  for (let at = 0; at < bytes.length; at += 65_537) child.stdin.write(bytes.subarray(at, at + 65_537));
  const answers = () =>
    stdout
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  while (answers().length < 6) await sleep(50);
  const byId = new Map(answers().map((answer) => [answer.id, JSON.stringify(answer.result ?? answer.error)]));
  expect(byId.get(2)).toContain('"rows":[["9007199254740993"]]');
  expect(byId.get(3)).toContain("nested more than 100 deep");
  expect(byId.get("four")).toContain("its uri has 3800012 characters");
  expect(byId.get(5)).toContain("3000000 characters");
  expect(byId.get(6)).toContain('"rows":[[6]]');
  expect(stdout.length).toBeLessThan(20_000);
  child.stdin.end();
  const [code] = (await once(child, "exit")) as [number];
  expect(code).toBe(0);
});
