import stringWidth from "string-width";
import { visible } from "../engine/kernel/visible.ts";
import { cellText, type Json } from "./text.ts";

export interface TableColumn {
  name: string;
  /** DuckDB's name of the type; numbers are right-aligned. */
  type: string;
}

export interface Table {
  text: string;
  /** Number of columns that did not fit. */
  hidden: number;
  /** Whether any cell was cut. */
  cut: boolean;
}

const GAP = "  ";
/** Columns are left out before any becomes narrower than this. */
const LEAST = 8;
/** Longer cells are cut even in files and pipes, because measuring text is slow. In UTF-16 units. */
const MOST = 1_000;
const NUMBER = /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*|BIGNUM)$/;

/**
 * A table with lines of at most `width` columns: wide cells are cut first; when all are narrow, columns at the end are
 * left out. Control characters of the data are escaped.
 */
export function renderTable(columns: readonly TableColumn[], rows: readonly Json[][], width = Infinity): Table {
  if (columns.length === 0) return { text: "", hidden: 0, cut: false };
  let clipped = false;
  const clip = (text: string): string => {
    if (text.length <= MOST) return text;
    clipped = true;
    return `${text.slice(0, MOST).replace(/[\ud800-\udbff]$/, "")}…`;
  };
  const cells = [
    columns.map(({ name }) => clip(visible(name))),
    ...rows.map((row) => columns.map((_, at) => clip(cellText(row[at])))),
  ];
  const wanted = columns.map((_, at) => cells.reduce((most, row) => Math.max(most, widthOf(row[at] ?? "")), 1));
  const widths = widthsIn(wanted, width);
  const right = columns.map(({ type }) => NUMBER.test(type));
  const line = (row: readonly string[]): string =>
    widths
      .map((room, at) => pad(shorten(row[at] ?? "", room), room, right[at] === true))
      .join(GAP)
      .trimEnd();
  const [header = [], ...body] = cells;
  const rule = widths.map((room) => "─".repeat(room)).join(GAP);
  return {
    text: `${[line(header), rule, ...body.map(line)].join("\n")}\n`,
    hidden: columns.length - widths.length,
    cut: clipped || widths.some((room, at) => room < (wanted[at] ?? 0)),
  };
}

/** Widths of the columns that fit. */
function widthsIn(wanted: readonly number[], width: number): number[] {
  const widths = [...wanted];
  const capped = (cap: number): number[] => widths.map((room) => Math.min(room, cap));
  while (widths.length > 1 && total(capped(LEAST)) > width) widths.pop();
  // Wide columns shrink to one common width; the others keep theirs.
  let cap = Math.max(...widths);
  while (cap > 1 && total(capped(cap)) > width) cap -= 1;
  return capped(cap);
}

function total(widths: readonly number[]): number {
  return widths.reduce((sum, room) => sum + room, 0) + GAP.length * (widths.length - 1);
}

function widthOf(text: string): number {
  // The common case, and much faster.
  return /^[\x20-\x7e]*$/.test(text) ? text.length : stringWidth(text);
}

function pad(text: string, room: number, right: boolean): string {
  const fill = " ".repeat(Math.max(0, room - widthOf(text)));
  return right ? fill + text : text + fill;
}

const graphemes = new Intl.Segmenter();

/** `text`, cut with `…` to at most `room` columns. */
export function shorten(text: string, room: number): string {
  if (widthOf(text) <= room) return text;
  let kept = "";
  let taken = 1;
  for (const { segment } of graphemes.segment(text)) {
    taken += widthOf(segment);
    if (taken > room) break;
    kept += segment;
  }
  return `${kept}…`;
}
