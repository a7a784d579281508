import { bytesOf } from "../engine/kernel/amounts.ts";
import { LakeError } from "../engine/kernel/errors.ts";

/**
 * The number of leading items that fit into a result whose text and JSON may have `maxBytes` each. Throws `limit` when not
 * even the first fits.
 */
export function fitting<Item>(
  items: readonly Item[],
  maxBytes: number,
  asText: (item: Item) => string,
  asJson: (item: Item) => string = () => "",
): number {
  let text = 0;
  let json = 0;
  for (const [index, item] of items.entries()) {
    text += Buffer.byteLength(asText(item)) + 1;
    json += Buffer.byteLength(asJson(item)) + 1;
    if (text <= maxBytes && json <= maxBytes) continue;
    if (index > 0) return index;
    throw new LakeError("limit", `The first item alone is larger than a result may be (${bytesOf(maxBytes)}).`, {
      hint: "Ask for less of it: fewer columns, no texts, or with sql a part of the value, as in left(column, 1000).",
    });
  }
  return items.length;
}

/** The note of a result that was cut. */
export function cutAt(maxBytes: number): string {
  return `Cut at ${bytesOf(maxBytes)} (max_result_bytes)`;
}
