import { once } from "node:events";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openWorkspace } from "./process.ts";
import { connect, serve, spawnServe, TOKEN } from "./serve.ts";

const HAS_IPV6 = Object.values(networkInterfaces()).some((of) => of?.some(({ address }) => address === "::1"));

test("the built server is started, called by both eras, and stopped by SIGTERM with 0", async () => {
  await using workspace = await openWorkspace();
  const path = await workspace.file("workers.csv", "id,name\n1,Ann\n2,Bob\n");
  await using served = await serve(workspace, ["--allow", join(workspace.folder, "inbox")], {
    LAKEHOUSE_HTTP_TOKEN: `ann:${TOKEN}`,
  });
  for (const era of ["legacy", "modern"] as const) {
    const client = await connect(served.url, era);
    const loaded = await client.callTool({ name: "ingest", arguments: { name: "workers", path } });
    expect(loaded.structuredContent).toMatchObject({ rows: 2, unchanged: era === "modern" });
    await client.close();
  }
  await expect(connect(served.url, "modern", `${TOKEN}x`)).rejects.toThrow();

  const cmdline = readFileSync(`/proc/${served.child.pid}/cmdline`, "utf8");
  served.child.kill("SIGTERM");
  expect(await served.ended).toEqual([0, null]);
  expect(served.stdout()).toBe("");
  expect(`${cmdline}${served.stderr()}`).not.toContain(TOKEN);
  const lines = served
    .stderr()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.filter(({ message }) => message === "call")).toEqual([
    expect.objectContaining({ tool: "ingest", outcome: "ok", caller: "ann" }),
    expect.objectContaining({ tool: "ingest", outcome: "ok", caller: "ann" }),
  ]);
  expect(lines.map(({ message }) => message)).toEqual(expect.arrayContaining(["draining", "closed"]));
});

test("a call that runs when SIGTERM comes is answered before the process ends", async () => {
  await using workspace = await openWorkspace();
  const rows = Array.from({ length: 300_000 }, (_, n) => `${n},name ${n},${n / 7}`).join("\n");
  const path = await workspace.file("big.csv", `id,name,score\n${rows}\n`);
  await using served = await serve(workspace, ["--allow", join(workspace.folder, "inbox")]);
  const client = await connect(served.url, "modern");
  const running = client.callTool(
    { name: "ingest", arguments: { name: "big", path } },
    { onprogress: () => void served.child.kill("SIGTERM") },
  );
  expect((await running).structuredContent).toMatchObject({ rows: 300_000 });
  expect(await served.ended).toEqual([0, null]);
});

test("a server whose log nobody reads any more goes on, and ends when it is told to", async () => {
  await using workspace = await openWorkspace();
  await using served = await serve(workspace);
  const client = await connect(served.url, "modern");
  served.child.stderr?.destroy();
  for (let n = 0; n < 20; n++) {
    const { structuredContent } = await client.callTool({ name: "sql", arguments: { sql: "SELECT 1 AS one" } });
    expect(structuredContent).toMatchObject({ rows: [[1]] });
  }
  await client.close();
  served.child.kill("SIGTERM");
  expect(await served.ended).toEqual([0, null]);
});

test("files of this machine are not read unless a folder is named, and a start says so", async () => {
  await using workspace = await openWorkspace();
  const path = await workspace.file("workers.csv", "id\n1\n");
  await using served = await serve(workspace);
  expect(served.stderr()).toMatch(/ingest reads no files of this machine.*--allow/);
  const client = await connect(served.url, "legacy");
  const refused = await client.callTool({ name: "ingest", arguments: { name: "workers", path } });
  expect(refused.isError).toBe(true);
  await client.close();
  served.child.kill("SIGINT");
  expect(await served.ended).toEqual([0, null]);
});

const NAMED = { LAKEHOUSE_HTTP_TOKEN: `ann:${TOKEN}` };
const LET_IN = 'LAKEHOUSE_HTTP_TOKEN, http_token_file or oauth_issuer, or set http to "127.0.0.1:3110"';
const MEANT = 'LAKEHOUSE_ALLOW_NONLOOPBACK to exactly 1 if that is meant, or set http to "127.0.0.1:3110"';

test.each<[string[], string, string, Record<string, string>?]>([
  [["--http", "0.0.0.0:0"], 'http is set to the host "0.0.0.0"', LET_IN],
  [["--http", ":0"], 'http is set to the host "::"', LET_IN],
  [["--http", "lake.example.com:0"], 'http is set to the host "lake.example.com"', LET_IN],
  [["--http", "0.0.0.0:0"], "LAKEHOUSE_ALLOW_NONLOOPBACK is not set", MEANT, NAMED],
  ...["true", "yes", "01", " 1"].map((word): [string[], string, string, Record<string, string>] => [
    ["--http", "0.0.0.0:0"],
    `LAKEHOUSE_ALLOW_NONLOOPBACK is "${word}"`,
    MEANT,
    { ...NAMED, LAKEHOUSE_ALLOW_NONLOOPBACK: word },
  ]),
  [["--http", "[::]:0"], "LAKEHOUSE_ALLOW_NONLOOPBACK is not set", MEANT, NAMED],
  [["--http", "nonsense"], 'http is "nonsense"', '"127.0.0.1:3110"'],
  [["--http-token", "x"], "--http-token", "LAKEHOUSE_HTTP_TOKEN"],
  [["--http-token-file", "nowhere"], "nowhere", "http_token_file"],
  [["--allowed-ips", "10.0.0.0/99"], 'allowed_ips[0] is "10.0.0.0/99"', '"10.0.0.0/8"'],
  [["--oauth-issuer", "https://idp.example.com"], "oauth_issuer", "LAKEHOUSE_PUBLIC_URL"],
])("serve %j does not start: it says %s, and what to do", async (args, named, fix, env = {}) => {
  await using workspace = await openWorkspace();
  const refused = spawnServe(workspace, args, env);
  expect(await refused.ended).toEqual([2, null]);
  const [, problem, hint] = /^lakehouse-mcp: (.*)\n(.*)$/m.exec(refused.stderr()) ?? [];
  expect(problem).toContain(named);
  expect(hint).toContain(fix);
  expect(refused.stderr()).not.toMatch(/ {4}at |the-secret/);
});

test("other machines are served with a token and the word for it", async () => {
  await using workspace = await openWorkspace();
  const env = { ...NAMED, LAKEHOUSE_ALLOW_NONLOOPBACK: "1" };
  await using served = await serve(workspace, ["--http", "0.0.0.0:0"], env);
  const { hostname, port } = new URL(served.url);
  expect(hostname).toBe("0.0.0.0");
  const url = `http://127.0.0.1:${port}/mcp`;
  expect((await fetch(url)).status).toBe(401);
  const client = await connect(url, "modern");
  expect((await client.listTools()).tools).not.toHaveLength(0);
  await client.close();
});

for (const [http, isThere] of [
  ["localhost:0", true],
  // Every address of 127.0.0.0/8 is this machine on Linux.
  ["127.0.0.2:0", process.platform === "linux"],
  ["[::1]:0", HAS_IPV6 || process.env.CI !== undefined],
] as const) {
  test.skipIf(!isThere)(`serve on ${http} wants no token`, async () => {
    await using workspace = await openWorkspace();
    await using served = await serve(workspace, ["--http", http]);
    const client = await connect(served.url, "modern");
    expect((await client.listTools()).tools).not.toHaveLength(0);
    await client.close();
  });
}

test("an address that is taken is named, with the setting, and the process ends with 2", async () => {
  await using workspace = await openWorkspace();
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  const refused = spawnServe(workspace, ["--http", `127.0.0.1:${port}`]);
  expect(await refused.ended).toEqual([2, null]);
  expect(refused.stderr()).toContain(`http: cannot listen on 127.0.0.1:${port}: something else listens there.`);
  taken.close();
});

test("a token is not shown, wherever it comes from", async () => {
  await using workspace = await openWorkspace();
  const file = join(workspace.folder, "tokens");
  await writeFile(file, `bob:${TOKEN}\n`, { mode: 0o600 });
  const shown = spawnServe(workspace, ["--print-config", "--http-token-file", file], {
    LAKEHOUSE_HTTP_TOKEN: `ann:${TOKEN}`,
  });
  expect(await shown.ended).toEqual([0, null]);
  expect(JSON.parse(shown.stdout())).toMatchObject({ http_token: "***", http_token_file: file, allow: [] });
  expect(`${shown.stdout()}${shown.stderr()}`).not.toContain("the-secret");
});
