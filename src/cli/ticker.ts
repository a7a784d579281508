import type { CommandContext } from "./command.ts";
import { shorten } from "./table.ts";

export interface Ticker {
  update(text: string): void;
  /** Takes the line away. */
  end(): Promise<void>;
}

const TICK_MS = 100;

/** One line on a terminal that says how far work has come whose end nobody knows; nothing elsewhere. */
export function openTicker({ err }: Pick<CommandContext, "err">): Ticker {
  let last = Number.NEGATIVE_INFINITY;
  let drawn = false;
  return {
    update: (text) => {
      const now = performance.now();
      if (!err.isTTY || now - last < TICK_MS) return;
      last = now;
      drawn = true;
      void err.write(`\r${shorten(text, err.columns - 1)}\u001b[K`);
    },
    end: async () => {
      if (drawn) await err.write("\r\u001b[K");
    },
  };
}
