import { throwIfAborted } from "../kernel/abort.ts";
import { openTimeSlice } from "../kernel/time-slice.ts";
import { builtinName } from "./plan.ts";
import type { EmbeddingProvider } from "./types.ts";

/** Of all calls together: many short ones in a row would keep the event loop as long as one long call. */
const inSlices = openTimeSlice(5);
/** NFKC can make one character eighteen; what is beyond this adds little to a vector and would block the event loop. */
const MAX_CHARS = 65_536;

/** Letters and digits with their marks, `C++` and `C#`; in scripts without spaces every character is a word. */
const WORDS =
  /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}]|(?:(?![\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}])[\p{L}\p{M}\p{N}])+[+#]*/gu;

const WORD = { seed: 0x9e3779b9, weight: 1 };
const PAIR = { seed: 0x85ebca6b, weight: 0.6 };
const GRAM = { seed: 0xc2b2ae35, weight: 0.35 };
const GRAM_SIZES = [3, 4];

/**
 * Vectors without a service or a download: words, pairs of neighbours and character n-grams, hashed with a sign into
 * `dimension` buckets (https://alex.smola.org/papers/2009/Weinbergeretal09.pdf), each weighted by 1 + ln(count), of
 * length 1. The same text gives the same vector on every machine. Texts are near when they share words or spelling:
 * synonyms are not found.
 */
export function openBuiltin(dimension: number): EmbeddingProvider {
  return {
    provider: "builtin",
    model: builtinName(dimension),
    dimension,
    lexical: true,
    prefixes: { query: "", document: "" },
    embed: async (texts, { signal }) => {
      const vectors: Float32Array[] = [];
      for (const text of texts) {
        throwIfAborted(signal);
        vectors.push(await inSlices(() => hashedVector(text, dimension)));
      }
      return vectors;
    },
  };
}

/** The vector of a text that is not blank. */
export function hashedVector(text: string, dimension: number): Float32Array {
  const normal = text.normalize("NFKC").toLowerCase().slice(0, MAX_CHARS);
  // Punctuation alone is still a text: its characters are the words then.
  const words = normal.match(WORDS) ?? Array.from(normal.trim());
  const sums = new Float64Array(dimension);
  addWords(sums, words);
  addPairs(sums, words);

  let square = 0;
  for (const sum of sums) square += sum * sum;
  const vector = new Float32Array(dimension);
  // All features can cancel out; the text as a whole cannot.
  if (square === 0) vector[(hash(WORD.seed, normal, 0, normal.length) >>> 1) % dimension] = 1;
  else for (let at = 0; at < dimension; at++) vector[at] = (sums[at] ?? 0) / Math.sqrt(square);
  return vector;
}

function addWords(sums: Float64Array, words: readonly string[]): void {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const grams = new Map<number, number>();
  for (const [word, count] of counts) {
    addFeature(sums, hash(WORD.seed, word, 0, word.length), WORD.weight, count);
    const marked = `^${word}$`;
    for (const size of GRAM_SIZES) {
      for (let from = 0; from + size <= marked.length; from++) {
        const gram = hash(GRAM.seed, marked, from, from + size);
        grams.set(gram, (grams.get(gram) ?? 0) + count);
      }
    }
  }
  for (const [gram, count] of grams) addFeature(sums, gram, GRAM.weight, count);
}

function addPairs(sums: Float64Array, words: readonly string[]): void {
  const pairs = new Map<number, number>();
  let before: number | undefined;
  for (const word of words) {
    const here = hash(PAIR.seed, word, 0, word.length);
    if (before !== undefined) {
      const pair = mixed(Math.imul(before, 31) + here);
      pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
    }
    before = here;
  }
  for (const [pair, count] of pairs) addFeature(sums, pair, PAIR.weight, count);
}

/** The lowest bit is the sign, the others are the bucket. */
function addFeature(sums: Float64Array, feature: number, weight: number, count: number): void {
  const at = (feature >>> 1) % sums.length;
  const value = weight * (1 + Math.log(count));
  sums[at] = (sums[at] ?? 0) + ((feature & 1) === 0 ? value : -value);
}

/** FNV-1a over UTF-16 code units, with MurmurHash3's finish, which FNV's low bits need. */
function hash(seed: number, text: string, from: number, to: number): number {
  let value = seed;
  for (let at = from; at < to; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return mixed(value);
}

function mixed(value: number): number {
  let bits = value | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
