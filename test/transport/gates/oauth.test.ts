import { SignJWT } from "jose";
import { expect, test } from "vitest";
import { openScope } from "../../../src/engine/kernel/scope.ts";
import { mayKeepKeys } from "../../../src/transport/gates/issuer-fetch.ts";
import { openOAuth } from "../../../src/transport/gates/oauth.ts";
import { newKey, openIssuer, sign } from "./issuer.ts";
import { refused } from "./refused.ts";

const RESOURCE = "https://lake.example.com/mcp";
const now = () => Math.floor(Date.now() / 1000);
const pause = (ms: number) => new Promise((done) => void setTimeout(done, ms));

function openFor(issuer: string, settings: { audience?: string; resource?: string; maxLifetimeMs?: number } = {}) {
  const scope = openScope();
  const logged: string[] = [];
  const oauth = openOAuth(
    scope,
    { issuer, audience: "lake", resource: RESOURCE, ...settings },
    (...line) => void logged.push(JSON.stringify(line)),
  );
  return { ...oauth, scope, logged };
}

async function open(options?: Parameters<typeof openIssuer>[0]) {
  const issuer = await openIssuer(options);
  const [key] = issuer.keys;
  if (key === undefined) throw new Error("no key");
  return { issuer, key, ...openFor(issuer.url), [Symbol.asyncDispose]: () => issuer.stop() };
}

test.each(["RS256", "ES256", "PS256", "EdDSA"])("a token signed with %s names its subject", async (alg) => {
  await using opened = await open();
  const key = await newKey(alg, alg);
  opened.issuer.keys.push(key);
  expect(await opened.verify(await sign(key, opened.issuer.url))).toMatchObject({ name: "alice" });
  expect(opened.logged).toEqual([]);
});

test("a token says until when it is accepted", async () => {
  await using opened = await open();
  const exp = now() + 100;
  expect(await opened.verify(await sign(opened.key, opened.issuer.url, { exp }))).toEqual({
    name: "alice",
    expires: (exp + 60) * 1000,
  });
});

test.each<[string, Record<string, unknown>, string]>([
  ["a subject", { sub: "auth0|5f7c8ec7c33c6c004bbafe82" }, "auth0|5f7c8ec7c33c6c004bbafe82"],
  ["a subject and a client", { sub: "alice", client_id: "app" }, "alice"],
  ["a client only", { sub: undefined, client_id: "app" }, "app"],
  ["several audiences", { aud: ["other", "lake"] }, "alice"],
  ["an end within the tolerance", { exp: now() - 20 }, "alice"],
  ["a start within the tolerance", { nbf: now() + 40 }, "alice"],
  ["64 characters", { sub: "x".repeat(64) }, "x".repeat(64)],
])("a token with %s holds", async (_, claims, name) => {
  await using opened = await open();
  expect(await opened.verify(await sign(opened.key, opened.issuer.url, claims))).toMatchObject({ name });
});

test("long and odd subjects are cut to different names of visible characters", async () => {
  await using opened = await open();
  const names: string[] = [];
  const long = "x".repeat(64);
  for (const sub of [`${long}1`, `${long}2`, "ä", "ö", "a b", "a\nb", "a~b"]) {
    const verdict = await opened.verify(await sign(opened.key, opened.issuer.url, { sub }));
    names.push("name" in verdict ? verdict.name : "");
  }
  expect(new Set(names).size).toBe(names.length);
  for (const name of names) expect(name).toMatch(/^[!-}]{1,47}~[0-9a-f]{16}$/);
  const [made = ""] = names;
  const posing = await opened.verify(await sign(opened.key, opened.issuer.url, { sub: made }));
  expect(posing).not.toMatchObject({ name: made });
});

test.each<[string, Record<string, unknown>, string]>([
  ["is over", { exp: now() - 120 }, "has expired"],
  ["never ends", { exp: undefined }, "has no valid claim exp"],
  ["has an end that is no number", { exp: "tomorrow" }, "has no valid claim exp"],
  ["has not begun", { nbf: now() + 120 }, "is not valid yet"],
  ["is for another audience", { aud: "other" }, "is for another audience"],
  ["is for several others", { aud: ["other", "lakes"] }, "is for another audience"],
  ["is for nobody", { aud: undefined }, "is for another audience"],
  ["is from another issuer", { iss: "https://evil.example" }, "is from another issuer"],
  ["is from nobody", { iss: undefined }, "has no valid claim iss"],
  ["is of nobody", { sub: undefined }, "has neither sub nor client_id"],
  ["is of an empty subject", { sub: "" }, "has neither sub nor client_id"],
  ["is of a subject that is a number", { sub: 5 }, "has neither sub nor client_id"],
])("a token that %s is refused", async (_, claims, why) => {
  await using opened = await open();
  const token = await sign(opened.key, opened.issuer.url, claims);
  expect(await opened.verify(token)).toEqual({ status: 401, message: `The token ${why}.` });
  expect(opened.logged).toEqual([]);
});

test("a token of a key that the issuer does not publish is refused", async () => {
  await using opened = await open();
  const foreign = await newKey("foreign");
  const posing = { ...foreign, kid: opened.key.kid };
  for (const key of [foreign, posing]) {
    expect(await opened.verify(await sign(key, opened.issuer.url))).toMatchObject({ status: 401 });
  }
});

test("a changed token is refused", async () => {
  await using opened = await open();
  const [header = "", payload = "", signature = ""] = (await sign(opened.key, opened.issuer.url)).split(".");
  const other = Buffer.from(
    JSON.stringify({ ...JSON.parse(Buffer.from(payload, "base64url").toString()), sub: "root" }),
  );
  for (const token of [
    [header, other.toString("base64url"), signature],
    [header, payload, signature.slice(0, -4)],
    [header, payload, ""],
  ]) {
    expect(await opened.verify(token.join("."))).toEqual({ status: 401, message: "The token is not valid." });
  }
});

test("other algorithms, and what is no JWT, are refused without asking the issuer", async () => {
  await using opened = await open();
  const claims = { iss: opened.issuer.url, aud: "lake", sub: "alice", exp: now() + 300 };
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const secret = Buffer.from(JSON.stringify(opened.key.jwk));
  const es384 = await newKey("es384", "ES384");
  opened.issuer.keys.push(es384);
  for (const token of [
    "",
    "opaque-0123456789abcdef",
    "a.b.c",
    "....",
    `${encode({ alg: "none" })}.${encode(claims)}.`,
    await new SignJWT(claims).setProtectedHeader({ alg: "HS256", kid: "first" }).sign(secret),
    await sign(es384, opened.issuer.url),
    await sign(opened.key, opened.issuer.url, {}, { crit: ["odd"], odd: true }).catch(() => "a.b.c"),
  ]) {
    expect(await opened.verify(token)).toMatchObject({ status: 401 });
  }
  expect(opened.issuer.requests).toEqual([]);
});

test.each<[string, { path: string; place: string }]>([
  ["OAuth metadata", { path: "", place: "/.well-known/oauth-authorization-server" }],
  ["OAuth metadata, before a path", { path: "/t/1", place: "/.well-known/oauth-authorization-server/t/1" }],
  ["OpenID configuration", { path: "", place: "/.well-known/openid-configuration" }],
  ["OpenID configuration, before a path", { path: "/t/1", place: "/.well-known/openid-configuration/t/1" }],
  ["OpenID configuration, after a path", { path: "/t/1", place: "/t/1/.well-known/openid-configuration" }],
])("keys are found through %s", async (_, options) => {
  await using opened = await open(options);
  expect(await opened.verify(await sign(opened.key, opened.issuer.url))).toMatchObject({ name: "alice" });
  expect(opened.issuer.requests.slice(-2)).toEqual([options.place, "/keys"]);
});

test("many tokens at once ask the issuer once, and later ones not again", async () => {
  await using opened = await open();
  const token = await sign(opened.key, opened.issuer.url);
  for (let round = 0; round < 2; round++) {
    const verdicts = await Promise.all(Array.from({ length: 20 }, () => opened.verify(token)));
    expect(verdicts).toMatchObject(new Array(20).fill({ name: "alice" }));
  }
  expect(opened.issuer.requests).toEqual(["/.well-known/oauth-authorization-server", "/keys"]);
});

test("the issuer's slash at the end counts as its metadata writes it", async () => {
  await using issuer = await openIssuer();
  const [key] = issuer.keys;
  if (key === undefined) throw new Error("no key");
  issuer.metadata.issuer = `${issuer.url}/`;
  for (const configured of [issuer.url, `${issuer.url}/`]) {
    const { verify } = openFor(configured);
    expect(await verify(await sign(key, `${issuer.url}/`))).toMatchObject({ name: "alice" });
    expect(await verify(await sign(key, issuer.url))).toMatchObject({ status: 401 });
  }
});

test.each<[string, Record<string, unknown>, string]>([
  ["another issuer", { issuer: "https://evil.example" }, "about another issuer"],
  ["no issuer", { issuer: undefined }, "about another issuer"],
  ["no keys", { jwks_uri: undefined }, "names no https address as jwks_uri"],
  ["keys over plain http", { jwks_uri: "http://keys.example/" }, "names no https address as jwks_uri"],
  ["keys in a file", { jwks_uri: "file:///etc/passwd" }, "names no https address as jwks_uri"],
])("metadata with %s is not believed", async (_, wrong, why) => {
  await using opened = await open();
  Object.assign(opened.issuer.metadata, wrong);
  expect(await opened.verify(await sign(opened.key, opened.issuer.url))).toMatchObject({ status: 503 });
  expect(opened.logged.join()).toContain(why);
});

test.each<[string, string, number, string]>([
  ["no JSON", "/.well-known/oauth-authorization-server", 200, "<html>"],
  ["an endless answer", "/.well-known/oauth-authorization-server", 200, "x".repeat(2 ** 20 + 1)],
  ["keys that are no JSON", "/keys", 200, "<html>"],
  ["keys that are no keys", "/keys", 200, '{"keys":1}'],
  ["an error for its keys", "/keys", 500, ""],
  ["a redirect for its keys", "/keys", 302, ""],
])("an issuer with %s is a 503 that says when to come back", async (_, place, code, body) => {
  await using opened = await open();
  opened.issuer.behave((url, response) => {
    if (url !== place) return false;
    response.writeHead(code, { location: `${opened.issuer.url}/elsewhere` }).end(body);
    return true;
  });
  const token = await sign(opened.key, opened.issuer.url);
  expect(await opened.verify(token)).toMatchObject({ status: 503, headers: { "Retry-After": "5" } });
  expect(opened.logged).toHaveLength(1);
  expect(opened.logged.join()).not.toContain(token.slice(-20));
  expect(opened.issuer.requests).not.toContain("/elsewhere");
});

test("an issuer that is away is left alone for a second, and asked again then", { tags: ["slow"] }, async () => {
  await using opened = await open();
  const token = await sign(opened.key, opened.issuer.url);
  opened.issuer.behave((_, response) => {
    response.destroy();
    return true;
  });
  expect(await opened.verify(token)).toMatchObject({ status: 503 });
  const asked = opened.issuer.requests.length;
  for (let call = 0; call < 5; call++) expect(await opened.verify(token)).toMatchObject({ status: 503 });
  expect(opened.issuer.requests).toHaveLength(asked);
  expect(opened.logged).toHaveLength(1);
  opened.issuer.behave(undefined);
  await pause(1_100);
  expect(await opened.verify(token)).toMatchObject({ name: "alice" });
});

test("a known key holds while the issuer is away, also when unknown ones make it fail", async () => {
  await using opened = await open();
  const token = await sign(opened.key, opened.issuer.url);
  expect(await opened.verify(token)).toMatchObject({ name: "alice" });
  await opened.issuer.stop();
  expect("name" in (await opened.verify(await sign(await newKey("new"), opened.issuer.url)))).toBe(false);
  expect(await opened.verify(token)).toMatchObject({ name: "alice" });
  await opened.issuer.start();
});

test("an answer that is right but without end is not read", async () => {
  await using opened = await open();
  const keys = JSON.stringify({ keys: [opened.key.jwk] });
  opened.issuer.behave((url, response) => {
    if (url === "/keys") response.end(keys.padEnd(2 ** 20 + 1));
    return url === "/keys";
  });
  expect(await opened.verify(await sign(opened.key, opened.issuer.url))).toMatchObject({ status: 503 });
  expect(opened.logged.join()).toContain("more than 1048576 bytes");
});

test.each<[string, string, boolean]>([
  ["https://login.example.com", "https://keys.example.com/jwks", true],
  ["https://login.example.com", "http://keys.example.com/jwks", false],
  ["https://login.example.com", "https://127.0.0.1/jwks", false],
  ["https://login.example.com", "http://localhost:8080/jwks", false],
  ["https://login.example.com", "https://[::1]/jwks", false],
  ["http://localhost:8080", "http://127.0.0.1:8080/jwks", true],
  ["http://localhost:8080", "https://keys.example.com/jwks", true],
])("whether keys of %s may be at %s: %s", (issuer, jwks, may) => {
  expect(mayKeepKeys(new URL(issuer), new URL(jwks))).toBe(may);
});

test("a token that held does not hold after closing", async () => {
  await using opened = await open();
  const token = await sign(opened.key, opened.issuer.url);
  expect(await opened.verify(token)).toMatchObject({ name: "alice" });
  await opened.scope.close();
  expect(await opened.verify(token)).toMatchObject({ status: 503 });
});

test("closing ends what is under way, and nothing holds afterwards", async () => {
  await using opened = await open();
  const token = await sign(opened.key, opened.issuer.url);
  opened.issuer.behave(() => true);
  const waiting = opened.verify(token);
  await pause(100);
  await opened.scope.close();
  expect(await waiting).toMatchObject({ status: 503 });
  opened.issuer.behave(undefined);
  expect(await opened.verify(token)).toMatchObject({ status: 503 });
  expect(opened.logged).toEqual([]);
});

test.each([
  ["https://lake.example.com/mcp", "https://lake.example.com/.well-known/oauth-protected-resource/mcp"],
  ["https://lake.example.com", "https://lake.example.com/.well-known/oauth-protected-resource"],
  ["https://example.com:8443/a/mcp", "https://example.com:8443/.well-known/oauth-protected-resource/a/mcp"],
  ["http://127.0.0.1:3110/mcp", "http://127.0.0.1:3110/.well-known/oauth-protected-resource/mcp"],
])("the metadata of %s is at %s", (resource, url) => {
  const { metadata, metadataUrl } = openFor("https://login.example.com", { resource });
  expect(metadataUrl).toBe(url);
  expect(metadata()).toEqual({
    resource,
    authorization_servers: ["https://login.example.com"],
    bearer_methods_supported: ["header"],
  });
});

test.each([
  "",
  "login.example.com",
  "http://login.example.com",
  "http://10.0.0.1",
  "http://localhost.example.com",
  "ftp://login.example.com",
  "https://user:pass@login.example.com",
  "https://login.example.com?x=1",
  "https://login.example.com#x",
])("oauth_issuer = %j is refused", (issuer) => {
  const error = refused(() => openFor(issuer));
  expect(error.kind).toBe("invalid");
  expect(error.message).toContain(`oauth_issuer ${JSON.stringify(issuer)}`);
  expect(error.hint).toContain("oauth_issuer");
});

test.each(["http://localhost:1", "http://127.0.0.1:1/realm", "http://[::1]:1", "https://login.example.com/"])(
  "oauth_issuer = %j is taken",
  (issuer) => {
    expect(openFor(issuer).metadata().authorization_servers).toEqual([issuer]);
  },
);

test("an empty audience, and an address of this server that is none, are refused", () => {
  expect(refused(() => openFor("https://a.example", { audience: " " })).message).toContain("oauth_audience is empty");
  expect(refused(() => openFor("https://a.example", { resource: "lake" })).hint).toContain("public_url");
});

test.each<[string, Record<string, unknown>, boolean]>([
  ["for as long as a token may be", { iat: now(), exp: now() + 3_600 }, true],
  ["for longer, since its issue", { iat: now() - 7_200, exp: now() + 300 }, false],
  ["for longer, from now", { iat: now(), exp: now() + 3_700 }, false],
  ["for longer, and does not say since when", { iat: undefined, exp: now() + 7_200 }, false],
  ["for longer, and says it was issued later", { iat: now() + 86_400, exp: now() + 90_000 }, false],
  ["for ever, almost", { exp: 99_999_999_999 }, false],
  ["and does not say since when", { iat: undefined, exp: now() + 3_000 }, true],
])("with a longest lifetime, a token that is valid %s is judged by it", async (_, claims, holds) => {
  await using opened = await open();
  const { verify } = openFor(opened.issuer.url, { maxLifetimeMs: 3_600_000 });
  const verdict = await verify(await sign(opened.key, opened.issuer.url, claims));
  if (holds) expect(verdict).toMatchObject({ name: "alice" });
  else expect(verdict).toMatchObject({ status: 401, message: expect.stringContaining("oauth_max_lifetime") });
});

test("a token without an end is refused", async () => {
  await using opened = await open();
  const verdict = await opened.verify(await sign(opened.key, opened.issuer.url, { exp: undefined } as never));
  expect(verdict).toMatchObject({ status: 401, message: "The token has no valid claim exp." });
});
