import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect, test, vi } from "vitest";
import { datasetId, manifestKey } from "../../src/engine/catalog/identity.ts";
import { encodeManifest } from "../../src/engine/catalog/manifest.ts";
import { dataFile } from "../support/drafts.ts";
import { openLake, textOf } from "../support/lake.ts";

interface Page {
  datasets: { name: string }[];
  total: number;
  next_cursor?: string;
  unreadable?: { name: string; version: number; reason: string }[];
}

test("of a thousand datasets one is unreadable: 999 are served, the one is named, and heals when it is repaired", {
  tags: ["slow"],
}, async () => {
  await using first = await openLake();
  await first.call("ingest", { name: "d0", text: "a\n1\n" });
  const { manifest } = await first.engine.describe("d0");
  const pathOf = (name: string): string => join(first.folder, "lake", manifestKey(name, 1));
  for (let i = 1; i < 1000; i++) {
    const name = `d${i}`;
    const file = dataFile(name, "x", { rows: manifest.rows, bytes: manifest.bytes });
    const copy = { ...manifest, name, datasetId: datasetId(name), files: [{ ...file, key: keyOf(manifest, name) }] };
    await mkdir(dirname(pathOf(name)), { recursive: true });
    await writeFile(pathOf(name), await encodeManifest(copy));
  }
  const good = await readFile(pathOf("d500"));
  const bad = Buffer.from(good);
  bad.writeUInt8(bad.readUInt8(40) ^ 1, 40);
  await writeFile(pathOf("d500"), bad);

  await using lake = await openLake({ folder: first.folder, settings: { refreshMs: 100 } });
  const result = await lake.raw("catalog-list", { limit: 1000 });
  const page = result.structuredContent as unknown as Page;
  expect(page.total).toBe(999);
  // A page is as long as a result may be.
  const names: string[] = [];
  for (let next: Page | undefined = page; next; ) {
    names.push(...next.datasets.map(({ name }) => name));
    const { next_cursor: cursor }: Page = next;
    next = cursor === undefined ? undefined : await lake.call<Page>("catalog-list", { limit: 1000, cursor });
  }
  expect(new Set(names).size).toBe(999);
  expect(names).not.toContain("d500");
  const reason = `${manifestKey("d500", 1)} is damaged: its checksum does not match.`;
  expect(page.unreadable).toEqual([{ name: "d500", version: 1, reason }]);
  const text = textOf(result);
  expect(text.split("\n")[0]).toBe("999 datasets:");
  expect(text.split("\n").at(-1)).toBe(`Cannot be read: d500 version 1: ${reason}`);
  expect(await lake.refused("catalog-describe", { name: "d500" })).toContain("is damaged");
  expect(await lake.call("sql", { sql: "SELECT count(*) FROM d0" })).toMatchObject({ rows: [[1]] });

  await writeFile(pathOf("d500"), good);
  await vi.waitFor(
    async () => {
      const healed = await lake.raw("catalog-list", { limit: 1000 });
      expect((healed.structuredContent as unknown as Page).total).toBe(1000);
      expect(textOf(healed)).not.toContain("Cannot be read");
    },
    { timeout: 20_000, interval: 100 },
  );
});

function keyOf(manifest: { files: { key: string }[] }, name: string): string {
  return (manifest.files[0]?.key ?? "").replace(/^data\/d0\//, `data/${name}/`);
}
