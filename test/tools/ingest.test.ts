import { join } from "node:path";
import { expect, test } from "vitest";
import { answer } from "../support/answer.ts";
import { openLake } from "../support/lake.ts";

test("a file, inline text and a query each become a dataset, and the text says what the structured content does", async () => {
  await using lake = await openLake();
  const path = await lake.file("workers.csv", "id,name\n1,Ann\n2,=Bo\n");
  const loaded = await answer(lake, "ingest", { name: "workers", path });
  expect(loaded.structured).toMatchObject({ name: "workers", version: 1, rows: 2, rows_written: 2, unchanged: false });
  expect(loaded.text).toContain("workers is at version 1: 2 rows");
  const added = await answer(lake, "ingest", { name: "workers", text: "id,name\n3,Cy\n", mode: "append" });
  expect(added.structured).toMatchObject({ version: 2, rows: 3, rows_written: 1 });
  const derived = await answer(lake, "ingest", { name: "names", sql: "SELECT name FROM workers WHERE id > 1" });
  expect(derived.structured).toMatchObject({ version: 1, rows: 2, columns: [{ name: "name", type: "VARCHAR" }] });
  expect((await lake.call("sql", { sql: "FROM names ORDER BY name" })).rows).toEqual([["=Bo"], ["Cy"]]);
});

test("the same data again changes nothing, and is said to be unchanged", async () => {
  await using lake = await openLake();
  await lake.call("ingest", { name: "workers", text: "id\n1\n" });
  const again = await answer(lake, "ingest", { name: "workers", text: "id\n1\n" });
  expect(again.structured).toMatchObject({ version: 1, unchanged: true });
  expect(again.text).toContain("unchanged");
});

test("a source that is outside of the allowed folder, missing, or of another schema is refused", async () => {
  await using lake = await openLake();
  await lake.call("ingest", { name: "workers", text: "id\n1\n" });
  expect(await lake.refused("ingest", { name: "other", path: join(lake.folder, "secret.csv") })).toMatch(
    /^(denied|not_found): /,
  );
  expect(await lake.refused("ingest", { name: "other", path: "nothing.csv" })).toMatch(/^not_found: .*nothing\.csv/);
  expect(await lake.refused("ingest", { name: "workers", text: "id,more\n1,2\n" })).toContain("schema_change");
  expect(await lake.refused("ingest", { name: "other" })).toContain("exactly one");
  expect(await lake.call("catalog-list")).toMatchObject({ total: 1 });
});
