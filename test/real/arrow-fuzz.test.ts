import { readdir, readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { convertArrow } from "../../src/engine/ingest/arrow.ts";
import { type Converting, openConverting } from "../support/converting.ts";

/** More of them: LAKEHOUSE_FUZZ_ROUNDS=2000. Another sequence: LAKEHOUSE_FUZZ_SEED. */
const ROUNDS = Number(process.env.LAKEHOUSE_FUZZ_ROUNDS ?? 120);
const SEED = Number(process.env.LAKEHOUSE_FUZZ_SEED ?? 1);
const CORPUS = new URL("../engine/ingest/arrow-files/", import.meta.url);

let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

/** https://en.wikipedia.org/wiki/Linear_congruential_generator, with the numbers of Numerical Recipes. */
function openRandom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const WORDS = [0, -1, 1, 2 ** 31 - 1, -(2 ** 31), 2 ** 30];
const LONGS = [0n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 40n, 2n ** 31n];

/** Damage where it hurts: single bytes, lengths and offsets of 32 and 64 bits, all over metadata and bodies. */
function damaged(sound: Buffer, random: (below: number) => number): Buffer {
  const data = Buffer.from(sound);
  for (let left = 1 + random(4); left > 0; left--) {
    const at = 8 + random(data.length - 16);
    const how = random(3);
    if (how === 0) data[at] = random(256);
    else if (how === 1) data.writeInt32LE(WORDS[random(WORDS.length)] ?? 0, at);
    else data.writeBigInt64LE(LONGS[random(LONGS.length)] ?? 0n, at);
  }
  return data;
}

test(
  "a damaged Arrow file is loaded or refused by its name",
  async () => {
    const random = openRandom(SEED);
    const names = (await readdir(CORPUS)).filter((name) => name.endsWith(".arrow"));
    const corpus = await Promise.all(names.map((name) => readFile(new URL(name, CORPUS))));
    const outcomes = new Map<string, number>();
    for (let round = 0; round < ROUNDS; round++) {
      const sound = corpus[random(corpus.length)] ?? expect.fail("no corpus");
      const source = await bench.source("fuzzed.arrow", damaged(sound, random), "arrow");
      const outcome = await bench.convert(convertArrow, source).then(
        () => "loaded",
        (error: { name?: string; kind?: string; message?: string }) => {
          const said = `round ${round} of seed ${SEED}: ${error.kind} ${error.message}`;
          expect(error.name, said).toBe("LakeError");
          expect(["invalid", "limit"], said).toContain(error.kind);
          expect(error.message, said).toContain("fuzzed.arrow");
          return error.kind ?? "";
        },
      );
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    // Else nothing was put to the test.
    expect(outcomes.get("loaded")).toBeGreaterThan(0);
    expect(outcomes.get("invalid")).toBeGreaterThan(0);
  },
  60_000 + ROUNDS * 2000,
);
