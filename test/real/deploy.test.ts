import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { MAIN, openWorkspace } from "./process.ts";
import { serve } from "./serve.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);
const read = (path: string): Promise<string> => readFile(join(ROOT, path), "utf8");
/** The seconds that the server takes to stop at most: `DRAIN_MS` of src/serving.ts and `CLOSE_MS` of src/cli/closing.ts. */
const STOP_S = 20;
const TOKEN = "agent:0123456789abcdef0123456789abcdef\n";

/** What the built server makes of the arguments and the environment. Throws when there is something that it does not know. */
async function configOf(args: string[], env: Record<string, string>): Promise<Record<string, unknown>> {
  await using workspace = await openWorkspace();
  const { stdout } = await run(process.execPath, [MAIN, ...args, "--print-config"], { cwd: workspace.folder, env });
  return JSON.parse(stdout);
}

const unit = async (): Promise<[name: string, value: string][]> =>
  (await read("deploy/lakehouse-mcp.service")).split("\n").flatMap((line) => {
    const [, name, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
    return name === undefined || value === undefined ? [] : [[name, value]];
  });

test("the systemd unit starts the server with settings that exist, in folders that it has", async () => {
  const settings = await unit();
  const all = (wanted: string): string[] => settings.filter(([name]) => name === wanted).map(([, value]) => value);
  const only = (wanted: string): string => {
    expect(all(wanted), wanted).toHaveLength(1);
    return all(wanted)[0] ?? "";
  };
  const env = Object.fromEntries(all("Environment").map((line) => line.split("=") as [string, string]));
  const [program, ...args] = only("ExecStart").split(" ");
  expect(program).toBe("/usr/local/bin/lakehouse-mcp");
  expect(JSON.parse(await read("package.json")).bin).toEqual({ "lakehouse-mcp": "dist/main.js" });
  expect(await configOf(args, env)).toMatchObject({
    http: "127.0.0.1:3110",
    data: `/var/lib/${only("StateDirectory")}`,
    http_token_file: "/etc/lakehouse-mcp/tokens",
  });
  expect(only("WorkingDirectory")).toBe(env.LAKEHOUSE_DATA);
  expect(env).not.toHaveProperty("LAKEHOUSE_ALLOW_NONLOOPBACK");

  expect(Number(only("TimeoutStopSec"))).toBeGreaterThan(STOP_S);
  const sources = `${await read("src/serving.ts")}${await read("src/cli/closing.ts")}`;
  const seconds = ["DRAIN_MS", "CLOSE_MS"].map((name) =>
    Number(new RegExp(`^const ${name} = ([\\d_]+);`, "m").exec(sources)?.[1]?.replace("_", "")),
  );
  expect(seconds.reduce((sum, ms) => sum + ms / 1000, 0)).toBe(STOP_S);
  expect(only("KillSignal")).toBe("SIGTERM");
  expect([only("ProtectSystem"), only("NoNewPrivileges")]).toEqual(["strict", "yes"]);
  expect(only("User")).toBe("lakehouse-mcp");
  // Copies that are made at the start would keep a token that was taken back.
  expect([...all("LoadCredential"), ...all("DynamicUser")]).toEqual([]);
  expect(all("MemoryDenyWriteExecute")).toEqual([]);
});

test("systemd takes the unit", async ({ skip }) => {
  const version = await run("systemd-analyze", ["--version"]).catch(() => undefined);
  if (!version) return skip("systemd-analyze is not on this machine");
  await using workspace = await openWorkspace();
  const path = join(workspace.folder, "lakehouse-mcp.service");
  const text = await read("deploy/lakehouse-mcp.service");
  await writeFile(path, text.replace("ExecStart=/usr/local/bin/lakehouse-mcp", `ExecStart=${process.execPath}`));
  const { stdout, stderr } = await run("systemd-analyze", ["verify", path]);
  // It also tells what it finds in other units of the machine.
  expect(`${stdout}${stderr}`.split("\n").filter((line) => line.includes("lakehouse-mcp"))).toEqual([]);
});

test("the image is built of files that are there, and starts the server with settings that exist", async () => {
  const text = (await read("deploy/Dockerfile")).replace(/^#.*\n/gm, "");
  const lines = text.split("\n").filter((line) => line !== "");
  const all = (wanted: string): string[] =>
    lines.filter((line) => line.startsWith(`${wanted} `)).map((line) => line.slice(wanted.length + 1));
  const ignored = await read(".dockerignore");
  for (const copy of all("COPY").filter((line) => !line.startsWith("--from"))) {
    for (const source of copy.split(" ").slice(0, -1)) {
      expect(existsSync(join(ROOT, source)), source).toBe(true);
      expect(ignored.split("\n")).toContain(`!${source}`);
    }
  }
  const { scripts, engines } = JSON.parse(await read("package.json"));
  expect(scripts).toHaveProperty("build");
  expect(engines.node).toMatch(/^>=20/);
  expect(all("FROM").map((from) => from.split(" ")[0])).toEqual(["node:20-slim", "node:20-slim"]);
  expect(all("USER")).toEqual(["node"]);
  expect(all("RUN").at(-1)).not.toMatch(/apt-get/);

  const env = Object.fromEntries((all("ENV")[0] ?? "").split(" ").map((each) => each.split("=") as [string, string]));
  const [program, main, ...none] = JSON.parse(all("ENTRYPOINT")[0] ?? "") as string[];
  expect([program, main, none]).toEqual(["node", "/app/dist/main.js", []]);
  const args = JSON.parse(all("CMD")[0] ?? "") as string[];
  expect(await configOf(args, env)).toMatchObject({
    http: `0.0.0.0:${all("EXPOSE")[0]}`,
    data: all("VOLUME")[0],
    http_token_file: "/run/secrets/tokens",
  });

  // Of a file that is mounted by itself the container keeps the old one when another takes its place.
  const mounts = (await read("deploy/Dockerfile")).match(/-v "?[^\s"]+"?/g) ?? [];
  expect(mounts).toContain('-v "$PWD/secrets:/run/secrets:ro"');
  expect(mounts.join()).not.toContain("tokens");

  // What the image does not say for whoever starts it.
  expect(text).not.toContain("ALLOW_NONLOOPBACK");
  await using workspace = await openWorkspace();
  const tokens = join(workspace.folder, "tokens");
  await writeFile(tokens, TOKEN, { mode: 0o600 });
  const started = run(process.execPath, [MAIN, "serve", "--http", "0.0.0.0:0", "--http-token-file", tokens], {
    cwd: workspace.folder,
    env: { ...env, LAKEHOUSE_DATA: join(workspace.folder, "lake") },
  });
  await expect(started).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining("LAKEHOUSE_ALLOW_NONLOOPBACK is not set"),
  });
});

test("the image's health check tells a server that answers from one that does not", async () => {
  const [, command = ""] = /HEALTHCHECK .* CMD (\[.*\])/.exec(await read("deploy/Dockerfile")) ?? [];
  const [, ...args] = JSON.parse(command) as string[];
  await using workspace = await openWorkspace();
  await using served = await serve(workspace);
  const { host } = new URL(served.url);
  const check = () =>
    run(
      process.execPath,
      args.map((arg) => arg.replace("127.0.0.1:3110", host)),
    );
  await check();
  served.child.kill("SIGTERM");
  await served.ended;
  await expect(check()).rejects.toMatchObject({ code: 1 });
});
