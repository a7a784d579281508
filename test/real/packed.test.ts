import { spawnSync } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { tableFromArrays, tableToIPC } from "apache-arrow";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openWorkspace, type Workspace } from "./process.ts";

// What users get: the tarball, installed into an empty folder. Every program and worker of it is started.

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** As scripts/bundle.mjs has them. */
const PROGRAMS = [
  "dist/main.js",
  "dist/engine/process/main.js",
  "dist/engine/ann/shard-worker.js",
  "dist/engine/ann/graph.wasm",
  "dist/engine/ingest/compression/zstd-worker.js",
  "dist/engine/ingest/json/json-worker.js",
  "dist/engine/parquet/arrow-ipc-worker.js",
];

let workspace: Workspace;
let packed: string[];
let installed: string;

beforeAll(async () => {
  workspace = await openWorkspace();
  const { files, filename } = JSON.parse(
    npm(["pack", "--json", "--ignore-scripts", "--pack-destination", workspace.folder], ROOT),
  )[0] as { files: { path: string }[]; filename: string };
  packed = files.map(({ path }) => path);
  const home = join(workspace.folder, "home");
  await mkdir(home);
  npm(["init", "-y"], home);
  npm(["install", "--prefer-offline", "--no-audit", "--no-fund", join(workspace.folder, filename)], home);
  installed = join(home, "node_modules/lakehouse-mcp");
}, 300_000);
afterAll(() => workspace[Symbol.asyncDispose]());

function npm(args: string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync("npm", args, { cwd, encoding: "utf8" });
  expect(status, stderr).toBe(0);
  return stdout;
}

test("holds the programs, their source maps and the documents, and nothing else of the sources", () => {
  expect(packed).toEqual(expect.arrayContaining([...PROGRAMS, "README.md", "docs/tools.md", "LICENSE", "mcp.json"]));
  expect(
    packed.filter(
      (path) => !/^(dist\/|docs\/[a-z0-9]+\.md$|[A-Z]+\.md$|LICENSE$|mcp\.json$|package\.json$)/.test(path),
    ),
  ).toEqual([]);
  const scripts = packed.filter((path) => path.endsWith(".js"));
  expect(scripts.filter((path) => !packed.includes(`${path}.map`))).toEqual([]);
});

test("serves through npx", () => {
  const messages = [
    {
      jsonrpc: "2.0",
      id: 1,
      method: "initialize",
      params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "raw", version: "1" } },
    },
    { jsonrpc: "2.0", method: "notifications/initialized" },
    { jsonrpc: "2.0", id: 2, method: "tools/list" },
  ];
  const served = spawnSync("npx", ["--no-install", "lakehouse-mcp"], {
    cwd: join(workspace.folder, "home"),
    encoding: "utf8",
    input: `${messages.map((message) => JSON.stringify(message)).join("\n")}\n`,
  });
  expect(served.stdout).toContain('"catalog-describe"');
});

/** A frame of one block that is stored as it is: RFC 8878, section 3.1.1. Node 20 cannot compress. */
function zstd(content: string): Buffer {
  const bytes = Buffer.from(content);
  const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32LE(bytes.length, 5);
  header.writeUIntLE((bytes.length << 3) | 1, 9, 3);
  return Buffer.concat([header, bytes]);
}

test("loads every format, answers SQL and searches: each worker and process is found", async () => {
  await using server = await workspace.start({ main: join(installed, "dist/main.js") });
  const inbox = join(workspace.folder, "inbox");
  const load = async (name: string, file: string, content: string | Uint8Array): Promise<void> => {
    const path = join(inbox, file);
    await writeFile(path, content);
    expect(await server.call("ingest", { name, path }), name).toMatchObject({ version: 1, rows: 2 });
  };
  await load("from_csv", "a.csv", "id,text\n1,red apple\n2,blue sky\n");
  await load("from_json", "a.json", '[{"id":1,"text":"red apple"},{"id":2,"text":"blue sky"}]');
  await load("from_zstd", "a.ndjson.zst", zstd('{"id":1}\n{"id":2}\n'));
  await load("from_arrow", "a.arrow", tableToIPC(tableFromArrays({ id: Int32Array.of(1, 2) }), "file"));
  const data = join(workspace.folder, "lake/data/from_csv");
  const written = (await readdir(data, { recursive: true })).filter((path) => path.endsWith(".parquet"));
  expect(written).toHaveLength(1);
  await load("from_parquet", "a.parquet", await readFile(join(data, written[0] ?? "")));

  const sql = `SELECT count(*)::INT, sum(a.id)::INT FROM from_csv a JOIN from_json USING (id) JOIN from_zstd USING (id)
    JOIN from_arrow USING (id) JOIN from_parquet USING (id)`;
  expect(await server.call("sql", { sql })).toMatchObject({ rows: [[2, 3]] });
  await server.call("vector-index-create", { name: "texts", dataset: "from_csv", text: "text", id: "id" });
  const found = await server.call("vector-search", { index: "texts", text: "apple", k: 1 });
  expect(found).toMatchObject({ hits: [{ id: "1" }] });
});
