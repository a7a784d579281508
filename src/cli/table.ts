import stringWidth from "string-width";
import { visible } from "../engine/kernel/visible.ts";
import { cellText, type Json } from "./text.ts";

export interface TableColumn {
  name: string;
  /** DuckDB's name of it: numbers go to the right. */
  type: string;
}

export interface Table {
  text: string;
  /** Columns that found no room. */
  hidden: number;
  /** Cells were cut. */
  cut: boolean;
}

const GAP = "  ";
/** A column is not made narrower than this for the others' sake. */
const LEAST = 8;
/** A longer cell is cut on no terminal, too: measuring text is slow, and nobody reads lines like that. */
const MOST = 1_000;
const NUMBER = /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*|BIGNUM)$/;

/**
 * Columns side by side, in a line of at most `width`: wide ones are cut first, and when all are narrow, columns at the
 * end are left out. Nothing in the data reaches the terminal but as text.
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

/** The widths of the columns that are shown. */
function widthsIn(wanted: readonly number[], width: number): number[] {
  const widths = [...wanted];
  const capped = (cap: number): number[] => widths.map((room) => Math.min(room, cap));
  while (widths.length > 1 && total(capped(LEAST)) > width) widths.pop();
  // Down to one width that all wide columns share; the others keep theirs.
  let cap = Math.max(...widths);
  while (cap > 1 && total(capped(cap)) > width) cap -= 1;
  return capped(cap);
}

function total(widths: readonly number[]): number {
  return widths.reduce((sum, room) => sum + room, 0) + GAP.length * (widths.length - 1);
}

function widthOf(text: string): number {
  // Most text, and much faster.
  return /^[\x20-\x7e]*$/.test(text) ? text.length : stringWidth(text);
}

function pad(text: string, room: number, right: boolean): string {
  const fill = " ".repeat(Math.max(0, room - widthOf(text)));
  return right ? fill + text : text + fill;
}

const graphemes = new Intl.Segmenter();

/** The start of a text, at most `room` columns wide. */
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
