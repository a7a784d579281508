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

/** Cuts a message at what is left in it of a long name, however DuckDB wrote it. */
export function withoutLongNames(message: string, names: Iterable<string>): string {
  let end = message.length;
  for (const name of names) {
    if (name.length <= MAX_NAME) continue;
    // Its beginning may stand there, quoted and cut; what comes later in it may not.
    for (let at = MAX_NAME; at < name.length; at += PIECE) {
      const piece = name.slice(at, at + PIECE);
      const found = piece.length === PIECE || at === MAX_NAME ? message.indexOf(piece) : -1;
      if (found >= 0) end = Math.min(end, Math.max(0, found - MAX_NAME));
    }
  }
  return end < message.length ? `${message.slice(0, end).trimEnd()} …` : message;
}

const PIECE = 16;
