import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, expect, test } from "vitest";
import { MAIN, openWorkspace } from "../real/process.ts";
import { serve, TOKEN } from "../real/serve.ts";
import { install } from "../support/own-packages.ts";
import { testClient } from "./contract.ts";

const FOLDER = fileURLToPath(new URL("./claude-code/", import.meta.url));
const { platform, arch } = process;
const binary = platform === "win32" ? "claude.exe" : "claude";
const CLAUDE = join(FOLDER, `node_modules/@anthropic-ai/claude-code-${platform}-${arch}`, binary);
const MAX_PER_CALLER = 2;

testClient({ name: "Claude Code", folder: "claude-code", starts: "itself", lacks: ["progress"] });

beforeAll(() => install(FOLDER), 400_000);

test("claude mcp add, list and get connect over stdio", { timeout: 180_000 }, async () => {
  await using workspace = await openWorkspace();
  const mcp = await openClaude(workspace.folder);
  await mcp("add", "lakehouse", "--", process.execPath, MAIN, "--data", join(workspace.folder, "lake"));
  expect(await mcp("list")).toMatch(/^lakehouse: .*Connected$/m);
  expect(await mcp("get", "lakehouse")).toMatch(/Status: .*Connected$/m);
});

test("claude mcp connects over HTTP with a token, as often as it likes", { timeout: 180_000 }, async () => {
  await using workspace = await openWorkspace();
  await using served = await serve(workspace, ["--max-per-caller", String(MAX_PER_CALLER)], {
    LAKEHOUSE_HTTP_TOKEN: `ann:${TOKEN}`,
  });
  const mcp = await openClaude(workspace.folder);
  const header = ["--header", `Authorization: Bearer ${TOKEN}`];
  await mcp("add", "--transport", "http", "lakehouse", served.url, ...header);
  for (let n = 0; n <= MAX_PER_CALLER; n++) expect(await mcp("list")).toMatch(/^lakehouse: .*Connected$/m);
});

test("claude mcp without a token says that one is wanted, and how to give it", { timeout: 180_000 }, async () => {
  await using workspace = await openWorkspace();
  await using served = await serve(workspace, [], { LAKEHOUSE_HTTP_TOKEN: `ann:${TOKEN}` });
  const mcp = await openClaude(workspace.folder);
  await mcp("add", "--transport", "http", "lakehouse", served.url);
  const listed = await mcp("list");
  expect(listed).toMatch(/^lakehouse: .*Failed to connect/m);
  expect(listed).toContain("bearer token");
  expect(listed).toMatch(/--header .{0,4}Authorization: Bearer/);
});

/** With a home of its own, and nothing of this machine in its environment. */
async function openClaude(folder: string): Promise<(...args: string[]) => Promise<string>> {
  const home = join(folder, "home");
  await mkdir(home);
  const env = { PATH: process.env.PATH, HOME: home, CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1" };
  return async (...args) => {
    const running = promisify(execFile)(CLAUDE, ["mcp", ...args], { cwd: folder, env });
    running.child.stdin?.end();
    return (await running).stdout;
  };
}
