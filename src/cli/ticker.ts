import type { CommandContext } from "./command.ts";

export interface Ticker {
  update(text: string): void;
  /** Erases the line. */
  end(): Promise<void>;
}

const TICK_MS = 100;

/** One line on a terminal that says how far work of unknown length has come. Elsewhere it writes nothing. */
export async function openTicker({ err }: Pick<CommandContext, "err">): Promise<Ticker> {
  if (!err.isTTY) return { update: () => undefined, end: async () => undefined };
  const { shorten } = await import("./table.ts");
  let last = Number.NEGATIVE_INFINITY;
  let drawn = false;
  return {
    update: (text) => {
      const now = performance.now();
      if (now - last < TICK_MS) return;
      last = now;
      drawn = true;
      void err.write(`\r${shorten(text, err.columns - 1)}\u001b[K`);
    },
    end: async () => {
      if (drawn) await err.write("\r\u001b[K");
    },
  };
}
