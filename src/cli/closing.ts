import type { Engine } from "../engine/engine.ts";
import type { Log } from "../engine/settings.ts";

/** A close that hangs must not keep the process alive. */
const CLOSE_MS = 5_000;

/**
 * An exit waits for native threads, and one that runs a statement which does not stop, or that waits for rows from this
 * thread, would never come. Everything acknowledged is on disk already.
 */
export function endWithProcess(engine: Engine, log: Log): void {
  // Node itself would tell of it only after the listeners of "exit". What is thrown here would keep those from being called.
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
