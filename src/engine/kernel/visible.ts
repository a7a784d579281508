/**
 * Control characters, line and paragraph separators, bidirectional and invisible formatting: they move a cursor, change
 * colours, hide or reorder text. Joiners stay, because emoji and some scripts need them.
 */
const UNSAFE = /(?!\u200c|\u200d)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Text of data as one line that a terminal or a model only reads. JSON stays JSON, of the same value. */
export function visible(text: string): string {
  return text.replace(UNSAFE, (character) => {
    const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}

/** The same for several lines. */
export function visibleLines(text: string): string {
  return text.split("\n").map(visible).join("\n");
}
