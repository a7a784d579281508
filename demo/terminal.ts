import type { WriteStream } from "node:tty";

const MIN_WIDTH = 64;
const MAX_WIDTH = 100;
const BAR_WIDTH = 32;

export interface Terminal {
  line(text?: string): void;
  /** A finished call: its name, what it did, how long it took at the right edge, and indented details. */
  step(outcome: "done" | "refused", name: string, summary: string, ms: number, details?: string[]): void;
  /** A bar that the next output replaces; shown only where the screen can be rewritten. */
  progress(name: string, fraction: number, message: string): void;
  code(text: string): void;
  table(header: string[], rows: string[][]): void;
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
}

/** Colour and live redrawing where `stream` is a terminal that wants them (`NO_COLOR` is obeyed), plain lines elsewhere. */
export function openTerminal(stream: NodeJS.WriteStream): Terminal {
  const tty: WriteStream | undefined = stream.isTTY ? stream : undefined;
  const colours = tty?.hasColors() ?? false;
  const paint = (code: number) => (text: string) => (colours ? `\u001b[${code}m${text}\u001b[0m` : text);
  const [bold, dim, red, green, yellow, cyan] = [paint(1), paint(2), paint(31), paint(32), paint(33), paint(36)];
  // A pseudo-terminal may say that it has no columns.
  const width = Math.min(Math.max(tty?.columns || MAX_WIDTH, MIN_WIDTH), MAX_WIDTH);
  let barShown = false;

  const write = (text: string): void => {
    if (barShown) stream.write("\r\u001b[2K");
    barShown = false;
    stream.write(text);
  };
  const line = (text = ""): void => write(`${text}\n`);

  return {
    line,
    bold,
    dim,
    red,
    step(outcome, name, summary, ms, details = []) {
      const mark = outcome === "done" ? green("✓") : yellow("⊘");
      const room = width - 2 - NAME_WIDTH - TIME_WIDTH;
      line(`${mark} ${bold(name.padEnd(NAME_WIDTH))}${cut(summary, room)}${cyan(time(ms).padStart(TIME_WIDTH))}`);
      for (const detail of details) {
        for (const part of wrap(detail, width - 2 - NAME_WIDTH)) line(`${" ".repeat(2 + NAME_WIDTH)}${dim(part)}`);
      }
    },
    progress(name, fraction, message) {
      if (!tty) return;
      const full = Math.round(Math.min(Math.max(fraction, 0), 1) * BAR_WIDTH);
      const bar = `${green("█".repeat(full))}${dim("░".repeat(BAR_WIDTH - full))}`;
      const percent = `${Math.floor(fraction * 100)} %`.padStart(6);
      const rest = width - 2 - NAME_WIDTH - BAR_WIDTH - 8;
      write(`  ${bold(name.padEnd(NAME_WIDTH))}${bar}${percent}  ${dim(cut(message, rest).trimEnd())}`);
      barShown = true;
    },
    code(text) {
      for (const part of text.split("\n")) line(`  ${dim(part)}`);
    },
    table(header, rows) {
      const numeric = header.map((_, at) => rows.every((row) => /^-?[\d,.]+$/.test(row[at] ?? "")));
      const widths = header.map((name, at) => Math.max(length(name), ...rows.map((row) => length(row[at] ?? ""))));
      const cells = (row: string[]): string =>
        row.map((cell, at) => pad(cell, widths[at] ?? 0, numeric[at] === true)).join("  ");
      line(`  ${bold(cells(header).trimEnd())}`);
      line(`  ${dim(widths.map((size) => "─".repeat(size)).join("  "))}`);
      for (const row of rows) line(`  ${cells(row).trimEnd()}`);
    },
  };
}

const NAME_WIDTH = 21;
const TIME_WIDTH = 10;

export function time(ms: number): string {
  return ms < 999.5 ? `${ms.toFixed(ms < 9.95 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** `bytes` in decimal megabytes, or kilobytes below one. */
export function size(bytes: number): string {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

const length = (text: string): number => [...text].length;

function pad(text: string, width: number, right: boolean): string {
  const space = " ".repeat(Math.max(0, width - length(text)));
  return right ? space + text : text + space;
}

function cut(text: string, width: number): string {
  return length(text) > width ? `${[...text].slice(0, Math.max(0, width - 1)).join("")}…` : pad(text, width, false);
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && length(last) + 1 + length(word) <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
