import { afterAll, beforeAll, expect, test } from "vitest";
import { convertArrow } from "../../src/engine/ingest/arrow/arrow.ts";
import { type Converting, openConverting } from "../support/converting.ts";
import { keepFound, readCorpus } from "../support/corpus.ts";

/** More of them: LAKEHOUSE_FUZZ_ROUNDS=2000. Another sequence: LAKEHOUSE_FUZZ_SEED. */
const ROUNDS = Number(process.env.LAKEHOUSE_FUZZ_ROUNDS ?? 120);
const SEED = Number(process.env.LAKEHOUSE_FUZZ_SEED ?? 1);
/** Made by make.py there, or found here. */
const CORPUS = new URL("../engine/ingest/arrow/files/", import.meta.url);

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

/** How the file ends: `loaded`, or the kind of the error that names it. */
async function outcome(bytes: Buffer): Promise<string> {
  const source = await bench.source("fuzzed.arrow", bytes);
  return bench.convert(convertArrow, source).then(
    () => "loaded",
    (error: { name?: string; kind?: string; message?: string }) => {
      const said = `${error.kind} ${error.message}`;
      expect(error.name, said).toBe("LakeError");
      expect(["invalid", "limit"], said).toContain(error.kind);
      expect(error.message, said).toContain("fuzzed.arrow");
      return error.kind ?? "";
    },
  );
}

test("every file of the corpus loads, or is refused by its name", async () => {
  const outcomes = new Set<string>();
  for (const { name, bytes } of await readCorpus(CORPUS, ".arrow")) {
    outcomes.add(
      await outcome(bytes).catch((error: unknown) => {
        throw new Error(name, { cause: error });
      }),
    );
  }
  expect(outcomes).toContain("loaded");
});

test(
  "a damaged Arrow file is loaded or refused by its name",
  async () => {
    const random = openRandom(SEED);
    const corpus = await readCorpus(CORPUS, ".arrow");
    const outcomes = new Map<string, number>();
    for (let round = 0; round < ROUNDS; round++) {
      const sound = corpus[random(corpus.length)] ?? expect.fail("no corpus");
      const bytes = damaged(sound.bytes, random);
      const told = await outcome(bytes).catch(async (error: unknown) => {
        const keptAs = await keepFound(CORPUS, `${SEED}-${round}.arrow`, bytes);
        throw new Error(`Seed ${SEED}, round ${round}. ${keptAs}`, { cause: error });
      });
      outcomes.set(told, (outcomes.get(told) ?? 0) + 1);
    }
    // Else nothing was put to the test.
    expect(outcomes.get("loaded")).toBeGreaterThan(0);
    expect(outcomes.get("invalid")).toBeGreaterThan(0);
  },
  60_000 + ROUNDS * 2000,
);
