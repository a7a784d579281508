import type { Readable } from "node:stream";
import * as z from "zod";
import type { Config } from "../config/config.ts";
import type { Engine } from "../engine/engine.ts";
import type { Log } from "../engine/settings.ts";

/**
 * Flags by name: `schema_change` is written `--schema-change`. Besides these, every setting is a flag of every command.
 * The schema is the type: a boolean is a switch, an array a flag that can be repeated. `.describe()` is the help text;
 * `.meta()` may set a one-letter form (`short`) and the placeholder of the value (`value`).
 */
export type Flags = Readonly<Record<string, z.ZodType>>;

/** A command writes through `out` and `err` only, and never ends the process itself. */
export interface CommandContext {
  config: Config;
  cwd: string;
  /** Opened at the first call, closed when the command is done. */
  engine(): Promise<Engine>;
  stdin: Readable & { isTTY?: boolean };
  /** The result. */
  out: Output;
  /** Progress, notes, errors. */
  err: Output;
  /** Aborted by Ctrl-C, SIGTERM, and when nobody reads `out` any more. */
  signal: AbortSignal;
  log: Log;
}

export interface Output {
  /** Resolves when there is room for more. */
  write(text: string): Promise<void>;
  isTTY: boolean;
  /** Width of the terminal; 80 for a file or pipe. */
  columns: number;
}

/** The part of a command that its help shows. */
export interface CommandHelp {
  name: string;
  /** One line. */
  summary: string;
  /** What follows the name: one entry for each way to call it. */
  usage: readonly string[];
  /** Shown below the flags. */
  notes?: string;
  flags: Flags;
}

export interface Command extends CommandHelp {
  /** Number of arguments, flags not counted. */
  args: { least: number; most: number };
  /** It only reads: without a lakehouse it fails, rather than making one. */
  needsLake?: boolean;
  /** It needs a worker process, which is launched while the command is still being loaded. */
  usesWorker?: boolean;
  /** Returns the exit code. A thrown `LakeError` is shown, and becomes the code of its kind: see `exit.ts`. */
  run(given: { flags: Record<string, unknown>; args: string[] }, context: CommandContext): Promise<number>;
}

/** Types `run` by the schemas of the flags. */
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

/** The schema of a flag that takes a whole number. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER) {
  return z.coerce.number().pipe(z.int().min(least).max(most));
}
