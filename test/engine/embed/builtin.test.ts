import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { hashedVector } from "../../../src/engine/embed/builtin.ts";
import { openTestEmbedder, refusal } from "../../support/embedder.ts";

const similarity = (a: string, b: string): number => {
  const left = hashedVector(a, 512);
  const right = hashedVector(b, 512);
  return left.reduce((sum, value, at) => sum + value * (right[at] ?? 0), 0);
};
const digest = (text: string, dimension: number): string =>
  createHash("sha256")
    .update(new Uint8Array(hashedVector(text, dimension).buffer))
    .digest("hex")
    .slice(0, 16);

test("the same text gives the same vector on every machine", () => {
  expect(Array.from(hashedVector("Forklift driver", 16), (value) => value.toFixed(4)).join(" ")).toMatchInlineSnapshot(
    `"-0.3251 -0.3251 0.0000 0.0000 -0.0232 -0.1626 -0.6271 0.0000 0.0000 0.0000 0.1626 0.1626 0.1626 0.3251 0.3251 -0.2787"`,
  );
  expect([
    digest("certified forklift driver near Joliet, nights ok", 512),
    digest("Gabelstaplerführer in Köln 🚜", 512),
    digest("夜勤できるフォークリフト運転手", 512),
    digest("!!!", 768),
  ]).toMatchInlineSnapshot(`
    [
      "2e3191f3bc91d912",
      "d4b9e22ded69d0d3",
      "05a3503aca2aa194",
      "c17396654e93d78b",
    ]
  `);
});

test("vectors have length 1 and the asked dimension", () => {
  for (const text of ["a", "!", "the quick brown fox", "é", "\u{1F600}", "\uD800", "word ".repeat(6000)]) {
    for (const dimension of [16, 511, 512, 8_192]) {
      const vector = hashedVector(text, dimension);
      expect(vector).toHaveLength(dimension);
      expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    }
  }
});

test("texts that share words or spelling are nearer than others", () => {
  const query = "certified forklift driver near Joliet, nights ok";
  const near = similarity(query, "Forklift driver with certification, works night shifts, lives in Joliet IL");
  const spelled = similarity(query, "fork-lift drivers wanted, Joliet area");
  const far = similarity(query, "Registered nurse in Boston, day shifts only");
  expect(near).toBeGreaterThan(spelled);
  expect(spelled).toBeGreaterThan(far + 0.1);
  expect(similarity("dog bites man", "man bites dog")).toBeLessThan(0.95);
  expect(similarity("C++ developer", "C++ engineer")).toBeGreaterThan(similarity("C++ developer", "C# engineer"));
  expect(similarity("夜勤の運転手", "運転手、夜勤可")).toBeGreaterThan(similarity("夜勤の運転手", "看護師募集"));
});

test("a word that is repeated counts more, but less than in proportion", () => {
  const once = similarity("forklift", "forklift nurse");
  const often = similarity("forklift", `${"forklift ".repeat(20)}nurse`);
  expect(often).toBeGreaterThan(once);
  expect(similarity("nurse", `${"forklift ".repeat(20)}nurse`)).toBeGreaterThan(0.1);
});

test("writing a text another way in Unicode or case makes no difference", () => {
  expect(hashedVector("Ｆｏｒｋｌｉｆｔ ﬁtter", 512)).toEqual(hashedVector("forklift fitter", 512));
  expect(hashedVector("Cafe\u0301 KÖLN", 512)).toEqual(hashedVector("café köln", 512));
});

test("ten thousand texts leave the event loop free", async () => {
  await using embedder = openTestEmbedder({ provider: "builtin" });
  const words = Array.from({ length: 3_000 }, (_, n) => `word${(n * 7_919).toString(36)}`);
  const texts = Array.from({ length: 10_000 }, (_, n) =>
    Array.from({ length: 60 }, (_, at) => words[(n * 31 + at * 17) % words.length]).join(" "),
  );
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const { vectors } = await embedder.embed(texts);
  clearInterval(timer);
  expect(vectors).toHaveLength(10_000);
  // A slice is 5 ms: there are a hundred of them where a text takes 50 µs.
  expect(turns).toBeGreaterThan(10);
  expect(vectors[9_999]).toEqual(hashedVector(texts[9_999] ?? "", 512));
});

test("cancelling stops it between two texts", async () => {
  await using embedder = openTestEmbedder({ provider: "builtin" });
  const abort = new AbortController();
  const work = embedder.embed(
    Array.from({ length: 5_000 }, (_, n) => `text ${n} ${"and more of it ".repeat(50)}`),
    { signal: abort.signal },
  );
  setTimeout(() => abort.abort(), 5);
  expect((await refusal(work)).kind).toBe("unavailable");
});
