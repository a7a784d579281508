import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Era } from "../support/lake.ts";
import { type HttpLake, INITIALIZE, JSON_HEADERS, messagesIn, modernRequest, openHttpLake } from "./http-lake.ts";

/** Numbers as a client writes them, which its own JSON would round. */

let lake: HttpLake;
let session = "";
beforeAll(async () => {
  lake = await openHttpLake();
  const { headers } = await lake.send({ method: "POST", headers: JSON_HEADERS, body: INITIALIZE });
  session = String(headers["mcp-session-id"]);
  const text = "id,who\n9007199254740992,Ann\n9007199254740993,Bo\n1,Cy\n9223372036854775807,Di\n";
  await ok("modern", "ingest", JSON.stringify({ name: "t", text }));
  await ok("modern", "vector-index-create", '{"name":"v","dimension":2}');
});
afterAll(async () => {
  await lake[Symbol.asyncDispose]();
});

interface Answer {
  isError?: boolean;
  content: { text: string }[];
  structuredContent: Record<string, unknown>;
}

async function call(era: Era, tool: string, args: string): Promise<Answer> {
  const { method, headers, body } = modernRequest("tools/call", { name: tool, arguments: "@" });
  const legacy = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"${tool}","arguments":${args}}}`;
  const request =
    era === "modern"
      ? { method, headers, body: body.replace('"@"', () => args) }
      : {
          method,
          headers: { ...JSON_HEADERS, "mcp-session-id": session, "mcp-protocol-version": "2025-06-18" },
          body: legacy,
        };
  const response = await lake.send(request);
  const [message = JSON.parse(response.body)] = messagesIn(response.body);
  return message.result as Answer;
}

async function ok(era: Era, tool: string, args: string): Promise<Record<string, unknown>> {
  const { isError, content, structuredContent } = await call(era, tool, args);
  if (isError) throw new Error(content[0]?.text);
  return structuredContent;
}

async function rows(era: Era, sql: string, params: string): Promise<unknown> {
  return (await ok(era, "sql", `{"sql":${JSON.stringify(sql)},"params":${params}}`)).rows;
}

async function refused(tool: string, args: string): Promise<string> {
  const { isError, content } = await call("modern", tool, args);
  expect(isError, content[0]?.text).toBe(true);
  return content[0]?.text ?? "";
}

describe.each(["legacy", "modern"] as const)("params of a %s client", (era) => {
  test.each([
    ["WHERE id = $1", "[9007199254740993]", [["Bo"]]],
    ["WHERE id = $1", '{"1":9007199254740993}', [["Bo"]]],
    ["WHERE id = $id", '{"id":9007199254740993}', [["Bo"]]],
    ["WHERE id = $1", '["9007199254740993"]', [["Bo"]]],
    ["WHERE id = $1", '"[9007199254740993]"', [["Bo"]]],
    ["WHERE id = $1", "[9007199254740992]", [["Ann"]]],
    ["WHERE id = $1", "[9007199254740992.0]", [["Ann"]]],
    ["WHERE id = $1", "[9007199254740993.0]", [["Bo"]]],
    ["WHERE id = $1", "[9.007199254740993e15]", [["Bo"]]],
    ["WHERE id < $1 AND id > 1", "[9007199254740992.5]", [["Ann"]]],
    ["WHERE id = $1", "[9223372036854775807]", [["Di"]]],
    ["WHERE id > $1", "[9007199254740993]", [["Di"]]],
    ["WHERE id IN (SELECT unnest($1))", "[[1, 9007199254740993]]", [["Bo"], ["Cy"]]],
    ["WHERE id = $1.who.id", '[{"who":{"id":9007199254740993}}]', [["Bo"]]],
    ["WHERE id = $1[1].id", '[[{"id":9007199254740993}]]', [["Bo"]]],
  ])("%s with %s", async (where, params, right) => {
    expect(await rows(era, `SELECT who FROM t ${where} ORDER BY who`, params)).toEqual(right);
  });
});

test.each([
  ["9007199254740993", "BIGINT", "9007199254740993"],
  ["-9223372036854775808", "BIGINT", "-9223372036854775808"],
  ["9223372036854775808", "HUGEINT", "9223372036854775808"],
  ["-170141183460469231731687303715884105728", "HUGEINT", "-170141183460469231731687303715884105728"],
  ["340282366920938463463374607431768211455", "UHUGEINT", "340282366920938463463374607431768211455"],
  ["0.1234567890123456789", "DECIMAL(19,19)", "0.1234567890123456789"],
  ["-9007199254740993.5", "DECIMAL(17,1)", "-9007199254740993.5"],
  ["12345678901234567890123456789012345.678", "DECIMAL(38,3)", "12345678901234567890123456789012345.678"],
  ["0.1", "DOUBLE", 0.1],
  ["1e300", "DOUBLE", 1e300],
  ["7", "BIGINT", 7],
  ["[1, 9007199254740993, null]", "BIGINT[]", [1, "9007199254740993", null]],
  ["[1, 9223372036854775808]", "HUGEINT[]", [1, "9223372036854775808"]],
  ["[1.5, 9007199254740993]", "DECIMAL(17,1)[]", ["1.5", "9007199254740993.0"]],
  ["[0.1234567890123456789, 2]", "DECIMAL(20,19)[]", ["0.1234567890123456789", "2.0000000000000000000"]],
  ["[1.5, 2]", "DOUBLE[]", [1.5, 2]],
  ["[1e-300, 1e18]", "DOUBLE[]", [1e-300, 1e18]],
  ['[["a"], 9007199254740993]', "VARCHAR", '[["a"],9007199254740993]'],
  ['[{"a":"x"}, {"a":9007199254740993}]', "VARCHAR", '[{"a":"x"},{"a":9007199254740993}]'],
])("%s is bound as %s", async (literal, type, value) => {
  expect(await rows("modern", "SELECT typeof($1), $1", `[${literal}]`)).toEqual([[type, value]]);
});

test.each(["1e400", "1e-400", "340282366920938463463374607431768211456", "0.123456789012345678901234567890123456789"])(
  "%s is refused, with the way to send it",
  async (literal) => {
    for (const params of [`[${literal}]`, `[[1.5, ${literal}]]`, `[{"a":[${literal}]}]`]) {
      const text = await refused("sql", `{"sql":"SELECT $1","params":${params}}`);
      expect(text).toContain(`$1 has the number ${literal}`);
      expect(text).toContain("send it as a text");
    }
  },
);

test("a number of a million digits is refused, and not repeated", async () => {
  const text = await refused("sql", `{"sql":"SELECT $1","params":[${"9".repeat(1_000_000)}]}`);
  expect(text).toContain("1000000 characters");
  expect(text.length).toBeLessThan(500);
});

test("a result that is kept is not that of another number", async () => {
  const ask = (params: string) => rows("modern", "SELECT who FROM t WHERE id = $1 -- kept", params);
  for (let times = 0; times < 3; times++) {
    expect(await ask("[9007199254740992]")).toEqual([["Ann"]]);
    expect(await ask("[9007199254740993]")).toEqual([["Bo"]]);
    expect(await ask('["9007199254740993"]')).toEqual([["Bo"]]);
  }
});

test("a PIVOT keeps the numbers of its source", async () => {
  const source = "SELECT who, id FROM t WHERE id = 9007199254740993 AND 0.1234567890123456789 > 0.1234567890123456788";
  expect(await ok("modern", "sql", JSON.stringify({ sql: `PIVOT (${source}) ON who USING sum(id)` }))).toMatchObject({
    columns: [{ name: "Bo" }],
    rows: [["9007199254740993"]],
  });
});

describe("vectors", () => {
  test.each(["legacy", "modern"] as const)("ids and metadata of a %s client are what was sent", async (era) => {
    const metadata =
      '{"worker":9007199254740993,"more":[{"n":18446744073709551615},123456789012345678901234567890],"x":1.5}';
    const items = `[{"id":9007199254740993,"vector":[1,0],"metadata":${metadata}},{"id":7,"vector":[0,1]}]`;
    await ok(era, "vector-upsert", `{"index":"v","items":${items}}`);
    const stored = "SELECT id, metadata::VARCHAR, metadata->>'worker' FROM v WHERE id = '9007199254740993'";
    expect(await rows(era, stored, "[]")).toEqual([["9007199254740993", metadata, "9007199254740993"]]);
    const found = await ok(era, "vector-search", '{"index":"v","like_id":7,"where":"metadata IS NOT NULL"}');
    expect(found.hits).toMatchObject([
      {
        id: "9007199254740993",
        metadata: {
          worker: "9007199254740993",
          more: [{ n: "18446744073709551615" }, "123456789012345678901234567890"],
          x: 1.5,
        },
      },
    ]);
    const like = await ok(era, "vector-search", '{"index":"v","like_id":9007199254740993}');
    expect(like.hits).toMatchObject([{ id: "7" }]);
    const deleted = await ok(era, "vector-delete", '{"index":"v","ids":[9007199254740993, 9007199254740992]}');
    expect(deleted).toMatchObject({ deleted: 1, missing: ["9007199254740992"] });
  });

  test.each(["0.1234567890123456789", "1e400", "9007199254740993.5"])(
    "metadata with %s is refused: SQL would read another number",
    async (literal) => {
      for (const metadata of [`{"x":${literal}}`, `{"x":[{"y":${literal}}]}`, JSON.stringify(`{"x":${literal}}`)]) {
        const items = `[{"id":"a","vector":[1,0],"metadata":${metadata}}]`;
        const text = await refused("vector-upsert", `{"index":"v","items":${items}}`);
        expect(text).toContain(literal);
        expect(text).toContain("as a text in quotes");
      }
    },
  );

  test("a vector is of doubles, and a number that is none of those is refused", async () => {
    expect(await ok("modern", "vector-search", '{"index":"v","vector":[0.1234567890123456789,1]}')).toHaveProperty(
      "hits",
    );
    expect(await refused("vector-search", '{"index":"v","vector":[1e400,1]}')).toContain("not a finite float32");
  });
});

test.each([
  ["vector-search", '{"index":"v","like_id":"7","k":9007199254740993}', "k: expected a whole number from 1 to 10,000"],
  ["sql", '{"sql":"SELECT 1","max_rows":5.0000000000000000001}', "max_rows: expected a whole number from 1"],
  ["sql", '{"sql":"SELECT 1","timeout_ms":1e400}', "timeout_ms: expected a whole number from 1 to 3,600,000"],
  ["vector-upsert", '{"index":"v","items":[{"id":1.10,"vector":[1,0]}]}', "items.0.id: expected a text, got 1.1"],
  ["vector-delete", '{"index":"v","ids":[0.1234567890123456789]}', "ids.0: expected a text"],
])("%s %s is refused clearly", async (tool, args, told) => {
  expect(await refused(tool, args)).toContain(told);
});
