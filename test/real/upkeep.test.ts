import { execFile, fork } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeOlder } from "../support/aging.ts";
import { MAIN, openWorkspace, type Workspace } from "./process.ts";

interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

/** A command of the built program, as a person runs it. */
function run({ folder }: Workspace, ...args: string[]): Promise<Ran> {
  const env = { ...process.env, LAKEHOUSE_DATA: join(folder, "lake") };
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], { cwd: folder, env }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

const MINIMAL = ["--retain-versions", "1", "--retain-age", "0", "--gc-grace", "2s", "--ingest-timeout", "1s"];

test("restore, gc, verify and doctor do and say what they did, also as JSON, with a server on the lake", async () => {
  await using workspace = await openWorkspace();
  const server = await workspace.start();
  for (const value of [1, 2, 3]) await server.call("ingest", { name: "workers", text: `a\n${value}\n` });

  expect(await run(workspace, "restore", "workers@1")).toEqual({
    code: 0,
    stdout: "workers@4 is version 1 again: 1 row\n",
    stderr: "",
  });
  expect(await server.call("sql", { sql: "FROM workers" })).toMatchObject({ rows: [[1]] });
  expect(await run(workspace, "restore", "workers@1")).toMatchObject({
    stdout: "workers@4 has the content of version 1 already: 1 row\n",
  });
  expect(await run(workspace, "restore", "worker@1")).toMatchObject({
    code: 3,
    stdout: "",
    stderr: expect.stringContaining("Did you mean workers?"),
  });

  const lake = join(workspace.folder, "lake");
  await makeOlder(lake, 60_000);
  const dry = await run(workspace, "gc", ...MINIMAL);
  expect(dry).toMatchObject({ code: 0, stderr: "" });
  expect(dry.stdout).toMatch(/^Would remove 3 old versions and 0 unused files/);
  expect(dry.stdout).toContain("  workers: versions 1 to 3; later 2 files");
  expect(dry.stdout).toContain("With --delete it is done.");
  const removed = await run(workspace, "gc", "--delete", "--json", ...MINIMAL);
  expect(JSON.parse(removed.stdout)).toMatchObject({ deleted: true, versions: 3, files: 0, laterFiles: 2 });
  await makeOlder(lake, 60_000);
  expect((await run(workspace, "gc", "--delete", ...MINIMAL)).stdout).toContain("workers: 2 files");
  expect(await server.call("sql", { sql: "FROM workers" })).toMatchObject({ rows: [[1]] });
  await expect(server.call("sql", { sql: 'FROM "workers@2"' })).rejects.toThrow("was removed by gc");
  expect(await run(workspace, "gc", "--gc-grace", "5s")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("Raise --gc-grace, or lower --ingest-timeout"),
  });

  expect(await run(workspace, "verify")).toMatchObject({ code: 0, stdout: expect.stringContaining("all sound.") });
  const [file = ""] = (await readdir(join(lake, "data"), { recursive: true })).filter((name) =>
    name.endsWith("parquet"),
  );
  const bytes = await readFile(join(lake, "data", file));
  await writeFile(join(lake, "data", file), Buffer.from(bytes).fill(1, 10, 12));
  expect(await run(workspace, "verify", "--quick")).toMatchObject({ code: 0 });
  const damaged = await run(workspace, "verify");
  expect(damaged).toMatchObject({ code: 1, stderr: "" });
  expect(damaged.stdout).toContain(`workers version 4: data/${file} has another content than its name says.`);
  await rm(join(lake, "data", file));
  const lost = await run(workspace, "verify", "--quick", "--json");
  expect(lost.code).toBe(1);
  expect(JSON.parse(lost.stdout)).toMatchObject({ ok: false, problems: [{ kind: "missing", dataset: "workers" }] });

  const doctor = await run(workspace, "doctor", "--embed-provider", "builtin");
  expect(doctor.stdout).toMatch(/^ok {4}node {12}Node \d+/);
  expect(doctor).toMatchObject({ code: 0, stderr: "" });
  const failed = await run(
    workspace,
    "doctor",
    "--json",
    "--embed-provider",
    "ollama",
    "--ollama-url",
    "http://127.0.0.1:9",
  );
  expect(failed.code).toBe(1);
  const { ok, checks } = JSON.parse(failed.stdout) as { ok: boolean; checks: { name: string; status: string }[] };
  expect(ok).toBe(false);
  expect(checks.filter(({ status }) => status === "fail").map(({ name }) => name)).toEqual(["embeddings"]);
});

const GC = [
  "gc",
  "--delete",
  "--retain-versions",
  "1",
  "--retain-age",
  "0",
  "--gc-grace",
  "2m",
  "--ingest-timeout",
  "1m",
];

/** The writer wants, over and over, the few contents that gc finds unused. */
test("gc killed at random moments beside a writer of the same contents loses nothing", async () => {
  await using workspace = await openWorkspace();
  const server = await workspace.start();
  const lake = join(workspace.folder, "lake");
  let version = 0;
  for (let round = 0; round < 8; round++) {
    await makeOlder(lake, 600_000);
    const collector = fork(MAIN, [...GC, "--data", lake], { stdio: "ignore" });
    const ended = once(collector, "exit");
    const kill = round % 2 === 0 ? setTimeout(() => collector.kill("SIGKILL"), 500 + round * 100) : undefined;
    for (let commits = 0; commits < 4 || collector.exitCode === null; commits++) {
      const value = version % 3;
      const done = await server.call("ingest", { name: "t", text: `a\n${value}\n` });
      version++;
      expect(done.version).toBe(version);
      expect(await server.call("sql", { sql: "FROM t" })).toMatchObject({ rows: [[value]] });
      if (collector.signalCode !== null && commits >= 3) break;
    }
    await ended;
    clearTimeout(kill);
  }
  expect(version).toBeGreaterThan(10);
  expect(await run(workspace, "verify")).toMatchObject({ code: 0, stdout: expect.stringContaining("all sound") });
  expect((await readdir(join(lake, "catalog", "t"))).length).toBeLessThan(version);
}, 180_000);
