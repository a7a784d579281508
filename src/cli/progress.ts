import { visible } from "../engine/kernel/visible.ts";
import type { CommandContext } from "./command.ts";

export interface Progress {
  /** `fraction` is 0 to 1. */
  update(fraction: number, message: string): void;
  /** Erases the bar. */
  end(): Promise<void>;
}

const BAR_MS = 100;
/** Where nothing can be drawn over, only long work is reported, a line now and then. */
const LINE_MS = 10_000;

/** A bar on a terminal, lines elsewhere; both on stderr. */
export async function openProgress(label: string, { err }: Pick<CommandContext, "err">): Promise<Progress> {
  const draw = err.isTTY ? await openBar() : undefined;
  let last = draw ? Number.NEGATIVE_INFINITY : performance.now();
  let drawn = false;
  return {
    update: (fraction, message) => {
      const now = performance.now();
      if (now - last < (draw ? BAR_MS : LINE_MS)) return;
      last = now;
      drawn = draw !== undefined;
      const text = `${visible(label)}: ${message}`;
      void err.write(draw ? `\r${draw(fraction, text, err.columns)}\u001b[K` : `${text}, ${percentOf(fraction)} %\n`);
    },
    end: async () => {
      if (drawn) await err.write("\r\u001b[K");
    },
  };
}

const BAR_WIDTH = 24;

async function openBar(): Promise<(fraction: number, text: string, columns: number) => string> {
  const { shorten } = await import("./table.ts");
  return (fraction, text, columns) => {
    // One column is left free: a full line would wrap.
    const room = columns - 1;
    const percent = ` ${percentOf(fraction).padStart(3)} %`;
    const width = Math.max(0, Math.min(BAR_WIDTH, room - percent.length));
    const full = Math.round(fraction * width);
    return shorten(`${"█".repeat(full)}${"░".repeat(width - full)}${percent}  ${text}`, room);
  };
}

const percentOf = (fraction: number): string => `${Math.floor(fraction * 100)}`;
