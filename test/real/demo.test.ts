import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, onTestFinished, test } from "vitest";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

interface Finished {
  code: number;
  output: string;
}

/** Runs a script with `temp` for its temporary files. */
function node(args: string[], temp = tmpdir()): Promise<Finished> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: ROOT, env: { ...process.env, TMPDIR: temp } }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, output: stdout + stderr });
    });
  });
}

async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "lakehouse-test-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

// The server itself is built before the tests run; building it here would take it away from the tests beside this one.
beforeAll(async () => {
  expect(await node(["node_modules/typescript/bin/tsc", "-p", "tsconfig.scripts.json"])).toEqual({
    code: 0,
    output: "",
  });
});

test("the demo tells the whole story, leaves nothing behind and exits with 0", async () => {
  const temp = await emptyFolder();
  const { code, output } = await node([".build/demo/demo.js", "--rows", "2000"], temp);

  expect(output).not.toContain("The tour stopped");
  for (const line of [
    /✓ connect +server started, protocol 2026-07-28 +[\d.]+ m?s/,
    /✓ tools\/list +ingest, sql, catalog-list, catalog-describe/,
    /workers\.csv: 2,000 rows × 18 columns/,
    /✓ ingest +workers: 2,000 rows, .* of Parquet +[\d.]+ m?s\n +version 1 · progress reported [1-9]\d*×/,
    /✓ catalog-list +workers, 2,000 rows/,
    /✓ catalog-describe +version 1, 18 columns/,
    /✓ sql +Forklift drivers in IL, available, reliability over 0\.9/,
    /⊘ sql +COPY workers TO/,
    /✓ ingest +the same file again: unchanged, still version 1/,
    /⊘ ingest +a file whose hourly_rate is now pay_rate/,
    /✓ catalog-describe +untouched: version 1, 2,000 rows/,
    /✓ vector-index-create +resumes: 2,000 résumés, 512 dimensions by builtin-512/,
    /✓ vector-search +"certified forklift driver, night shifts are fine"/,
    /✓ vector-search +the same, where state = 'IL' AND available AND reliability > 0\.9/,
    /✓ sql +meaning and facts in one statement/,
    /✓ \(restart\) +the server was stopped and started again/,
    /✓ vector-search +the same question, after the restart/,
    /builtin-512 compares words and spelling, not meaning\. For meaning, run: ollama pull nomic-embed-text/,
    /17 tool calls in .* Everything was as expected\./,
    /npx/,
  ]) {
    expect(output).toMatch(line);
  }
  expect(output.match(/✓ sql/g)).toHaveLength(5);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: this looks for one.
  expect(output).not.toMatch(/\u001b/);
  expect(code).toBe(0);
  expect(await readdir(temp)).toEqual([]);
});

test("a demo that cannot run says why and exits with 1", async () => {
  const { code, output } = await node([".build/demo/demo.js", "--rows", "12"]);
  expect(output).toContain("--rows 12: expected a whole number, 1000 or more");
  expect(code).toBe(1);
});
