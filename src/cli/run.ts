import type { Config } from "../config/config.ts";
import type { Engine } from "../engine/engine.ts";
import { hasCode, LakeError } from "../engine/kernel/errors.ts";
import { inWords } from "../engine/kernel/next-step.ts";
import { visibleLines } from "../engine/kernel/visible.ts";
import type { Log } from "../engine/settings.ts";
import { closeEngine, endWithProcess } from "./closing.ts";
import type { Command, CommandContext, Output } from "./command.ts";
import { EXIT_CODES, EXIT_SIGNALS } from "./exit.ts";
import { readFlags, seeHelp } from "./flags.ts";
import { COMMAND_WORDS } from "./words.ts";

export interface Start {
  config: Config;
  cwd: string;
  log: Log;
  openEngine(): Promise<Engine>;
}

/**
 * Runs a command and ends the process with its exit code. Ctrl-C and SIGTERM cancel it; what it has begun is undone
 * before the process ends. A closed pipe, as by `head`, ends it as well, with success.
 */
export async function runCommand(
  command: Command,
  given: { flags: Record<string, unknown>; args: string[] },
  { config, cwd, log, openEngine }: Start,
): Promise<never> {
  const stop = new AbortController();
  let stoppedWith: number | undefined;
  const stopWith = (code: number, reason: LakeError): void => {
    stoppedWith ??= code;
    stop.abort(reason);
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    // Not `once`: a terminal and npx both forward a Ctrl-C, and without a listener the second would kill the process.
    process.on(signal, () => stopWith(EXIT_SIGNALS[signal], new LakeError("unavailable", "Cancelled.")));
  }
  const gone = (error: Error): void => {
    if (hasCode(error, "EPIPE", "ERR_STREAM_DESTROYED")) {
      stopWith(0, new LakeError("unavailable", "Nobody reads the output any more."));
      return;
    }
    const { code = "" } = error as NodeJS.ErrnoException;
    const failed = new LakeError("unavailable", `the output cannot be written: ${code}.`);
    void context.err.write(errorText(failed));
    stopWith(EXIT_CODES.unavailable, failed);
  };
  let opening: Promise<Engine> | undefined;
  const context: CommandContext = {
    config,
    cwd,
    engine: () => {
      opening ??= openEngine().then((engine) => {
        endWithProcess(engine, log);
        return engine;
      });
      return opening;
    },
    stdin: process.stdin,
    out: outputTo(process.stdout, gone),
    err: outputTo(process.stderr, () => undefined),
    signal: stop.signal,
    log,
  };
  const code = await run(command, given, context, () => stoppedWith);
  const engine = await opening?.catch(() => undefined);
  if (engine) await closeEngine(engine, log);
  process.exit(code);
}

/** Shows `error` on stderr and returns its exit code. The details of an unexpected error go to the log. */
export async function showError(
  error: unknown,
  { err, log }: Pick<CommandContext, "err" | "log">,
  about?: string,
): Promise<number> {
  const shown = error instanceof LakeError ? error : new LakeError("internal", "Something went wrong.");
  if (shown.kind === "internal") {
    const cause = error instanceof LakeError ? (error.cause ?? error) : error;
    log("error", "internal error", { error: cause instanceof Error ? cause.stack : String(cause) });
  }
  await err.write(errorText(shown, about));
  return EXIT_CODES[shown.kind];
}

/** An error as a person reads it: what is wrong, with `about`, and on a line of its own what to do. */
export function errorText({ message, hint }: Pick<LakeError, "message" | "hint">, about?: string): string {
  const which = about === undefined || message.includes(about) ? "" : `${about}: `;
  const step = hint === undefined ? "" : `${inWords(hint, COMMAND_WORDS)}\n`;
  // Messages quote data and file names.
  return visibleLines(`lakehouse-mcp: ${which}${message}\n${step}`);
}

async function run(
  command: Command,
  { flags, args }: { flags: Record<string, unknown>; args: string[] },
  context: CommandContext,
  stoppedWith: () => number | undefined,
): Promise<number> {
  try {
    assertArgs(command, args);
    const code = await command.run({ flags: readFlags(command.flags, flags, command.name), args }, context);
    return stoppedWith() ?? code;
  } catch (error) {
    const stopped = stoppedWith();
    if (stopped === undefined) return showError(error, context);
    if (stopped > 128) await context.err.write("lakehouse-mcp: cancelled.\n");
    return stopped;
  }
}

function assertArgs({ name, args: { least, most } }: Command, args: string[]): void {
  if (args.length > most) {
    throw new LakeError("invalid", `${name}: unexpected argument ${JSON.stringify(args[most])}.`, {
      hint: seeHelp(name),
    });
  }
  if (args.length < least) throw new LakeError("invalid", `${name}: an argument is missing.`, { hint: seeHelp(name) });
}

function outputTo(stream: NodeJS.WriteStream, onError: (error: Error) => void): Output {
  let gone = false;
  stream.on("error", (error) => {
    if (!gone) onError(error);
    gone = true;
  });
  return {
    // The callback is called after a failed write, too; the error itself arrives as an event.
    write: (text) => new Promise((resolve) => (gone ? resolve() : stream.write(text, () => resolve()))),
    isTTY: stream.isTTY === true,
    // A terminal of unknown size has 0 columns.
    columns: stream.columns || 80,
  };
}
