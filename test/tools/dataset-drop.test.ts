import { expect, test } from "vitest";
import { openLake } from "../support/lake.ts";
import { openPoints } from "../support/vector-tools.ts";

test("a dropped dataset is gone, readable by version, and comes back as the result says", async () => {
  await using lake = await openLake();
  await lake.call("ingest", { name: "set_00", text: "id,value\n1,a\n" });
  const dropped = await lake.call<{ recover_with: Record<string, unknown>; recover_from: string }>("dataset-drop", {
    name: "set_00",
  });
  expect(dropped.recover_from).toBe("set_00@1");
  expect((await lake.call("catalog-list", { search: "set_00" })).total).toBe(0);
  const gone = await lake.refused("sql", { sql: "SELECT * FROM set_00" });
  expect(gone).toContain("dropped");
  expect(gone).toContain("set_00@1");
  expect((await lake.call("sql", { sql: 'SELECT * FROM "set_00@1"' })).row_count).toBe(1);
  expect(await lake.refused("dataset-drop", { name: "set_00" })).toContain("dropped");
  await lake.call("ingest", dropped.recover_with);
  expect((await lake.call("sql", { sql: "SELECT * FROM set_00" })).row_count).toBe(1);
});

test("an index is dropped, too", async () => {
  await using lake = await openPoints();
  expect(await lake.call("dataset-drop", { name: "points" })).toMatchObject({ recover_from: "points@2" });
  expect(await lake.refused("vector-search", { index: "points", vector: [1, 2, 3] })).toContain("dropped");
});
