import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { MAIN, openWorkspace } from "../real/process.ts";
import { findNode22, install } from "../support/own-packages.ts";
import { testClient } from "./contract.ts";

const FOLDER = fileURLToPath(new URL("./inspector/", import.meta.url));
const INSPECTOR = join(FOLDER, "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js");

testClient({
  name: "Inspector 2",
  folder: "inspector",
  node22: true,
  starts: "itself",
  lacks: ["progress"],
  complaints: /^Schema portability: 0 errors/,
});
// It has no way to send a header.
testClient({
  name: "Inspector 0.15",
  folder: "inspector-0",
  transports: ["stdio"],
  starts: "itself",
  lacks: ["progress"],
});

test("the Inspector's check finds no error, and nothing at all to say of arguments", { timeout: 400_000 }, async () => {
  await install(FOLDER);
  await using workspace = await openWorkspace();
  const check = [INSPECTOR, "--cli", "--method", "tools/list", "--strict", process.execPath, MAIN, "--data", "memory"];
  const env = { PATH: process.env.PATH, HOME: workspace.folder };
  const { stderr } = await promisify(execFile)(await findNode22(), check, { env, maxBuffer: 2 ** 26 });
  expect(stderr).toMatch(/^0 errors, \d+ warnings/m);
  const paths = [...stderr.matchAll(/^\s*Path: (\S+)/gm)].map(([, path]) => path ?? "");
  expect(paths.filter((path) => !path.startsWith("outputSchema."))).toEqual([]);
});
