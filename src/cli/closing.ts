import type { Engine } from "../engine/engine.ts";
import type { Log } from "../engine/settings.ts";

/** A close that hangs must not keep the process alive. */
const CLOSE_MS = 5_000;

/**
 * Kills the process at its exit while statements of DuckDB run: Node would join their threads, of which one may run a
 * statement that does not stop, or wait for rows from this thread. Everything acknowledged is on disk already.
 */
export function endWithProcess(engine: Engine, log: Log): void {
  // Node itself reports the error after the listeners of "exit", which is too late. Nothing may be thrown here.
  process.on("uncaughtExceptionMonitor", (error: unknown) => {
    if (engine.busy()) log("error", "internal error", { error: error instanceof Error ? error.stack : String(error) });
  });
  process.once("exit", () => {
    if (engine.busy()) end(log, "ended, with statements under way");
  });
}

export async function closeEngine(engine: Engine, log: Log): Promise<void> {
  const giveUp = setTimeout(() => end(log, "closing took too long"), CLOSE_MS);
  await engine.close();
  clearTimeout(giveUp);
}

function end(log: Log, message: string): void {
  log("warn", message);
  process.kill(process.pid, "SIGKILL");
}
