import { NULL_SPELLINGS } from "./csv-types.ts";

/** A field of the head of a CSV file. */
export interface Cell {
  text: string;
  quoted: boolean;
}

export interface Verdict {
  header: boolean;
  /** It differs from the columns below, as words from numbers; otherwise it is a header by convention only. */
  certain: boolean;
}

type Kind = "none" | "number" | "marked" | "date" | "boolean" | "address" | "text";

/** A column: its cell in the first row, and its cells in the rows below. */
interface Column {
  index: number;
  text: string;
  kind: Kind;
  /** Cells below that hold a value. */
  filled: number;
  /** Cells below that are numbers, dates, truth values or addresses. */
  data: number;
  /** The kind of nearly all cells below; undefined when they are text or mixed. */
  dominant: Kind | undefined;
  numbers: number[];
  /** The first cell comes again below. */
  repeats: boolean;
  /** A cell below is a usual name of a column. */
  wordBelow: boolean;
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
/** Longer cells are text: patterns could take long on them. */
const LONGEST_DATUM = 200;
const NEARLY_ALL = 0.8;
const YEAR = /^(?:1[89]|20)\d\d$|^2100$/;
const YEAR_AND_MONTH = /^(?:1[89]|20)\d\d(?:0[1-9]|1[0-2])$/;
const NUMBERED = /^([a-z]{1,12}[ _-]?)(\d{1,9})$/i;
/** Usual names of columns, without words that are values as often, such as names of months. */
const COLUMN_WORDS = new Set(
  [
    "account age airport area article asset bank bezirk branch brand budget building category channel city class client",
    "code commodity company continent country county course crop customer data date day department departement dept",
    "description device disease district division employee entity event facility factory farm field firm fund gender",
    "gene geo geography grade group hour id indicator industry item jahr job key kategorie kpi label land language line",
    "location machine market material measure metric model monat month monthly municipality nachname name nom nombre node",
    "occupation office operator organisation organization origin parameter party patient pays period person plant player",
    "position product produkt program project province quarter question race rank region river role room route row sample",
    "school sector segment sensor series service sex shift shop site skill source species staff state station stadt status",
    "stock store subject supplier symbol task team test ticker time title topic town type unit user variable vehicle",
    "vendor village ward warehouse week worker year zone",
  ].flatMap((line) => line.split(" ")),
);
const DATA: Verdict = { header: false, certain: false };
const BY_CONVENTION: Verdict = { header: true, certain: false };
const CERTAIN: Verdict = { header: true, certain: true };

/**
 * Whether `first` names the columns of the rows below it. It does when a word stands over numbers or dates, when numbers
 * in it are years or a count (site, 2021, 2022), or when all is text and nothing of it comes again below. Beside a word that
 * columns are called by (region, month), any run of numbers is names, whatever the numbers below are. A row of numbers among
 * numbers is data, whatever is missing in it.
 */
export function judgeHeader(first: readonly Cell[], below: readonly Cell[][]): Verdict {
  // Concatenated files repeat their header.
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
  if (data.length === 0) return certain || isTextRun(columns, rows) ? CERTAIN : allText(columns, rows.length);
  const texts = data.map(({ text }) => text);
  if (isRun(texts) && (columns.some(isColumnWord) || (hasCorner(columns, rows.length) && areApart(texts, data, rows))))
    return CERTAIN;
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
    wordBelow: filled.some((cell) => namesColumn(cell.text)),
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

/** Whether the cell cannot be a value of its column: a word or a date over numbers, a quoted number over plain ones. */
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

/** Whether the first row has words, or an empty corner over the names of rows. */
function isLabelled(columns: Column[], rows: number): boolean {
  return columns.some(({ kind }) => kind === "text") || hasCorner(columns, rows);
}

function hasCorner([corner]: Column[], rows: number): boolean {
  return corner?.kind === "none" && corner.filled === rows && rows > 0;
}

function areYears(data: Column[], columns: Column[], rows: number): boolean {
  const years = data.map(({ text }) => (YEAR.test(text.trim()) ? Number(text) : Number.NaN));
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

/** Whether the first row counts, 1, 2, 3 or 0, 10, 20, and the rows below do not. */
function isCount(data: Column[], columns: Column[], rows: readonly Cell[][]): boolean {
  const corner = hasCorner(columns, rows.length);
  if (data.length < (corner ? 2 : 3) || !isLabelled(columns, rows.length)) return false;
  if (!stepsEvenly(data.map(({ text }) => text))) return false;
  if (data.length === 2 && !/^[01]$/.test(data[0]?.text ?? "")) return false;
  const alike = rows.filter((row) => stepsEvenly(data.map(({ index }) => row[index]?.text ?? "")));
  const fromStart = /^[01]$/.test(data[0]?.text ?? "") && Number(data[1]?.text) - Number(data[0]?.text) === 1;
  return data.length === 2 || alike.length <= rows.length * (fromStart ? 0.5 : 1 - NEARLY_ALL);
}

/** Whether the cell is a usual name of a column, and the cells below are not. */
function isColumnWord({ text, kind, repeats, wordBelow }: Column): boolean {
  return kind === "text" && !repeats && !wordBelow && namesColumn(text);
}

function namesColumn(text: string): boolean {
  const word = text.trim().toLowerCase();
  if (word.length > 60) return false;
  return (
    word.split(/[ _-]/).every((part) => COLUMN_WORDS.has(part)) || /^[a-z]\w*_(?:id|name|code|no|type|key)$/.test(word)
  );
}

/** Whether texts are a year, or numbers in even steps: 2019, 2020; 1, 2, 3; 01, 02; 0, 10, 20; 202012, 202101. */
function isRun(texts: string[]): boolean {
  return texts.length === 1 ? YEAR.test(texts[0]?.trim() ?? "") : stepOf(texts) !== undefined;
}

function stepOf(texts: string[]): number | undefined {
  if (!texts.every((text) => /^\d{1,9}$/.test(text.trim()))) return undefined;
  const all = (pattern: RegExp): boolean => texts.every((text) => pattern.test(text.trim()));
  const areMonths = all(YEAR_AND_MONTH);
  const places = texts.map(Number).map((at) => (areMonths ? Math.floor(at / 100) * 12 + (at % 100) : at));
  const steps = places.slice(1).map((place, index) => place - (places[index] ?? 0));
  const [step = 0] = steps;
  const isNear = Math.abs(step) === 1 || (all(YEAR) && Math.abs(step) <= 10) || steps.length > 1;
  return isConstant(steps) && isNear ? step : undefined;
}

/** Whether texts are years, and no row below goes in the same step. */
function areApart(texts: string[], data: Column[], rows: readonly Cell[][]): boolean {
  const below = rows.map((row) => stepOf(data.map(({ index }) => row[index]?.text ?? "")));
  return texts.every((text) => YEAR.test(text.trim())) && texts.length > 1 && !below.includes(stepOf(texts));
}

/** Whether the first row has Q1, Q2 or FY2020, FY2021 beside another word, and no row below goes in the same step. */
function isTextRun(columns: Column[], rows: readonly Cell[][]): boolean {
  const parts = columns.filter(({ kind, text }) => kind === "text" && NUMBERED.test(text.trim()));
  const others = columns.filter((column) => !parts.includes(column));
  if (parts.length < 2 || others.length === 0 || rows.length === 0) return false;
  if (parts.some(({ repeats }) => repeats)) return false;
  if (others.some(({ kind, repeats }, index) => repeats || (kind === "none" && index > 0))) return false;
  const stepIn = (texts: string[]): number | undefined => {
    const found = texts.map((text) => NUMBERED.exec(text.trim()) ?? []);
    const isAlike = found.every(([, word]) => word !== undefined && word === found[0]?.[1]);
    return isAlike ? stepOf(found.map(([, , digits = ""]) => digits)) : undefined;
  };
  const step = stepIn(parts.map(({ text }) => text));
  return step !== undefined && !rows.some((row) => stepIn(parts.map(({ index }) => row[index]?.text ?? "")) === step);
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
