import { NULL_SPELLINGS } from "./csv-types.ts";

/** A field of the head of a CSV file. */
export interface Cell {
  text: string;
  quoted: boolean;
}

export interface Verdict {
  header: boolean;
  /** The columns below differ from it, as words do from numbers. Otherwise it is a header by convention only. */
  certain: boolean;
}

type Kind = "none" | "number" | "marked" | "date" | "boolean" | "address" | "text";

/** A column: its cell in the first row, and what the rows below have. */
interface Column {
  index: number;
  text: string;
  kind: Kind;
  filled: number;
  /** Cells that are numbers, dates, truth values or addresses. */
  data: number;
  /** Nearly all of them are of this kind; undefined when they are text or of all sorts. */
  dominant: Kind | undefined;
  numbers: number[];
  /** The first cell comes again below. */
  repeats: boolean;
  /** The cells below are the first one with other digits: P001, P002. */
  serial: boolean;
  /** The first cell is quoted, and numbers below are not. */
  quotedApart: boolean;
}

const MISSING = new Set([
  ...NULL_SPELLINGS,
  "-",
  "--",
  "–",
  "—",
  ".",
  "..",
  "...",
  "?",
  "*",
  "n.a.",
  "missing",
  "unknown",
]);
const NUMBER = /^[+-]?(?:\d[\d_.,' ]*|[.,]\d+)(?:[eE][+-]?\d+)?$|^0[xXbB][\da-fA-F]+$/;
const MARKED = /^[$€£¥] ?[+-]?\d[\d.,' ]*$|^[+-]?\d[\d.,' ]* ?[%$€£¥]$/;
const DATE =
  /^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T ].*)?$|^(?:1[89]|2[01])\d\d-\d{2}$|^\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[ap]m)?$/i;
const ADDRESS = /^[^\s@]+@[^\s@]+\.[^\s@]+$|^https?:\/\/|^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i;
/** Longer ones are text, and need no pattern, which could take long. */
const LONGEST_DATUM = 200;
const NEARLY_ALL = 0.8;
const DATA: Verdict = { header: false, certain: false };
const BY_CONVENTION: Verdict = { header: true, certain: false };
const CERTAIN: Verdict = { header: true, certain: true };

/**
 * Whether `first` names the columns of the rows below it. It does when a word stands over numbers or dates, when numbers
 * in it are years or a count (site, 2021, 2022), or when all is text and nothing of it comes again below. A row of numbers
 * among numbers is data, whatever is missing in it.
 */
export function judgeHeader(first: readonly Cell[], below: readonly Cell[][]): Verdict {
  // Files that were joined have their header again.
  const rows = below.filter((row) => row.some((cell, index) => cell.text !== first[index]?.text));
  const columns = first.map((cell, index) => ({
    index,
    ...columnOf(
      cell,
      rows.flatMap((row) => row[index] ?? []),
    ),
  }));
  const named = columns.filter(({ kind }) => kind !== "none");
  if (named.length === 0 || columns.some(({ kind }) => kind === "address")) return DATA;
  const certain = columns.some(isLabel);
  const data = columns.filter((column) => isData(column.kind) && !isLabel(column));
  if (data.length === 0) return certain ? CERTAIN : allText(columns, rows.length);
  if (areYears(data, columns, rows.length) || isCount(data, columns, rows)) return CERTAIN as Verdict;
  const distinct = new Set(data.map(({ text }) => text)).size === data.length;
  return certain && distinct && !data.some(({ repeats }) => repeats) ? CERTAIN : DATA;
}

export function isBlank({ text }: Cell): boolean {
  return text.trim() === "";
}

function columnOf({ text, quoted }: Cell, below: Cell[]): Omit<Column, "index"> {
  const filled = below.filter((cell) => kindOf(cell.text) !== "none");
  const kinds = filled.map((cell) => kindOf(cell.text));
  const data = kinds.filter(isData).length;
  // A row of units may come first.
  const dataShare = kinds.length > 1 && !isData(kinds[0] as Kind) ? data / (kinds.length - 1) : data / kinds.length;
  const most = mostFrequent(kinds.filter(isData));
  const mask = masked(text);
  const alike = filled.filter((cell) => masked(cell.text) === mask).length;
  return {
    text,
    kind: kindOf(text),
    filled: filled.length,
    data,
    dominant: filled.length > 0 && dataShare >= NEARLY_ALL ? most : undefined,
    numbers: filled.flatMap((cell) => (/^\d{1,9}$/.test(cell.text) ? [Number(cell.text)] : [])),
    repeats: filled.some((cell) => cell.text === text),
    serial: /\d/.test(text) && filled.length > 0 && alike >= filled.length * NEARLY_ALL,
    quotedApart: quoted && !filled.some((cell) => cell.quoted),
  };
}

function kindOf(text: string): Kind {
  const bare = text.trim();
  if (bare.length > LONGEST_DATUM) return "text";
  if (MISSING.has(bare.toLowerCase())) return "none";
  if (/^\d/.test(bare) && DATE.test(bare)) return "date";
  if (NUMBER.test(bare)) return "number";
  if (MARKED.test(bare)) return "marked";
  if (/^(?:true|false)$/i.test(bare)) return "boolean";
  return ADDRESS.test(bare) ? "address" : "text";
}

function isData(kind: Kind): boolean {
  return kind !== "none" && kind !== "text";
}

/** The cell cannot be a value of its column: a word over numbers, a date over numbers, "2021" over 10 and 20. */
function isLabel({ kind, dominant, quotedApart }: Column): boolean {
  if (dominant === undefined || kind === "none") return false;
  return kind === "text" || kind !== dominant || quotedApart;
}

function allText(columns: Column[], rows: number): Verdict {
  const looksLikeData = columns.some(({ kind, filled, repeats, serial }, index) =>
    kind === "none" ? index > 0 && (filled > 0 || rows === 0) : repeats || serial,
  );
  return looksLikeData ? DATA : BY_CONVENTION;
}

/** Words, or the empty corner over the names of rows. */
function isLabelled(columns: Column[], rows: number): boolean {
  return columns.some(({ kind }) => kind === "text") || hasCorner(columns, rows);
}

function hasCorner([corner]: Column[], rows: number): boolean {
  return corner?.kind === "none" && corner.filled === rows && rows > 0;
}

function areYears(data: Column[], columns: Column[], rows: number): boolean {
  const years = data.map(({ text }) => (/^(?:1[89]|20)\d\d$|^2100$/.test(text.trim()) ? Number(text) : Number.NaN));
  if (years.some(Number.isNaN)) return false;
  const below = data.flatMap(({ numbers }) => numbers);
  if (years.length === 1) {
    const apart = !below.some((number) => number >= 1000 && number <= 9999);
    return apart && (data[0]?.filled ?? 0) > 0 && isLabelled(columns, rows);
  }
  const steps = years.slice(1).map((year, index) => year - (years[index] ?? 0));
  const even = isConstant(steps) && Math.abs(steps[0] ?? 0) <= 10;
  const ordered = years.length > 2 && (steps.every((step) => step > 0) || steps.every((step) => step < 0));
  if (!even && !ordered) return false;
  const yearsBelow = below.filter((number) => number >= 1800 && number <= 2100).length;
  return isLabelled(columns, rows) ? yearsBelow < below.length / 2 || below.length === 0 : rows > 0 && yearsBelow === 0;
}

/** 1, 2, 3 or 0, 10, 20, which the rows below do not do. */
function isCount(data: Column[], columns: Column[], rows: readonly Cell[][]): boolean {
  const corner = hasCorner(columns, rows.length);
  if (data.length < (corner ? 2 : 3) || !isLabelled(columns, rows.length)) return false;
  if (!stepsEvenly(data.map(({ text }) => text))) return false;
  if (data.length === 2 && !/^[01]$/.test(data[0]?.text ?? "")) return false;
  const alike = rows.filter((row) => stepsEvenly(data.map(({ index }) => row[index]?.text ?? "")));
  const fromStart = /^[01]$/.test(data[0]?.text ?? "") && Number(data[1]?.text) - Number(data[0]?.text) === 1;
  return data.length === 2 || alike.length <= rows.length * (fromStart ? 0.5 : 1 - NEARLY_ALL);
}

function stepsEvenly(texts: string[]): boolean {
  if (!texts.every((text) => /^\d{1,9}$/.test(text.trim()))) return false;
  const steps = texts.slice(1).map((text, index) => Number(text) - Number(texts[index]));
  return isConstant(steps) && steps[0] !== 0;
}

function isConstant(steps: number[]): boolean {
  return steps.every((step) => step === steps[0]) && steps[0] !== 0;
}

function mostFrequent(kinds: Kind[]): Kind | undefined {
  const counts = new Map<Kind, number>();
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
}

function masked(text: string): string {
  return text.replace(/\d+/g, "#");
}
