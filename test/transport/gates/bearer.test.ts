import { expect, test, vi } from "vitest";
import { judgeBearer } from "../../../src/transport/gates/bearer.ts";
import type { Refusal } from "../../../src/transport/gates/refusal.ts";
import type { Tokens } from "../../../src/transport/gates/tokens.ts";

const TOKEN = "alice-0123456789.abc_~+/==";
const TOKENS: Tokens = { find: (token) => (token === TOKEN ? { name: "alice" } : undefined), size: 1 };
const CHALLENGE = 'Bearer realm="lakehouse"';
const INVALID = 'Bearer realm="lakehouse", error="invalid_token"';

const judge = (
  value: string | undefined,
  ...[tokens = TOKENS, verify, metadata]: [(Tokens | "none")?, Verify?, string?]
) =>
  judgeBearer(
    value,
    value === undefined ? ["Host", "x"] : ["Authorization", value, "Host", "x"],
    tokens === "none" ? undefined : tokens,
    verify,
    metadata,
  );
type Verify = (token: string) => Promise<{ name: string } | Refusal>;

test.each([
  `Bearer ${TOKEN}`,
  `bearer ${TOKEN}`,
  `BEARER ${TOKEN}`,
  `bEaReR ${TOKEN}`,
  `Bearer   ${TOKEN}`,
  `Bearer ${TOKEN} `,
])("%s is alice", async (value) => {
  expect(await judge(value)).toEqual({ name: "alice" });
});

test("no header is a challenge without an error", async () => {
  expect(await judge(undefined)).toMatchObject({ status: 401, headers: { "WWW-Authenticate": CHALLENGE } });
});

test.each([
  "",
  "Bearer",
  "Bearer ",
  "Bearer wrong-0123456789abcdef",
  `Bearer ${TOKEN.slice(0, -1)}`,
  `Bearer ${TOKEN}=`,
  `Bearer ${TOKEN}x`,
  `Bearer ${TOKEN.toUpperCase()}`,
  `Bearer ${TOKEN} ${TOKEN}`,
  `Bearer ${TOKEN}, Bearer ${TOKEN}`,
  `Bearer ${TOKEN},`,
  `Bearer "${TOKEN}"`,
  `Bearer\t${TOKEN}`,
  `Bearer${TOKEN}`,
  `Bearer: ${TOKEN}`,
  `Bearer token=${TOKEN}`,
  ` Bearer ${TOKEN}`,
  `Basic ${TOKEN}`,
  `Token ${TOKEN}`,
  TOKEN,
  `Bearer ${TOKEN}\u0000`,
  `Bearer ${TOKEN}é`,
  `Bearer ${"x".repeat(100_000)}`,
])("%j is an invalid token", async (value) => {
  const verdict = await judge(value);
  expect(verdict).toMatchObject({ status: 401, headers: { "WWW-Authenticate": INVALID } });
  expect(JSON.stringify(verdict)).not.toContain(TOKEN.slice(0, 8));
});

test.each<[string, string | string[] | undefined, string[]]>([
  ["the same twice", `Bearer ${TOKEN}`, ["Authorization", `Bearer ${TOKEN}`, "authorization", `Bearer ${TOKEN}`]],
  ["a good one and a bad one", `Bearer ${TOKEN}`, ["AUTHORIZATION", `Bearer ${TOKEN}`, "authorization", "Bearer x"]],
  ["an empty one too", `Bearer ${TOKEN}`, ["Authorization", `Bearer ${TOKEN}`, "Authorization", ""]],
  ["a list", [`Bearer ${TOKEN}`, `Bearer ${TOKEN}`], []],
])("two headers are refused: %s", async (_, authorization, raw) => {
  for (const tokens of [TOKENS, undefined]) {
    expect(await judgeBearer(authorization, raw, tokens)).toMatchObject({ status: 400 });
  }
});

test("a value that says authorization is no second header", async () => {
  const value = `Bearer ${TOKEN}`;
  const raw = ["Authorization", value, "X-Name", "authorization"];
  expect(await judgeBearer(value, raw, TOKENS)).toEqual({ name: "alice" });
});

test("without tokens and issuer everybody is anonymous", async () => {
  for (const value of [undefined, "Bearer whatever", "garbage"]) {
    expect(await judgeBearer(value, [], undefined)).toEqual({ name: "anonymous" });
  }
});

test("an empty set of tokens lets nobody in", async () => {
  const none: Tokens = { find: () => undefined, size: 0 };
  for (const value of [undefined, `Bearer ${TOKEN}`]) expect(await judge(value, none)).toMatchObject({ status: 401 });
});

const METADATA = "https://lake.example.com/.well-known/oauth-protected-resource/mcp";

test("with an issuer, the challenges say where its metadata is", async () => {
  const verify = vi.fn<Verify>(async () => ({ status: 401, message: "The token has expired." }));
  expect(await judge(undefined, "none", verify, METADATA)).toMatchObject({
    status: 401,
    headers: { "WWW-Authenticate": `${CHALLENGE}, resource_metadata="${METADATA}"` },
  });
  expect(await judge("Basic x", "none", verify, METADATA)).toMatchObject({
    headers: { "WWW-Authenticate": `${INVALID}, resource_metadata="${METADATA}"` },
  });
  expect(verify).not.toHaveBeenCalled();
  expect(await judge("Bearer a.b.c", "none", verify, METADATA)).toEqual({
    status: 401,
    message: "The token has expired.",
    headers: { "WWW-Authenticate": `${INVALID}, resource_metadata="${METADATA}"` },
  });
  expect(verify).toHaveBeenCalledExactlyOnceWith("a.b.c");
});

test("the issuer is asked about what is none of the tokens only", async () => {
  const verify = vi.fn<Verify>(async () => ({ name: "bob" }));
  expect(await judge(`Bearer ${TOKEN}`, TOKENS, verify)).toEqual({ name: "alice" });
  expect(verify).not.toHaveBeenCalled();
  expect(await judge("Bearer a.b.c", TOKENS, verify)).toEqual({ name: "bob" });
});

test("an issuer that cannot be asked is no challenge", async () => {
  const refusal = { status: 503, message: "later", headers: { "Retry-After": "5" } };
  expect(await judge("Bearer a.b.c", TOKENS, async () => refusal, METADATA)).toEqual(refusal);
});
