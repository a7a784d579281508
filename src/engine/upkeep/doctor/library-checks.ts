import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openGraph } from "../../ann/graph.ts";
import { warm } from "../../catalog/manifest.ts";
import { openRemoteDuck } from "../../duckdb/remote.ts";
import { areOffline } from "../../process/launch.ts";
import type { Check } from "./check.ts";

/** As package.json's `engines`. */
const LEAST_NODE = [20, 19] as const;
const REINSTALL = "Install again on this machine: npm ci. Libraries for another system or architecture cannot be used.";

export const node: Check = {
  name: "node",
  run: async () => {
    const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
    const found = `Node ${process.versions.node} on ${process.platform} ${process.arch}.`;
    const isNew = major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1]);
    return isNew
      ? { status: "ok", found }
      : { status: "fail", found, fix: `Use Node ${LEAST_NODE.join(".")} or newer.` };
  },
};

export const duckdb: Check = {
  name: "duckdb",
  run: async ({ queryMemoryBytes, threads, maxTempBytes }, scope) => {
    const folder = await mkdtemp(join(tmpdir(), "lakehouse-doctor-"));
    scope.defer(() => rm(folder, { recursive: true, force: true }));
    const settings = { memoryBytes: queryMemoryBytes, threads, maxTempBytes, tempFolder: folder, folders: [folder] };
    try {
      const connection = await (await openRemoteDuck(scope, settings)).connect();
      const [row] = await connection.rows<{ version: string }>("SELECT version() AS version");
      const where = (await areOffline()) ? "without a network" : "which this system cannot keep off the network";
      return { status: "ok", found: `DuckDB ${row?.version} runs, in a process of its own, ${where}.` };
    } catch (error) {
      return { status: "fail", found: `DuckDB does not run: ${firstLine(error)}`, fix: REINSTALL };
    }
  },
};

export const manifests: Check = {
  name: "manifests",
  run: async () => {
    try {
      await warm();
      return { status: "ok", found: "A manifest was written and read." };
    } catch (error) {
      return { status: "fail", found: `parquet-wasm does not run: ${firstLine(error)}`, fix: REINSTALL };
    }
  },
};

export const graphs: Check = {
  name: "vector graphs",
  run: async ({ vector }) => {
    if (!vector.hnsw) return { status: "ok", found: "Not used: vector_search is exact." };
    try {
      const graph = openGraph({ dimension: 2, metric: "l2", m: 16, efConstruction: 200, seed: 1 });
      graph.append(7, Float32Array.of(3, 4));
      graph.link();
      graph.begin(Float32Array.of(0, 0), 1, undefined);
      graph.walk(1, 10);
      const { slots, distances } = graph.finish();
      if (slots[0] !== 7 || distances[0] !== 5) throw new Error("it found something else");
      return { status: "ok", found: "A graph was made and searched." };
    } catch (error) {
      return { status: "fail", found: `WebAssembly with SIMD does not run: ${firstLine(error)}`, fix: REINSTALL };
    }
  },
};

function firstLine(error: unknown): string {
  return (String(error instanceof Error ? error.message : error).split("\n", 1)[0] ?? "").slice(0, 500);
}
