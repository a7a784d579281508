import type { Prefixes } from "./types.ts";

const NONE: Prefixes = { query: "", document: "" };

/**
 * What the authors of a family put before the texts; the first that matches counts.
 * https://huggingface.co/nomic-ai/nomic-embed-text-v1.5 · https://huggingface.co/intfloat/multilingual-e5-large ·
 * https://huggingface.co/BAAI/bge-large-en-v1.5
 */
const FAMILIES: readonly [family: RegExp, prefixes: Prefixes][] = [
  [/nomic-embed/, { query: "search_query: ", document: "search_document: " }],
  // These want an instruction that says what is searched for, which only the user can word.
  [/\be5\b.*instruct/, NONE],
  [/\be5\b/, { query: "query: ", document: "passage: " }],
  [/\bbge-m3\b/, NONE],
  [/\bbge\b.*-zh\b/, { query: "为这个句子生成表示以用于检索相关文章：", document: "" }],
  [/\bbge\b/, { query: "Represent this sentence for searching relevant passages: ", document: "" }],
];

/** The prefixes of the model's family, none when it is not known; what `own` sets counts first, also when empty. */
export function prefixesOf(
  model: string,
  own: { query?: string | undefined; document?: string | undefined } = {},
): Prefixes {
  const name = model.toLowerCase();
  const family = FAMILIES.find(([pattern]) => pattern.test(name))?.[1] ?? NONE;
  return { query: own.query ?? family.query, document: own.document ?? family.document };
}
