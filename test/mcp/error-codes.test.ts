import { expect, test } from "vitest";
import type { ERROR_CODES } from "../../src/engine/kernel/error-codes.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import { errorData, errorOf } from "../../src/engine/process/messages.ts";
import { openLake } from "../support/lake.ts";

test("an error says to programs what kind of error it is, whatever its sentence", async () => {
  await using lake = await openLake();
  await lake.call("ingest", { name: "t", text: "a\n1\n" });
  const slow = "SELECT count(*) FROM range(1000000000) a, range(1000) b";
  const cases: [string, Record<string, unknown>, keyof typeof ERROR_CODES][] = [
    ["sql", { sql: "FROM nope" }, "not_found"],
    ["sql", { sql: slow, timeout_ms: 50 }, "query_timeout"],
    ["ingest", { name: "t", text: "a,b\n1\n" }, "csv_damaged"],
    ["ingest", { name: "t", text: "b\nx\n" }, "schema_mismatch"],
    ["sql", { query: "SELECT 1" }, "unknown_argument"],
  ];
  for (const [tool, args, code] of cases) {
    const result = await lake.raw(tool, args);
    expect([result.isError, result._meta?.["lakehouse/error"]]).toMatchObject([true, { code }]);
  }
});

test("an error about an argument says which, and what it may have been", async () => {
  await using lake = await openLake();
  const factsOf = async (tool: string, args: Record<string, unknown>) =>
    (await lake.raw(tool, args))._meta?.["lakehouse/error"];
  expect(await factsOf("sql", { query: "SELECT 1" })).toMatchObject({ argument: "query", nearest: ["sql"] });
  expect(await factsOf("sql", { sql: "SELECT 1", max_rows: "many" })).toMatchObject({ argument: "max_rows" });
  const items = [{ id: "a", vector: [1, "x"] }];
  expect(await factsOf("vector-upsert", { index: "i", items })).toMatchObject({ argument: "items.0.vector.1" });
});

test("an error keeps its code on the way from a worker process; what is no code is its kind", () => {
  const error = new LakeError("limit", "Too much.", { code: "memory_limit", hint: "Take less." });
  expect(errorOf(errorData(error))).toMatchObject({ kind: "limit", code: "memory_limit", hint: "Take less." });
  const forged = errorOf({ ...errorData(error), code: "constructor" as never });
  expect(forged).toMatchObject({ kind: "limit", code: "limit" });
});
