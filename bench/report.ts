/** One measured line. `other` is what it is compared with: the bare library, or the smaller size. */
export interface Figure {
  what: string;
  unit: "ms" | "µs" | "MB" | "kB" | "/s" | "";
  ours: number;
  other?: number;
  target?: Target;
}

/** What the figure should be, and whether it is. */
export interface Target {
  text: string;
  met: boolean;
}

export interface Report {
  title: string;
  /** Headings over `ours` and `other`. */
  headings: readonly [string, string];
  figures: Figure[];
}

export function atMost(value: number, limit: number, text: string): Target {
  return { text, met: value <= limit };
}

export function atLeast(value: number, limit: number, text: string): Target {
  return { text, met: value >= limit };
}

/** The report as aligned lines. */
export function render({ title, headings, figures }: Report): string {
  const header = ["", headings[0], headings[1], "ratio", "difference", "target", ""];
  const rows = figures.map(({ what, unit, ours, other, target }) => [
    what,
    figure(ours, unit),
    other === undefined ? "" : figure(other, unit),
    other === undefined || other <= 0 ? "" : `${(ours / other).toFixed(2)}×`,
    other === undefined ? "" : signed(ours - other, unit),
    target?.text ?? "",
    target === undefined ? "" : target.met ? "ok" : "MISSED",
  ]);
  const widths = header.map((name, at) => Math.max(...[header, ...rows].map((row) => (row[at] ?? name).length)));
  const line = (row: string[]): string =>
    row
      .map((cell, at) => (at === 0 || at >= 5 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join("  ")
      .trimEnd();
  return [title, line(header), ...rows.map(line)].join("\n");
}

function figure(value: number, unit: Figure["unit"]): string {
  const digits = unit === "ms" && Math.abs(value) < 100 ? 2 : unit === "ms" || unit === "/s" || unit === "" ? 0 : 1;
  return `${value.toFixed(digits)}${unit === "" ? "" : ` ${unit}`}`;
}

function signed(value: number, unit: Figure["unit"]): string {
  return `${value >= 0 ? "+" : ""}${figure(value, unit)}`;
}
