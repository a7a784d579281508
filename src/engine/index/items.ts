import type { VectorIndex } from "../catalog/types.ts";
import { LakeError } from "../kernel/errors.ts";
import { type ExactNumber, isExactNumber, stringifyExact, wholeIn } from "../kernel/exact-json.ts";
import { MAX_ID_BYTES, MAX_ITEMS, MAX_METADATA_BYTES, MAX_TEXT_CHARS } from "../kernel/limits.ts";
import { openTimeSlice } from "../kernel/time-slice.ts";
import type { Item } from "./types.ts";

/** An item that was looked at: what it lacks is to be made, or to be kept. */
export interface CheckedItem {
  id: string;
  /** Undefined: to be made of the text. */
  vector: Float32Array | undefined;
  text: string | null;
  /** JSON; null for none; undefined to keep what is there. */
  metadata: string | null | undefined;
}

const MAX_DEPTH = 32;
const SLICE_MS = 5;
const SLAB_VALUES = 2 ** 16;
/** `JSON.stringify` escapes half a surrogate pair, and no whole one. */
const BROKEN_TEXT = /(?<!\\)(?:\\\\)*\\u(?:d[89a-f]|0000)/;

/** Throws `invalid` or `limit` for the first item that cannot be stored, naming it: then none of them is. */
export async function checkItems(name: string, items: readonly Item[], index: VectorIndex): Promise<CheckedItem[]> {
  if (items.length === 0) throw new LakeError("invalid", "items is empty.", { hint: "Give at least one item." });
  if (items.length > MAX_ITEMS) {
    throw new LakeError("limit", `items has ${items.length} items, and one call takes ${MAX_ITEMS}.`, {
      hint: "Send them in several calls.",
    });
  }
  const inSlices = openTimeSlice(SLICE_MS);
  const next = openSlabs(index.dimension, items.length);
  const seen = new Map<string, number>();
  const checked: CheckedItem[] = [];
  for (const [at, item] of items.entries()) {
    await inSlices(() => {
      assertId(item.id, `items[${at}].id`);
      const where = `items[${at}] (id ${shown(item.id)})`;
      const before = seen.get(item.id);
      if (before !== undefined) {
        throw new LakeError("invalid", `${where} has the id of items[${before}].`, {
          hint: "Send every id once; nothing was changed.",
        });
      }
      seen.set(item.id, at);
      checked.push(checkItem(item, where, name, index, next));
    });
  }
  return checked;
}

/** Vectors to fill: each a part of a larger one, because many small buffers are much to collect later. */
function openSlabs(dimension: number, count: number): () => Float32Array {
  const most = Math.max(1, Math.min(count, Math.floor(SLAB_VALUES / dimension)));
  let slab = new Float32Array(0);
  let at = 0;
  return () => {
    if (at === slab.length) {
      slab = new Float32Array(most * dimension);
      at = 0;
    }
    at += dimension;
    return slab.subarray(at - dimension, at);
  };
}

function checkItem(item: Item, where: string, name: string, index: VectorIndex, next: () => Float32Array): CheckedItem {
  const { vector, text } = item;
  if (vector === undefined && text === undefined) {
    throw new LakeError("invalid", `${where} has neither a vector nor a text.`, { hint: "Give one of them." });
  }
  if (text !== undefined) assertText(text, `${where}: text`);
  if (vector === undefined && index.model === null) {
    throw new LakeError("invalid", `${where} has a text and no vector, and ${name} has no model to embed it with.`, {
      hint: `Give a vector of ${index.dimension} numbers, or create an index with a model.`,
    });
  }
  return {
    id: item.id,
    vector: vector && checkVector(vector, `${where}: vector`, index, next),
    text: text ?? null,
    metadata: item.metadata === undefined ? undefined : checkMetadata(item.metadata, where),
  };
}

/** Throws `invalid` for what cannot be an id. */
export function assertId(id: unknown, where: string): asserts id is string {
  if (typeof id !== "string" || id === "") {
    throw new LakeError("invalid", `${where} is ${id === "" ? "empty" : "not a string"}.`, {
      hint: `An id is a text of 1 to ${MAX_ID_BYTES} bytes, for example "w-17".`,
    });
  }
  if (!id.isWellFormed() || id.includes("\0")) {
    throw new LakeError("invalid", `${where} has a NUL or half of a character in it.`, {
      hint: "Use complete Unicode characters.",
    });
  }
  const bytes = Buffer.byteLength(id);
  if (bytes > MAX_ID_BYTES) {
    throw new LakeError("limit", `${where} has ${bytes} bytes, and an id may have ${MAX_ID_BYTES}.`, {
      hint: "Use a shorter id, and keep the long one in metadata.",
    });
  }
}

/** Throws `invalid` for a text without a word, `limit` for one that is too long. */
export function assertText(text: unknown, where: string): asserts text is string {
  if (typeof text !== "string" || !/\S/.test(text) || !text.isWellFormed() || text.includes("\0")) {
    throw new LakeError("invalid", `${where} is empty or no text.`, { hint: "Give a text with a word in it." });
  }
  if (text.length > MAX_TEXT_CHARS) {
    throw new LakeError("limit", `${where} has ${text.length} characters, more than ${MAX_TEXT_CHARS}.`, {
      hint: "Split it, and store the parts as items of their own.",
    });
  }
}

/** The numbers as float32. Throws `invalid` for a wrong length, what is no finite number, and zeros under cosine. */
export function checkVector(
  vector: readonly unknown[],
  where: string,
  { dimension, metric }: Pick<VectorIndex, "dimension" | "metric">,
  next: () => Float32Array = () => new Float32Array(dimension),
): Float32Array {
  if (vector.length !== dimension) {
    throw new LakeError("invalid", `${where} has ${vector.length} values, and the index has ${dimension} dimensions.`, {
      hint: "Use vectors of the model the index was made for, or create another index.",
    });
  }
  const values = next();
  let square = 0;
  for (let at = 0; at < dimension; at++) {
    const value = vector[at];
    const single = typeof value === "number" ? Math.fround(value) : Number.NaN;
    if (!Number.isFinite(single)) {
      throw new LakeError("invalid", `${where}[${at}] is ${shown(value)}, not a finite float32.`, {
        hint: "Every value is a number between -3.4e38 and 3.4e38.",
      });
    }
    values[at] = single;
    square += single * single;
  }
  // Also what is so small, or so large, that its length cannot be told.
  if (metric === "cosine" && !(Math.fround(square) > 0 && Number.isFinite(Math.fround(square)))) {
    throw new LakeError(
      "invalid",
      `${where} has a length of ${square === 0 ? "0" : "almost 0, or beyond float32"}: it has no direction.`,
      {
        hint: "Under cosine a vector needs a direction; leave the item out.",
      },
    );
  }
  return values;
}

function checkMetadata(metadata: unknown, where: string): string | null {
  if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata)) {
    throw new LakeError("invalid", `${where}: metadata is not an object.`, { hint: 'For example {"role": "driver"}.' });
  }
  const found = look(metadata);
  if (found.isDeep) {
    throw new LakeError("limit", `${where}: metadata is nested more than ${MAX_DEPTH} deep.`, { hint: "Flatten it." });
  }
  if (found.isLong) throw tooLong(`${where}: metadata has more than ${MAX_METADATA_BYTES} bytes`);
  const fraction = found.numbers.find((number) => wholeIn(number) === undefined);
  if (fraction !== undefined) {
    throw new LakeError(
      "invalid",
      `${where}: metadata has the number ${shown(String(fraction))}, and SQL reads no more than 17 digits of a decimal in JSON.`,
      { hint: "Send it as a text in quotes, and cast that where it is compared." },
    );
  }
  const json = found.numbers.length > 0 ? stringifyExact(metadata) : JSON.stringify(metadata);
  const bytes = Buffer.byteLength(json);
  if (bytes > MAX_METADATA_BYTES) throw tooLong(`${where}: metadata has ${bytes} bytes`);
  if (BROKEN_TEXT.test(json)) {
    throw new LakeError("invalid", `${where}: metadata has a NUL or half of a character in it.`, {
      hint: "Use complete Unicode characters.",
    });
  }
  return json === "{}" ? null : json;
}

function tooLong(message: string): LakeError {
  return new LakeError("limit", `${message}, and an item may have ${MAX_METADATA_BYTES}.`, {
    hint: "Keep what is searched or shown there, and the rest in a dataset to join with.",
  });
}

/**
 * Whether metadata is nested too deep, or certainly too long, and the numbers in it that a double does not hold. Looks no
 * further when it knows, and no further than at as many values as metadata can have bytes.
 */
function look(metadata: object): { isDeep: boolean; isLong: boolean; numbers: ExactNumber[] } {
  const numbers: ExactNumber[] = [];
  const todo: { value: object; depth: number }[] = [{ value: metadata, depth: 1 }];
  let bytes = 0;
  for (let next = todo.pop(); next; next = todo.pop()) {
    const { value, depth } = next;
    if (depth > MAX_DEPTH) return { isDeep: true, isLong: false, numbers };
    for (const child of (Array.isArray(value) ? value : Object.values(value)) as unknown[]) {
      // With a comma or a bracket beside it.
      bytes += 2;
      if (bytes > MAX_METADATA_BYTES) return { isDeep: false, isLong: true, numbers };
      if (isExactNumber(child)) numbers.push(child);
      else if (typeof child === "object" && child !== null) todo.push({ value: child, depth: depth + 1 });
    }
  }
  return { isDeep: false, isLong: false, numbers };
}

function shown(value: unknown): string {
  const plain = typeof value === "number" || value === undefined;
  return (plain ? String(value) : JSON.stringify(value)).slice(0, 100);
}
