import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LakeError } from "../../../../src/engine/kernel/errors.ts";
import { openParquetLake, type ParquetLake } from "../../../support/parquet-lake.ts";
import { type Worded, worded } from "../../../support/worded.ts";

let lake: ParquetLake;
beforeAll(async () => {
  lake = await openParquetLake({ maxConcurrentQueries: 1 });
  await lake.write(
    "items",
    "SELECT 'i' || i AS id, '{\"role\": \"welder\"}'::JSON AS metadata, i AS years FROM range(5) t(i)",
  );
});
afterAll(() => lake[Symbol.asyncDispose]());

async function failure(where: string): Promise<Worded> {
  const error = await lake.query.assertCondition(where).then(
    () => expect.fail("was let pass"),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(LakeError);
  return worded(error as LakeError);
}

describe("a condition that is one expression passes", () => {
  test.each<[string, number]>([
    ["true", 5],
    ["years > 2 AND id <> 'i3'", 1],
    ["(years > 2) OR (years < 1)", 3],
    ["metadata->>'role' = 'welder'", 5],
    ["(metadata->'role') = '\"welder\"'", 5],
    ["id LIKE 'i%' -- all of them", 5],
    ["/* first */ years = 1\n OR /* (nested /* ) */ */ years = 2", 2],
    ["id = ')' OR id = '(' OR id = $$;)$$ OR years = 4", 1],
    ['"years" BETWEEN 1 AND 2', 2],
    ["id IN (SELECT id FROM items WHERE years = 0)", 1],
    ["EXISTS (SELECT 1 UNION SELECT 2)", 5],
    ["CASE WHEN years = 1 THEN true ELSE false END", 1],
    ["years IN (1, 2)", 2],
    ["list_contains([1, 2], years)", 2],
    ["len(list_filter([years], lambda x: x > 1)) = 1", 3],
    ["NOT years IS NULL", 5],
  ])("%s", async (where, count) => {
    await lake.query.assertCondition(where);
    const { rows } = await lake.query.query(`SELECT count(*) FROM items WHERE (\n${where}\n)`);
    expect(rows).toEqual([[count]]);
  });
});

const refused: [string, LakeError["kind"], RegExp][] = [
  ["", "invalid", /it is empty/],
  [" -- nothing", "invalid", /it is empty/],
  ["true) UNION SELECT 1 --", "invalid", /the \) at line 1, column 5 closes nothing/],
  ["true) OR (true", "invalid", /the \) at line 1, column 5 closes/],
  ["years = 1\n) UNION (SELECT 1", "invalid", /the \) at line 2, column 1 closes/],
  ["true) LIMIT (1", "invalid", /closes nothing/],
  ["true) FROM (items", "invalid", /closes nothing/],
  ["(true", "invalid", /the \( at line 1, column 1 is not closed/],
  ["[1)", "invalid", /the \) at line 1, column 3/],
  ["true; DROP TABLE items", "invalid", /a ; at line 1, column 5/],
  ["years, id", "invalid", /exactly one expression/],
  ["years ORDER BY id", "invalid", /exactly one expression/],
  ["DISTINCT years", "invalid", /exactly one expression/],
  ["a := true", "invalid", /exactly one expression/],
  ["*", "invalid", /exactly one expression/],
  ["years = $1", "invalid", /exactly one expression/],
  ["years = ?", "invalid", /exactly one expression/],
  ["SELECT true", "invalid", /syntax error/],
  ["years = 1 AND\n  years = = 2", "invalid", /syntax error at line 2, column 11/],
  ["'é' = 'é' AND years SELECT 1", "invalid", /syntax error at line 1, column 21/],
  ["years =", "invalid", /syntax error at its end/],
  ["'open", "invalid", /syntax error/],
  ["true /* open", "invalid", /syntax error/],
  ["true \0", "invalid", /NUL/],
  ["years > getenv('HOME')", "denied", /^where: getenv\(\)/],
  ["id IN (SELECT content FROM read_text('/etc/passwd'))", "denied", /^where: read_text\(\)/],
  ["id IN (SELECT 1 FROM temp.main.x)", "denied", /^where: .*schema/],
  ["id LIKE id", "denied", /^where: A pattern/],
  ["nosuch(years)", "invalid", /^where: There is no function nosuch/],
  ["id IN (FROM (PIVOT items ON id USING count(*)))", "invalid", /PIVOT/],
  [`years = ${"(".repeat(600)}1${")".repeat(600)}`, "limit", /^where: Brackets/],
  [`id = '${"x".repeat(300_000)}'`, "limit", /300007 characters/],
];

describe("a condition that is anything else is refused by its name and place", () => {
  test.each(refused.map(([where, kind, message]) => ({ shown: where.slice(0, 60), where, kind, message })))(
    "$shown",
    async ({ where, kind, message }) => {
      const error = await failure(where);
      expect(error).toMatchObject({ kind, message: expect.stringMatching(message) });
      expect(error.message).toMatch(/^where: /);
      expect(error.hint).toBeTruthy();
    },
  );
});

test("checking a condition can be cancelled, and holds no session afterwards", async () => {
  await expect(lake.query.assertCondition("true", { signal: AbortSignal.abort() })).rejects.toMatchObject({
    kind: "unavailable",
  });
  await Promise.all(Array.from({ length: 20 }, () => lake.query.assertCondition("true")));
  expect(lake.query.occupancy().running).toBe(0);
});
