import type { Readable } from "node:stream";
import * as z from "zod";
import type { Config } from "../config/config.ts";
import type { Engine } from "../engine/engine.ts";
import type { Log } from "../engine/settings.ts";

/**
 * Flags by name, as in `schema_change`, written `--schema-change`; all settings are flags of every command besides. The
 * schema is the type: a boolean is a switch, an array can be repeated. `.describe()` is the help; `.meta()` may give one
 * letter (`short`) and what the value is called in the help (`value`).
 */
export type Flags = Readonly<Record<string, z.ZodType>>;

/** What a command may use. It writes nothing but through `out` and `err`, and never ends the process itself. */
export interface CommandContext {
  config: Config;
  cwd: string;
  /** Opened at the first call, closed when the command is done. */
  engine(): Promise<Engine>;
  stdin: Readable & { isTTY?: boolean };
  /** What was asked for. */
  out: Output;
  /** Everything else that a person should know: progress, notes, errors. */
  err: Output;
  /** Aborted by Ctrl-C, SIGTERM, and when nobody reads `out` any more. */
  signal: AbortSignal;
  log: Log;
}

export interface Output {
  /** Resolves when there is room for more. */
  write(text: string): Promise<void>;
  isTTY: boolean;
  /** Width of the terminal; 80 when it is none. */
  columns: number;
}

/** What the help shows of a command. */
export interface CommandHelp {
  name: string;
  /** One line. */
  summary: string;
  /** What follows the name, a line a way to call it. */
  usage: readonly string[];
  /** More to know, below the flags. */
  notes?: string;
  flags: Flags;
}

export interface Command extends CommandHelp {
  /** How many arguments it takes besides flags. */
  args: { least: number; most: number };
  /** It is of no use where no lakehouse is, and must not make one there. */
  needsLake?: boolean;
  /** It needs a worker process, which is launched while the command is still being loaded. */
  usesWorker?: boolean;
  /** Returns the exit code. A thrown `LakeError` is shown, and becomes the code of its kind: see `exit.ts`. */
  run(given: { flags: Record<string, unknown>; args: string[] }, context: CommandContext): Promise<number>;
}

/** A command with its flags typed for `run`. */
export function defineCommand<Shape extends Flags>(
  command: CommandHelp & {
    args?: { least: number; most: number };
    needsLake?: boolean;
    usesWorker?: boolean;
    flags: Shape;
    run(
      given: { flags: { [Name in keyof Shape]: z.output<Shape[Name]> }; args: string[] },
      context: CommandContext,
    ): Promise<number>;
  },
): Command {
  return { args: { least: 0, most: 0 }, ...command } as Command;
}

/** A flag that is a whole number. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER) {
  return z.coerce.number().pipe(z.int().min(least).max(most));
}
