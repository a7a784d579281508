import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify, stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openWorkspace } from "./process.ts";
import { serve } from "./serve.ts";

// A folder with a lock of its own: the suite needs Node 22, and a package that carries one would put it in front of the
// Node of every npm script of ours.
const FOLDER = fileURLToPath(new URL("../conformance/", import.meta.url));
const SUITE = join(FOLDER, "node_modules/@modelcontextprotocol/conformance/dist/index.js");
const EXPECTED_FAILURES = join(FOLDER, "expected-failures.yml");

let node22: string;
const table: string[] = [];

beforeAll(async () => {
  if (!(await isInstalled())) await promisify(execFile)("npm", ["ci"], { cwd: FOLDER });
  node22 = findNode22();
}, 300_000);
afterAll(() => void process.stdout.write(`\n${table.join("\n")}\n`));

test.each(["2026-07-28", "2025-11-25"])(
  "the official suite finds nothing unexpected in protocol %s",
  async (version) => {
    await using workspace = await openWorkspace();
    await using served = await serve(workspace);
    const suite = spawn(node22, [
      SUITE,
      "server",
      ...["--url", served.url, "--suite", "all", "--spec-version", version],
      ...["--expected-failures", EXPECTED_FAILURES],
    ]);
    let output = "";
    for (const stream of [suite.stdout, suite.stderr]) {
      stream.on("data", (chunk) => {
        output += chunk;
      });
    }
    const [code] = await once(suite, "close");
    const [, summary = ""] = stripVTControlCharacters(output).split("=== SUMMARY ===");
    const passed = summary.match(/^✓ /gm)?.length ?? 0;
    const expected = summary.match(/^✗ /gm)?.length ?? 0;
    table.push(`conformance ${version}: ${passed} scenarios passed, ${expected} failed as expected (no fixtures)`);
    expect(code, stripVTControlCharacters(output).slice(-6_000)).toBe(0);
    expect(passed).toBeGreaterThanOrEqual(10);
    served.child.kill("SIGTERM");
    expect(await served.ended).toEqual([0, null]);
  },
  180_000,
);

async function isInstalled(): Promise<boolean> {
  const text = (path: string) => readFile(join(FOLDER, path), "utf8").catch(() => "{}");
  const { dependencies } = JSON.parse(await text("package.json"));
  const { version } = JSON.parse(await text("node_modules/@modelcontextprotocol/conformance/package.json"));
  return version === dependencies["@modelcontextprotocol/conformance"] && existsSync(SUITE);
}

/** From the package for this machine; where there is none, the Node that runs the tests has to be new enough. */
function findNode22(): string {
  const platform = process.platform === "win32" ? "win" : process.platform;
  const binary = process.platform === "win32" ? "node.exe" : "node";
  const packed = join(FOLDER, `node_modules/node-${platform}-${process.arch}/bin`, binary);
  if (existsSync(packed)) return packed;
  if (Number(process.versions.node.split(".")[0]) >= 22) return process.execPath;
  throw new Error(`The conformance suite needs Node 22: there is none in ${packed}. Run these tests with Node 22.`);
}
