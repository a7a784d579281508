import { LakeError } from "../kernel/errors.ts";
import { MAX_TEXT_CHARS, MAX_TEXTS } from "../kernel/limits.ts";

/** Throws `invalid` or `limit` naming the first text that cannot be embedded. Takes what callers really send. */
export function assertTexts(texts: readonly unknown[]): asserts texts is readonly string[] {
  if (texts.length === 0) {
    throw new LakeError("invalid", "texts is empty.", { hint: "Give at least one text." });
  }
  if (texts.length > MAX_TEXTS) {
    throw new LakeError("limit", `${texts.length} texts are more than ${MAX_TEXTS}.`, {
      hint: "Embed them in several calls.",
    });
  }
  for (const [index, text] of texts.entries()) {
    if (typeof text !== "string") {
      throw new LakeError("invalid", `texts[${index}] is not a string.`, { hint: "Every text is a string." });
    }
    if (!/\S/.test(text)) {
      throw new LakeError("invalid", `texts[${index}] is empty.`, {
        hint: "Leave empty texts out: there is nothing to embed in them.",
      });
    }
    if (text.length > MAX_TEXT_CHARS) {
      throw new LakeError("limit", `texts[${index}] has ${text.length} characters, more than ${MAX_TEXT_CHARS}.`, {
        hint: "Split it, and embed the parts.",
      });
    }
  }
}
