import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { openLake } from "../support/lake.ts";

async function withOffered(
  trustRoots: boolean,
  check: (lake: Awaited<ReturnType<typeof openLake>>, path: string) => Promise<void>,
) {
  const offered = await mkdtemp(join(tmpdir(), "lakehouse-offered-"));
  try {
    await writeFile(join(offered, "data.csv"), "a\n1\n");
    await using lake = await openLake({
      era: "legacy",
      trustRoots,
      capabilities: { roots: { listChanged: true } },
      client: (client) =>
        client.setRequestHandler("roots/list", () => ({
          roots: [{ uri: pathToFileURL(offered).href, name: "offered" }],
        })),
    });
    await check(lake, join(offered, "data.csv"));
  } finally {
    await rm(offered, { recursive: true, force: true });
  }
}

test("a file under a root the client offers may be read", async () => {
  await withOffered(true, async (lake, path) => {
    expect(await lake.call("ingest", { name: "offered", path })).toMatchObject({ rows: 1 });
    expect(await lake.refused("ingest", { name: "other", path: "/etc/hostname" })).toMatch(/^denied/);
  });
});

test("roots do not count where folders are configured", async () => {
  await withOffered(false, async (lake, path) => {
    expect(await lake.refused("ingest", { name: "offered", path })).toMatch(/^denied/);
  });
});
