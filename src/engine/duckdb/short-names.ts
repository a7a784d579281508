/** Longest name from data that is shown in a message. */
const MAX_NAME = 64;
const MAX_SPAN = 200;
const MAX_CANDIDATES = 5;
const CANDIDATES = /(?:Candidate (?:bindings|tables|Entries)|Left candidates|Did you mean)\b:?\s*/;
/** DuckDB's excerpt of the statement, which the caller knows. */
const EXCERPT = /\n\s*LINE \d+: [^\n]{0,120}\n *\^\s*$/;

/** A name from data, quoted as JSON and cut: it may be written so as to be taken for a message. */
function shownName(name: string): string {
  return JSON.stringify(cut(name, MAX_NAME));
}

/** A message of DuckDB with names of columns and values cut and quoted: they may come from a file. */
export function withShortNames(message: string): string {
  const excerpt = EXCERPT.exec(message)?.[0] ?? "";
  const text = message.slice(0, message.length - excerpt.length);
  const candidates = CANDIDATES.exec(text);
  if (!candidates) return shortSpans(text) + excerpt;
  const start = candidates.index + candidates[0].length;
  const names = text
    .slice(start)
    .split(/"?(?:,\s+|\n\s*Right candidates:\s*)"?/)
    .slice(0, MAX_CANDIDATES)
    .map((name) => name.trim().replace(/^"|"?\??$/g, ""));
  return `${shortSpans(text.slice(0, candidates.index))}${candidates[0]}${listed(names)}${excerpt}`;
}

/** As many names as fit into a bounded length: one name with commas in it looks like several. */
function listed(names: string[]): string {
  const shown: string[] = [];
  let left = MAX_SPAN;
  for (const name of names) {
    left -= Math.min(name.length, MAX_NAME);
    if (left < 0) break;
    shown.push(shownName(name));
  }
  return shown.join(", ");
}

function shortSpans(text: string): string {
  return text
    .replace(/"((?:[^"]|"")*)"/g, (span, name: string) => (name.length > MAX_NAME ? shownName(name) : span))
    .replace(/(source column )(.{65,})/gs, (_, before: string, name: string) => before + shownName(name))
    .replace(/'([^']*)'/g, (span, value: string) => (value.length > MAX_SPAN ? `'${cut(value, MAX_SPAN)}'` : span));
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}

/** Cuts long names in a message, in any spelling that DuckDB gives them, and leaves the rest of it as it is. */
export function withoutLongNames(message: string, names: Iterable<string>): string {
  let text = message;
  for (const name of names) {
    if (name.length <= MAX_NAME) continue;
    const spellings = new Set([name, name.replaceAll('"', '""'), JSON.stringify(name).slice(1, -1)]);
    // Whole occurrences first: parts of a name that repeats itself are found in several places.
    for (const spelling of spellings) text = text.replaceAll(spelling, () => cut(spelling, MAX_NAME));
    for (const spelling of spellings) text = withoutLongName(text, spelling);
  }
  return text;
}

const PIECE = 16;

/** Removes parts of a long name, except its beginning where that is short enough. */
function withoutLongName(message: string, name: string): string {
  let text = message;
  for (let from = MAX_NAME; from < name.length; from += PIECE) {
    const at = Math.min(from, name.length - PIECE);
    const piece = name.slice(at, at + PIECE);
    for (let found = text.indexOf(piece); found >= 0; ) {
      const { start, end } = spanAround(text, found, name, at);
      const span = text.slice(start, end);
      const isBeginning = name.startsWith(span.slice(0, MAX_NAME));
      if (isBeginning && span.length <= MAX_NAME) found = text.indexOf(piece, end);
      else {
        const shown = isBeginning ? `${span.slice(0, MAX_NAME - 1)}…` : "…";
        text = text.slice(0, start) + shown + text.slice(end);
        found = text.indexOf(piece, start + shown.length);
      }
    }
  }
  return text;
}

/** The part of the message around `found` that equals the name around `at`. */
function spanAround(text: string, found: number, name: string, at: number): { start: number; end: number } {
  let before = 0;
  while (before < Math.min(at, found) && text[found - before - 1] === name[at - before - 1]) before++;
  let after = 0;
  while (at + after < name.length && text[found + after] === name[at + after]) after++;
  return { start: found - before, end: found + after };
}
