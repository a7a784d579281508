import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import type { CommandContext } from "../../src/cli/command.ts";
import { openSource } from "../../src/cli/sources.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";

test("a Ctrl-C while the file for standard input is being made is heard, though nothing ever comes in", async () => {
  const stop = new AbortController();
  const ended = new LakeError("unavailable", "Cancelled.");
  const context = { stdin: new PassThrough(), config: { max_ingest_bytes: 10 }, signal: stop.signal };
  const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith("lakehouse-stdin-"));
  const before = folders();
  const opening = openSource("-", context as unknown as CommandContext);
  stop.abort(ended);
  await expect(opening).rejects.toBe(ended);
  expect(folders().filter((name) => !before.includes(name))).toEqual([]);
});
