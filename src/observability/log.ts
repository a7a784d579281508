import type { Log } from "../engine/settings.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "off"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** A line waits this long for others: a write to a pipe blocks, and costs as much as all else of a small call's log. */
const GATHER_MS = 10;
const MAX_GATHERED = 200;

/** JSON lines on stderr: stdout belongs to the protocol. */
export function openLog(level: LogLevel): Log {
  const least = LOG_LEVELS.indexOf(level);
  // Whoever read the log may have gone. Unheard, the error would end the process in the middle of its statements.
  process.stderr.on("error", () => {});
  const gathered: string[] = [];
  let since = 0;
  const write = (): void => {
    if (gathered.length > 0) process.stderr.write(gathered.splice(0).join(""));
  };
  process.on("exit", write);
  return (at, message, fields = {}) => {
    if (LOG_LEVELS.indexOf(at) < least) return;
    gathered.push(`${JSON.stringify({ time: new Date().toISOString(), level: at, message, ...fields })}\n`);
    if (gathered.length === 1) since = performance.now();
    // What may be the last that a process says is said at once, after what came before it.
    const isUrgent = at === "warn" || at === "error" || gathered.length >= MAX_GATHERED;
    if (isUrgent || performance.now() - since > GATHER_MS) write();
    else if (gathered.length === 1) setTimeout(write, GATHER_MS);
  };
}
