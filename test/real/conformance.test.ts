import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findNode22 } from "../support/own-packages.ts";
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
  node22 = await findNode22();
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
