import { chmod, mkdir, mkdtemp, readdir, realpath, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { COMMAND_WORDS } from "../../../src/cli/words.ts";
import { inWords } from "../../../src/engine/kernel/next-step.ts";
import type { EngineSettings } from "../../../src/engine/settings.ts";
import { type Diagnosis, diagnose } from "../../../src/engine/upkeep/doctor/doctor.ts";
import { clock, commits, disk, folder as folderCheck } from "../../../src/engine/upkeep/doctor/folder-checks.ts";
import { testSettings } from "../../support/lake.ts";

let folder: string;
beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-doctor-test-")));
  await mkdir(join(folder, "inbox"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const settings = (overrides: Partial<EngineSettings> = {}): EngineSettings => testSettings(folder, overrides);
/** With its fix as a terminal shows it. */
const worded = (check: Diagnosis["checks"][number] | undefined) =>
  check?.fix === undefined ? check : { ...check, fix: inWords(check.fix, COMMAND_WORDS) };
const finding = ({ checks }: Diagnosis, name: string) => worded(checks.find((check) => check.name === name));

test("a sound installation is well, and the folder is as before", async () => {
  const report = await diagnose(settings());
  expect(report.ok).toBe(true);
  expect(report.checks.map(({ name }) => name)).toEqual([
    "node",
    "data folder",
    "free disk",
    "commits",
    "clock",
    "ingest folders",
    "duckdb",
    "manifests",
    "vector graphs",
    "embeddings",
  ]);
  expect(report.checks.filter(({ status }) => status === "fail")).toEqual([]);
  expect(finding(report, "data folder")?.found).toContain("does not exist yet");
  expect(await readdir(folder)).toEqual(["inbox"]);
  expect(finding(await diagnose(settings({ data: "memory" })), "commits")).toMatchObject({ status: "ok" });
});

test("a data folder that is a file, and one that cannot be written, fail with what to do", async () => {
  await writeFile(join(folder, "lake"), "x");
  const report = await diagnose(settings(), [folderCheck, disk, commits]);
  expect(report.ok).toBe(false);
  expect(finding(report, "data folder")).toMatchObject({
    status: "fail",
    found: expect.stringContaining("is a file"),
    fix: "Move that file away, or use another --data.",
  });
  await rm(join(folder, "lake"));
  // Root may write everywhere, but not into /proc.
  const locked = process.getuid?.() === 0 ? "/proc/lake" : join(folder, "locked");
  if (locked !== "/proc/lake") {
    await mkdir(locked);
    await chmod(locked, 0o500);
  }
  const refused = await diagnose(settings({ data: locked }), [folderCheck]);
  expect(finding(refused, "data folder")).toMatchObject({ status: "fail", fix: expect.any(String) });
});

test("a clock that is wrong, and one that was set back, are told", async () => {
  const at = (ms: number) => settings({ clock: { now: () => new Date(Date.now() + ms) } });
  await mkdir(join(folder, "lake", "catalog", "t"), { recursive: true });
  await writeFile(join(folder, "lake", "catalog", "t", "x.parquet"), "x");
  expect(finding(await diagnose(at(0), [clock]), "clock")).toMatchObject({ status: "ok" });
  expect(finding(await diagnose(at(-60_000), [clock]), "clock")).toMatchObject({
    status: "warn",
    found: expect.stringMatching(/clock is \d+ ms behind the file system/),
  });
  expect(finding(await diagnose(at(3600e3), [clock]), "clock")).toMatchObject({ status: "fail" });
  const { utimes } = await import("node:fs/promises");
  const future = new Date(Date.now() + 3600e3);
  await utimes(join(folder, "lake", "catalog", "t", "x.parquet"), future, future);
  expect(finding(await diagnose(at(0), [clock]), "clock")).toMatchObject({
    status: "warn",
    found: expect.stringContaining("in the future"),
  });
});

test("Ollama that is absent is a warning with auto, and a failure when it is asked for", async () => {
  const embed = { ...settings().embed, ollamaUrl: "http://127.0.0.1:9" };
  const auto = await diagnose(settings({ embed: { ...embed, provider: "auto" } }));
  expect(finding(auto, "embeddings")).toMatchObject({
    status: "warn",
    found: expect.stringContaining("builtin-512"),
    fix: expect.stringContaining("ollama serve"),
  });
  const asked = await diagnose(settings({ embed: { ...embed, provider: "ollama" } }));
  expect(finding(asked, "embeddings")).toMatchObject({ status: "fail" });
  expect(asked.ok).toBe(false);
});

test("Ollama without the model says how to get it, with the model its dimension", async () => {
  let has = false;
  const ollama = createServer((_request, response) => {
    response.statusCode = has ? 200 : 404;
    const model = { capabilities: ["embedding"], model_info: { "nomic-bert.embedding_length": 768 } };
    response.end(JSON.stringify(has ? model : { error: "model not found" }));
  });
  await new Promise<void>((resolve) => ollama.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(ollama.address() as AddressInfo).port}`;
  try {
    const embed = { ...settings().embed, provider: "ollama" as const, ollamaUrl: url };
    const { embeddings } = await import("../../../src/engine/upkeep/doctor/embed-checks.ts");
    const look = async () => worded((await diagnose(settings({ embed }), [embeddings])).checks[0]);
    expect(await look()).toMatchObject({ status: "fail", fix: expect.stringContaining("ollama pull") });
    has = true;
    expect(await look()).toMatchObject({ status: "ok", found: "nomic-embed-text by ollama, 768 dimensions." });
  } finally {
    ollama.close();
  }
});

test("an allowed folder that is none, exact search, and a check that throws are findings", async () => {
  const report = await diagnose(
    settings({ allow: [join(folder, "nowhere")], vector: { ...settings().vector, hnsw: false } }),
  );
  expect(finding(report, "ingest folders")).toMatchObject({ status: "warn", fix: expect.stringContaining("--allow") });
  expect(finding(report, "vector graphs")).toMatchObject({ status: "ok", found: expect.stringContaining("exact") });
  const thrown = await diagnose(settings(), [
    { name: "boom", run: () => Promise.reject(new Error("it broke\n    at somewhere")) },
  ]);
  expect(thrown).toEqual({ ok: false, checks: [{ name: "boom", status: "fail", found: "it broke" }] });
});
