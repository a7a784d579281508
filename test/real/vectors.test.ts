import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { until } from "../support/vectors.ts";
import { openWorkspace, type ServerProcess } from "./process.ts";

const BUILTIN = { LAKEHOUSE_JOB_AFTER: "5m", LAKEHOUSE_EMBED_PROVIDER: "builtin", LAKEHOUSE_VECTOR_QUIET: "200ms" };
const KILLS = 6;

async function ids(server: ServerProcess, index: string): Promise<string[]> {
  const { hits } = (await server.call("vector-search", { index, vector: [1, 1], k: 10_000 })) as {
    hits: { id: string }[];
  };
  return hits.map((hit) => hit.id);
}

test("search without graphs finds what SQL finds", async () => {
  await using workspace = await openWorkspace();
  const items = Array.from({ length: 500 }, (_, n) => ({
    id: `i${n}`,
    vector: [Math.cos(n), Math.sin(n)],
    metadata: { n },
  }));
  const search = { index: "things", vector: [1, 0.5], k: 8, where: "(metadata->>'n')::INT < 300" };
  const server = await workspace.start({ env: { ...BUILTIN, LAKEHOUSE_VECTOR_SEARCH: "exact" } });
  await server.call("vector-index-create", { name: "things", dimension: 2 });
  await server.call("vector-upsert", { index: "things", items });
  const exact = (await server.call("vector-search", search)) as { hits: { id: string }[]; method: string };
  expect(exact.method).toBe("exact");
  const { rows } = (await server.call("sql", {
    sql: `SELECT id FROM things WHERE (metadata->>'n')::INT < 300
      ORDER BY array_cosine_distance(vector, [1, 0.5]::FLOAT[2]) LIMIT 8`,
  })) as { rows: [string][] };
  expect(exact.hits.map((hit) => hit.id)).toEqual(rows.map(([id]) => id));
});

test("after a restart from what was saved, the same is found by graphs", async () => {
  await using workspace = await openWorkspace();
  const server = await workspace.start({ env: BUILTIN });
  const vector = (n: number): number[] => Array.from({ length: 16 }, (_, at) => Math.sin(n * 7 + at * at));
  await server.call("vector-index-create", { name: "things", dimension: 16 });
  const items = Array.from({ length: 2_000 }, (_, n) => ({ id: `i${n}`, vector: vector(n) }));
  await server.call("vector-upsert", { index: "things", items });
  const query = { index: "things", vector: vector(77.5) };
  const before = await server.call("vector-search", query);
  await until(
    async () => (await readdir(join(workspace.folder, "lake", "vectors", "things")).catch(() => [])).length > 0,
  );
  await server.client.close();

  const again = await workspace.start({ env: BUILTIN });
  const after = await again.call("vector-search", query);
  expect(after.method).toBe("hnsw");
  expect((after.hits as { id: string }[]).map((hit) => hit.id)).toEqual(
    (before.hits as { id: string }[]).map((hit) => hit.id),
  );
  // Log lines are written a moment later.
  await until(() => again.stderr().includes('"from":"snapshot"'));
});

test("a server that is closed while its graphs grow ends in order", async () => {
  await using workspace = await openWorkspace();
  const server = await workspace.start({ env: BUILTIN });
  await server.call("vector-index-create", { name: "things", dimension: 64 });
  for (let from = 0; from < 20_000; from += 5_000) {
    const items = Array.from({ length: 5_000 }, (_, n) => ({
      id: `i${from + n}`,
      vector: Array.from({ length: 64 }, (__, at) => Math.sin((from + n + 1) * (at + 1))),
    }));
    await server.call("vector-upsert", { index: "things", items });
  }
  await server.call("vector-search", { index: "things", like_id: "i7" });
  await server.client.close();
  await until(() => server.stderr().includes('"message":"closed"'));
  expect(server.stderr()).not.toMatch(/FATAL|napi|too long/);
});

test("a build that is killed goes on from its last segment", async () => {
  await using workspace = await openWorkspace();
  const first = await workspace.start({ env: BUILTIN });
  const rows = 40_000;
  await first.call("ingest", {
    name: "texts",
    sql: `SELECT i AS id, 'résumé ' || i || ' of a driver in area ' || (i % 97) AS words FROM range(${rows}) t(i)`,
  });
  const request = { name: "texts_index", dataset: "texts", id: "id", text: "words" };
  const building = first.call("vector-index-create", request).catch(() => "killed");
  const versions = join(workspace.folder, "lake", "catalog", "texts_index");
  // Version 1 creates it, 2 says what it is built from, 3 is the first segment.
  await until(async () => (await readdir(versions).catch(() => [])).length >= 3);
  process.kill(first.pid, "SIGKILL");
  expect(await building).toBe("killed");

  const second = await workspace.start({ env: BUILTIN });
  const { note, count } = (await second.call("vector-search", { index: "texts_index", text: "driver", k: 1 })) as {
    note: string;
    count: number;
  };
  expect(note).toContain("was not finished");
  expect(count).toBeGreaterThanOrEqual(10_000);
  expect(count).toBeLessThan(rows);
  const resumed = await second.call("vector-index-create", request);
  expect(resumed).toMatchObject({ count: rows, embedded: rows - count, kept: count });
  const { rows: counts } = await second.call("sql", { sql: "SELECT count(*), count(DISTINCT id) FROM texts_index" });
  expect(counts).toEqual([[rows, rows]]);
});

test("two servers that upsert into one index lose nothing, also when they are killed", async () => {
  await using workspace = await openWorkspace();
  const first = await workspace.start({ env: BUILTIN });
  await first.call("vector-index-create", { name: "things", dimension: 2 });
  const acknowledged = new Set<string>();
  let sent = 0;
  const fill = async (server: ServerProcess): Promise<void> => {
    for (;;) {
      const id = `i${sent++}`;
      try {
        await server.call("vector-upsert", { index: "things", items: [{ id, vector: [1, sent] }] });
      } catch {
        return;
      }
      acknowledged.add(id);
    }
  };
  await first.client.close();
  for (let kill = 0; kill < KILLS; kill++) {
    const servers = [await workspace.start({ env: BUILTIN }), await workspace.start({ env: BUILTIN })];
    const filling = servers.map(fill);
    const enough = acknowledged.size + 5 + kill * 3;
    await until(() => acknowledged.size >= enough);
    for (const { pid } of servers) process.kill(pid, "SIGKILL");
    await Promise.all(filling);
  }
  const server = await workspace.start({ env: BUILTIN });
  const found = await ids(server, "things");
  const there = new Set(found);
  expect(there.size).toBe(found.length);
  expect([...acknowledged].filter((id) => !there.has(id))).toEqual([]);
  const { rows } = await server.call("sql", { sql: "SELECT count(*), count(DISTINCT id) FROM things" });
  expect(rows).toEqual([[there.size, there.size]]);
  expect(acknowledged.size).toBeGreaterThan(KILLS * 5);
});
