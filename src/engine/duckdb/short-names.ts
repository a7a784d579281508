/** Longest name or value of data that stands in a message. */
const MAX_NAME = 64;
const MAX_SPAN = 200;
const MAX_CANDIDATES = 5;
const CANDIDATES = /(?:Candidate (?:bindings|tables|Entries)|Left candidates|Did you mean)\b:?\s*/;
/** DuckDB's excerpt of the statement, which is the caller's own. */
const EXCERPT = /\n\s*LINE \d+: [^\n]{0,120}\n *\^\s*$/;

/** A name from data: quoted as JSON, and cut where it goes on and on, since it may be written to be taken for a message. */
function shownName(name: string): string {
  return JSON.stringify(cut(name, MAX_NAME));
}

/** A message of DuckDB with the names of columns, and values, cut and quoted: they may come from a file's header. */
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

/** Together they are no longer than a few names: one with commas in it looks like several. */
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

/** Cuts what is left of long names in a message, however DuckDB wrote them, and leaves the rest of it as it is. */
export function withoutLongNames(message: string, names: Iterable<string>): string {
  let text = message;
  for (const name of names) {
    if (name.length <= MAX_NAME) continue;
    const spellings = new Set([name, name.replaceAll('"', '""'), JSON.stringify(name).slice(1, -1)]);
    // First where it is whole: one that repeats itself fits itself in several places.
    for (const spelling of spellings) text = text.replaceAll(spelling, () => cut(spelling, MAX_NAME));
    for (const spelling of spellings) text = withoutLongName(text, spelling);
  }
  return text;
}

const PIECE = 16;

/** The beginning of a name may stand there, quoted and cut; what comes later in it may not. */
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
        const kept = isBeginning ? `${span.slice(0, MAX_NAME - 1)}…` : "…";
        text = text.slice(0, start) + kept + text.slice(end);
        found = text.indexOf(piece, start + kept.length);
      }
    }
  }
  return text;
}

/** As much of the message around `found` as is the name around `at`. */
function spanAround(text: string, found: number, name: string, at: number): { start: number; end: number } {
  let before = 0;
  while (before < Math.min(at, found) && text[found - before - 1] === name[at - before - 1]) before++;
  let after = 0;
  while (at + after < name.length && text[found + after] === name[at + after]) after++;
  return { start: found - before, end: found + after };
}
