import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { expect, onTestFinished, test } from "vitest";
import { errorText } from "../../src/cli/run.ts";
import type { LakeError } from "../../src/engine/kernel/errors.ts";
import { openIssuer, sign } from "./gates/issuer.ts";
import { ERAS, INITIALIZE, JSON_HEADERS, openHttpLake, until } from "./http-lake.ts";

const ANN = "ann-0123456789abcdef";
const BOB = "bob-0123456789abcdef";

test("Host and Origin of somebody else are refused before the token is looked at", async () => {
  await using lake = await openHttpLake({ gates: { token: `ann:${ANN}`, hosts: ["lake.example.com"] } });
  const ask = async (headers: Record<string, string>) =>
    (await lake.send({ method: "POST", headers: { ...JSON_HEADERS, ...headers }, body: INITIALIZE })).status;
  expect(await ask({ host: "evil.example" })).toBe(403);
  expect(await ask({ host: "evil.example", authorization: `Bearer ${ANN}` })).toBe(403);
  expect(await ask({ origin: "http://evil.example", authorization: `Bearer ${ANN}` })).toBe(403);
  expect(await ask({ origin: "null", authorization: `Bearer ${ANN}` })).toBe(403);
  for (const host of ["localhost", "127.0.0.1:3110", "[::1]", "lake.example.com", "LAKE.example.com:443"]) {
    expect(await ask({ host }), host).toBe(401);
    expect(await ask({ host, authorization: `Bearer ${ANN}` }), host).toBe(200);
  }
  expect(await ask({ origin: "https://lake.example.com", authorization: `Bearer ${ANN}` })).toBe(200);
  expect(lake.log.filter(({ message }) => message === "refused")).not.toHaveLength(0);
});

test("what is wrong in everything is refused for its host, then for its address, then for its token", async () => {
  await using lake = await openHttpLake({
    gates: { token: `ann:${ANN}`, addresses: ["10.0.0.0/8"], proxies: ["127.0.0.1"] },
  });
  const wrong = { host: "evil.example", "x-forwarded-for": "192.0.2.1", authorization: `Bearer ${BOB}` };
  const named = { ...wrong, host: "localhost" };
  const known = { ...named, "x-forwarded-for": "10.1.2.3" };
  const seen: unknown[] = [];
  for (const headers of [wrong, named, known, { ...known, authorization: `Bearer ${ANN}` }]) {
    const { status, body } = await lake.send({ path: "/uploads", headers });
    const { host, address, token } = lake.server.status().refused;
    seen.push([status, JSON.parse(body).error, { host, address, token }]);
  }
  expect(seen).toEqual([
    [403, expect.stringContaining("allowed_hosts"), { host: 1, address: 0, token: 0 }],
    [403, expect.stringContaining("Your address"), { host: 1, address: 1, token: 0 }],
    [401, expect.stringContaining("token"), { host: 1, address: 1, token: 1 }],
    [200, undefined, { host: 1, address: 1, token: 1 }],
  ]);
});

test("two Host headers are refused", async () => {
  await using lake = await openHttpLake();
  const text = await lake.socket(
    "GET /mcp HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
  );
  expect(text).toMatch(/^HTTP\/1.1 400 /);
  expect(await lake.socket("GET /mcp HTTP/1.1\r\nConnection: close\r\n\r\n")).toMatch(/^HTTP\/1.1 400 /);
});

test("addresses that are not on the list are refused, and only a trusted proxy speaks for others", async () => {
  const ask = async (gates: { addresses: string[]; proxies?: string[] }, forwarded?: string) => {
    await using lake = await openHttpLake({ gates });
    const headers = { ...JSON_HEADERS, ...(forwarded !== undefined && { "x-forwarded-for": forwarded }) };
    return (await lake.send({ method: "POST", headers, body: INITIALIZE })).status;
  };
  expect(await ask({ addresses: ["127.0.0.0/8"] })).toBe(200);
  expect(await ask({ addresses: ["10.0.0.0/8"] })).toBe(403);
  expect(await ask({ addresses: ["10.0.0.0/8"] }, "10.1.2.3")).toBe(403);
  expect(await ask({ addresses: ["10.0.0.0/8"], proxies: ["127.0.0.1"] }, "10.1.2.3")).toBe(200);
  expect(await ask({ addresses: ["10.0.0.0/8"], proxies: ["127.0.0.1"] }, "10.1.2.3, 192.0.2.1")).toBe(403);
  expect(await ask({ addresses: ["127.0.0.1"], proxies: ["127.0.0.1"] }, "192.0.2.1")).toBe(403);
});

test("health answers whoever asks, also where the gates let nobody in", async () => {
  await using lake = await openHttpLake({ gates: { addresses: ["192.0.2.1"], token: `ann:${ANN}` } });
  expect((await lake.send({ path: "/health", headers: { host: "10.0.0.5" } })).status).toBe(200);
  expect((await lake.send({ path: "/mcp" })).status).toBe(403);
});

test("a token that is absent, wrong or doubled is refused with what is wanted", async () => {
  await using lake = await openHttpLake({ gates: { token: `ann:${ANN},bob:${BOB}` } });
  const ask = (raw: string[]) =>
    lake.send({
      method: "POST",
      raw: [
        "Host",
        "localhost",
        ...Object.entries(JSON_HEADERS).flat(),
        "Content-Length",
        String(INITIALIZE.length),
        ...raw,
      ],
      body: INITIALIZE,
    });
  for (const value of [
    [],
    ["Authorization", `Bearer ${ANN}x`],
    ["Authorization", `Basic ${ANN}`],
    ["Authorization", ""],
  ]) {
    const { status, headers, body } = await ask(value);
    expect(status, String(value)).toBe(401);
    expect(headers["www-authenticate"]).toMatch(/^Bearer /);
    expect(JSON.parse(body)).toHaveProperty("error");
    expect(body).not.toContain(ANN);
  }
  expect((await ask(["Authorization", `Bearer ${ANN}`, "Authorization", `Bearer ${BOB}`])).status).toBe(400);
  for (const token of [ANN, BOB]) expect((await ask(["authorization", `bearer ${token}`])).status).toBe(200);
  expect(JSON.stringify(lake.log)).not.toContain("0123456789abcdef");
});

test("a body is not read from somebody without a token", { tags: ["slow"] }, async () => {
  await using lake = await openHttpLake({ gates: { token: `ann:${ANN}` } });
  const head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n";
  expect(await lake.socket(`${head}Expect: 100-continue\r\n\r\n`)).toMatch(/^HTTP\/1.1 401 /);
  expect(await lake.socket(`${head}\r\n{`)).toMatch(/^HTTP\/1.1 401 /);
});

test("a changed file of tokens counts without a restart, and a session stays with the name that opened it", {
  tags: ["slow"],
}, async () => {
  const first = await openHttpLake();
  const file = join(first.folder, "tokens");
  writeFileSync(file, `ann:${ANN}\n`, { mode: 0o600 });
  await using lake = await openHttpLake({ gates: { tokenFile: file } });
  const ask = async (token: string) =>
    (
      await lake.send({
        method: "POST",
        headers: { ...JSON_HEADERS, authorization: `Bearer ${token}` },
        body: INITIALIZE,
      })
    ).status;
  expect([await ask(ANN), await ask(BOB)]).toEqual([200, 401]);
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  writeFileSync(file, `bob:${BOB}\n`, { mode: 0o600 });
  expect([await ask(ANN), await ask(BOB)]).toEqual([401, 200]);
  await first[Symbol.asyncDispose]();
});

test("what is open ends with the token it began with: streams, and the sessions that nobody can use any more", {
  tags: ["slow"],
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), "lakehouse-tokens-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "tokens");
  const write = (text: string): void => writeFileSync(file, text, { mode: 0o600 });
  write(`ann:${ANN}\nbob:${BOB}\n`);
  await using lake = await openHttpLake({ gates: { tokenFile: file } });
  const session = async (token: string): Promise<string> => {
    const headers = { ...JSON_HEADERS, authorization: `Bearer ${token}` };
    const { headers: answered } = await lake.send({ method: "POST", headers, body: INITIALIZE });
    return String(answered["mcp-session-id"]);
  };
  /** Whether the stream has ended, and what came over it. */
  const streamOf = async (token: string, id: string) => {
    const headers = { accept: "text/event-stream", authorization: `Bearer ${token}`, "mcp-session-id": id };
    const response = await fetch(`${lake.url}/mcp`, { headers });
    const told = { ended: false, text: "" };
    void (async () => {
      for await (const chunk of response.body ?? []) told.text += new TextDecoder().decode(chunk);
      told.ended = true;
    })().catch(() => {});
    return told;
  };
  const [annsId, bobsId] = [await session(ANN), await session(BOB)];
  const [anns, bobs] = [await streamOf(ANN, annsId), await streamOf(BOB, bobsId)];
  const heard: string[] = [];
  for (const token of [ANN, BOB]) {
    const prepare = (client: Client): void =>
      client.setNotificationHandler("notifications/resources/list_changed", () => void heard.push(token));
    const { client } = await lake.connect("modern", { token, prepare });
    await client.listen({ resourcesListChanged: true });
  }
  const left = () => [lake.server.status().subscriptions, lake.server.status().sessions];
  expect(left()).toEqual([2, 2]);

  write(`bob:${BOB}\n`);
  await until(() => left().join() === "1,1", "what was Ann's ends");
  await until(() => anns.ended, "her stream ends");
  const { call } = await lake.connect("modern", { token: BOB });
  await call("ingest", { name: "workers", text: "id\n1\n" });
  await until(() => heard.includes(BOB) && bobs.text.includes("list_changed"), "Bob hears of it");
  expect([bobs.ended, heard, anns.text]).toEqual([false, [BOB], expect.not.stringContaining("list_changed")]);
  const ends = lake.log.filter(({ message }) => message.endsWith("ends with its token"));
  expect(ends.map(({ caller }) => caller)).toEqual(["ann", "ann"]);
});

test("clients of both eras pass with their tokens, and not without", async () => {
  await using lake = await openHttpLake({ gates: { token: `ann:${ANN},bob:${BOB}` } });
  for (const era of ERAS) {
    for (const token of [ANN, BOB]) {
      const { call } = await lake.connect(era, { token });
      expect(await call("sql", { sql: "SELECT 1 AS one" })).toMatchObject({ rows: [[1]] });
    }
    await expect(lake.connect(era)).rejects.toThrow();
    await expect(lake.connect(era, { token: "x".repeat(ANN.length) })).rejects.toThrow();
  }
});

test("somebody else's session is not found", async () => {
  await using lake = await openHttpLake({ gates: { token: `ann:${ANN},bob:${BOB}` } });
  const as = (token: string, more: Record<string, string> = {}) => ({
    ...JSON_HEADERS,
    authorization: `Bearer ${token}`,
    ...more,
  });
  const opened = await lake.send({ method: "POST", headers: as(ANN), body: INITIALIZE });
  const session = String(opened.headers["mcp-session-id"]);
  const ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
  const ask = async (method: string, token: string, id = session) =>
    (await lake.send({ method, headers: as(token, { "mcp-session-id": id }), body: method === "POST" ? ping : "" }))
      .status;
  expect(await ask("POST", BOB)).toBe(404);
  expect(await ask("GET", BOB)).toBe(404);
  expect(await ask("DELETE", BOB)).toBe(404);
  expect(await ask("POST", ANN, "something-else")).toBe(404);
  expect(await ask("POST", ANN)).toBe(200);
});

test.each([
  [{ bind: { host: "0.0.0.0", port: 0 } }, "token"],
  [{ bind: { host: "0.0.0.0", port: 0 }, token: `ann:${ANN}` }, "LAKEHOUSE_ALLOW_NONLOOPBACK"],
  [
    { bind: { host: "0.0.0.0", port: 0 }, token: `ann:${ANN}`, allowNonLoopback: "true" },
    "LAKEHOUSE_ALLOW_NONLOOPBACK",
  ],
  [{ addresses: ["10.0.0.0/8", "300.1.2.3"] }, "300.1.2.3"],
  [{ proxies: ["10.0.0.0/33"] }, "trusted_proxies"],
  [{ hosts: ["http://lake.example.com"] }, "allowed_hosts"],
  [{ bind: { host: "192.0.2.1", port: 3110 }, token: `ann:${ANN}`, allowNonLoopback: "1" }, "192.0.2.1:3110"],
])("%o does not start, and says why", async (gates, named) => {
  const opening = openHttpLake({ gates });
  await expect(opening).rejects.toMatchObject({ name: "LakeError", hint: expect.anything() });
  const error = (await opening.catch((thrown: unknown) => thrown)) as LakeError;
  expect(errorText(error)).toContain(named);
  expect(errorText(error)).not.toContain(ANN);
});

test("an address that is taken is named, with the setting", async () => {
  await using lake = await openHttpLake();
  const port = Number(new URL(lake.url).port);
  await expect(openHttpLake({ gates: { bind: { host: "127.0.0.1", port } } })).rejects.toThrow(
    `http: cannot listen on 127.0.0.1:${port}`,
  );
});

test("tokens of an identity provider are accepted, and clients are told where to get them", async () => {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const keys = { keys: [{ ...(await exportJWK(publicKey)), kid: "1", alg: "ES256", use: "sig" }] };
  const idp = createServer((request, response) => {
    const issuer = `http://127.0.0.1:${(idp.address() as AddressInfo).port}`;
    const body = request.url === "/keys" ? keys : { issuer, jwks_uri: `${issuer}/keys` };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
  }).listen(0, "127.0.0.1");
  await once(idp, "listening");
  onTestFinished(() => void idp.close());
  const issuer = `http://127.0.0.1:${(idp.address() as AddressInfo).port}`;
  const resource = "https://lake.example.com/mcp";
  const signed = (audience: string) =>
    new SignJWT({})
      .setProtectedHeader({ alg: "ES256", kid: "1" })
      .setIssuer(issuer)
      .setAudience(audience)
      .setSubject("carol")
      .setExpirationTime("5m")
      .sign(privateKey);

  await using lake = await openHttpLake({ gates: { oauth: { issuer, audience: resource, resource } } });
  const { headers } = await lake.send({ method: "POST", headers: JSON_HEADERS, body: INITIALIZE });
  const metadataUrl = "https://lake.example.com/.well-known/oauth-protected-resource/mcp";
  expect(headers["www-authenticate"]).toContain(`resource_metadata="${metadataUrl}"`);
  for (const path of [new URL(metadataUrl).pathname, "/.well-known/oauth-protected-resource"]) {
    const { status, body } = await lake.send({ path });
    expect(status).toBe(200);
    expect(JSON.parse(body)).toMatchObject({ resource, authorization_servers: [issuer] });
  }
  for (const era of ERAS) {
    const { call } = await lake.connect(era, { token: await signed(resource) });
    await call("sql", { sql: "SELECT 1" });
    await expect(lake.connect(era, { token: await signed("https://other.example.com") })).rejects.toThrow();
  }
  const calls = lake.log.filter(({ message }) => message === "call");
  expect(calls.map(({ caller }) => caller)).toEqual(["oauth:carol", "oauth:carol"]);
});

test("streams end when the token of an identity provider runs out; the session goes on with the next one", {
  tags: ["slow"],
}, async () => {
  await using issuer = await openIssuer();
  const [key] = issuer.keys;
  if (key === undefined) throw new Error("no key");
  const audience = "https://lake.example.com/mcp";
  await using lake = await openHttpLake({ gates: { oauth: { issuer: issuer.url, audience, resource: audience } } });
  // It is accepted for a minute more.
  const soon = await sign(key, issuer.url, { aud: audience, exp: Math.floor(Date.now() / 1000) - 56 });
  const later = await sign(key, issuer.url, { aud: audience });
  const headers = (token: string) => ({ ...JSON_HEADERS, authorization: `Bearer ${token}` });
  const opened = await lake.send({ method: "POST", headers: headers(soon), body: INITIALIZE });
  const session = { "mcp-session-id": String(opened.headers["mcp-session-id"]) };
  const { client } = await lake.connect("modern", { token: soon });
  await client.listen({ resourcesListChanged: true });
  const stream = lake.send({ headers: { ...headers(soon), ...session } });
  expect(await stream).toMatchObject({ status: 200 });
  await until(() => lake.server.status().subscriptions === 0, "the subscription ends");
  const body = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
  const ping = async (token: string) =>
    (await lake.send({ method: "POST", headers: { ...headers(token), ...session }, body })).status;
  expect([await ping(soon), await ping(later)]).toEqual([401, 200]);
});

test("with a token and the word for it, other machines are served", async () => {
  await using lake = await openHttpLake({
    gates: { bind: { host: "0.0.0.0", port: 0 }, token: `ann:${ANN}`, allowNonLoopback: "1" },
  });
  expect((await lake.send({ method: "POST", headers: JSON_HEADERS, body: INITIALIZE })).status).toBe(401);
});

const SENTENCE =
  /bearer tokens.*Authorization: Bearer TOKEN.*claude mcp add --transport http lakehouse URL --header "Authorization: Bearer TOKEN"/;

test("without a token, the answer says how to give it, in Claude Code too", async () => {
  await using lake = await openHttpLake({ gates: { token: `ann:${ANN}` } });
  const { status, body, headers } = await lake.send({ method: "POST", headers: JSON_HEADERS, body: INITIALIZE });
  expect(status).toBe(401);
  expect(headers["www-authenticate"]).toBe('Bearer realm="lakehouse"');
  expect(JSON.parse(body).error).toBe(
    'Send a token: Authorization: Bearer TOKEN. In Claude Code: claude mcp add --transport http lakehouse URL --header "Authorization: Bearer TOKEN".',
  );
});

test("where clients look for a sign-in, they are told of the token, in the form of OAuth's errors", async () => {
  await using lake = await openHttpLake({ gates: { token: `ann:${ANN}` } });
  const paths = [
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-authorization-server/mcp",
    "/.well-known/openid-configuration",
    "/register",
    "/authorize?response_type=code",
    "/token",
  ];
  for (const path of paths) {
    const method = path === "/register" || path === "/token" ? "POST" : "GET";
    const body = method === "POST" ? JSON.stringify({ client_name: "x", redirect_uris: [] }) : "";
    const answer = await lake.send({ method, path, headers: JSON_HEADERS, body });
    expect(answer.status, path).toBe(404);
    expect(answer.headers["content-type"]).toBe("application/json");
    expect(JSON.parse(answer.body)).toEqual({
      error: "access_denied",
      error_description: expect.stringMatching(SENTENCE),
    });
  }
  expect((await lake.send({ path: "/register", headers: { host: "evil.example" } })).status).toBe(403);
});

test("a client that signs its user in shows what to do instead", async () => {
  await using lake = await openHttpLake({ gates: { token: `ann:${ANN}` } });
  const authProvider = {
    redirectUrl: "http://127.0.0.1:1/callback",
    clientMetadata: { client_name: "test", redirect_uris: ["http://127.0.0.1:1/callback"] },
    clientInformation: () => undefined,
    saveClientInformation: () => {},
    tokens: () => undefined,
    saveTokens: () => {},
    redirectToAuthorization: () => {},
    saveCodeVerifier: () => {},
    codeVerifier: () => "",
  };
  const client = new Client({ name: "test", version: "1" });
  const transport = new StreamableHTTPClientTransport(new URL(`${lake.url}/mcp`), { authProvider });
  const error: unknown = await client.connect(transport).catch((thrown: unknown) => thrown);
  expect(String(error).replaceAll("\\", "")).toMatch(SENTENCE);
});

test("where nobody shows a token, and where an issuer signs in, those paths are as they were", async () => {
  await using open = await openHttpLake();
  expect((await open.send({ method: "POST", path: "/register" })).body).toContain("There is nothing at this path");
  await using issuer = await openIssuer();
  const oauth = { issuer: issuer.url, audience: "lake", resource: "http://localhost/mcp" };
  await using lake = await openHttpLake({ gates: { oauth } });
  expect((await lake.send({ path: "/.well-known/oauth-protected-resource/mcp" })).status).toBe(200);
  expect((await lake.send({ path: "/.well-known/oauth-authorization-server" })).body).toContain("There is nothing");
  const { body } = await lake.send({ method: "POST", headers: JSON_HEADERS, body: INITIALIZE });
  expect(JSON.parse(body).error).toBe("Send a token: Authorization: Bearer TOKEN.");
});

test.each(ERAS)("a %s caller is told how to load a file, and not where the server's folders are", async (era) => {
  for (const allow of [[], undefined]) {
    await using lake = await openHttpLake({ ...(allow && { engine: { allow } }) });
    const { client } = await lake.connect(era);
    for (const path of ["/etc/passwd", "../lake/catalog", `${lake.folder}/other/x.csv`]) {
      const answer = await client.callTool({ name: "ingest", arguments: { name: "t", path } });
      expect(answer.isError).toBe(true);
      const text = JSON.stringify(answer.content);
      expect(text).toContain("uploads?name=FILE");
      expect(text.replaceAll(path, "PATH")).not.toContain(lake.folder);
    }
  }
});

test("what a statement asked for is not for all who may read what came of it", async () => {
  await using lake = await openHttpLake();
  const { client, call } = await lake.connect("modern");
  const sql = "SELECT 'hunter2' AS name, 41 AS age -- hunter3";
  await call("ingest", { name: "secret", sql });
  const { job_id } = await call("ingest", { name: "later", sql, background: true });
  await call("job-status", { job_id, wait_ms: 10_000 });
  const shown = JSON.stringify([
    await call("catalog-describe", { name: "secret" }),
    await call("sql", { sql: "SELECT source FROM lakehouse_datasets" }),
    await call("sql", { sql: "SELECT source FROM lakehouse_versions" }),
    await client.readResource({ uri: "lakehouse://datasets/secret" }),
    await client.readResource({ uri: "lakehouse://catalog" }),
    await client.readResource({ uri: `lakehouse://jobs/${job_id}` }),
  ]);
  expect(shown).toContain("SELECT ? AS name, ? AS age");
  // Least and greatest values are of the data, which whoever reads this may read.
  const origins = shown.replaceAll(/\\*"m(in|ax)\\*":\\*"[^"]*"/g, "");
  expect(origins).not.toMatch(/hunter|\b41 AS/);
});
