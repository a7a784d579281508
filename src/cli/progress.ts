import type { CommandContext } from "./command.ts";
import { shorten } from "./table.ts";
import { visible } from "./text.ts";

export interface Progress {
  /** `fraction` is 0 to 1. */
  update(fraction: number, message: string): void;
  /** Takes the bar away. */
  end(): Promise<void>;
}

const BAR_MS = 100;
/** Where nothing can be drawn over, only long work is told about, a line now and then. */
const LINE_MS = 10_000;

/** A bar on a terminal, lines elsewhere; both on stderr. */
export function openProgress(label: string, { err }: Pick<CommandContext, "err">): Progress {
  let last = err.isTTY ? Number.NEGATIVE_INFINITY : performance.now();
  let drawn = false;
  return {
    update: (fraction, message) => {
      const now = performance.now();
      if (now - last < (err.isTTY ? BAR_MS : LINE_MS)) return;
      last = now;
      drawn = err.isTTY;
      const percent = `${Math.floor(fraction * 100)} %`;
      const text = err.isTTY
        ? `\r${bar(fraction, `${visible(label)}: ${message}`, err.columns)}\u001b[K`
        : `${visible(label)}: ${message}, ${percent}\n`;
      void err.write(text);
    },
    end: async () => {
      if (drawn) await err.write("\r\u001b[K");
    },
  };
}

const BAR_WIDTH = 24;

function bar(fraction: number, text: string, columns: number): string {
  // One column is left free: a full line would wrap.
  const room = columns - 1;
  const percent = ` ${`${Math.floor(fraction * 100)}`.padStart(3)} %`;
  const width = Math.max(0, Math.min(BAR_WIDTH, room - percent.length));
  const full = Math.round(fraction * width);
  return shorten(`${"█".repeat(full)}${"░".repeat(width - full)}${percent}  ${text}`, room);
}
