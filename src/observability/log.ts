import type { Log } from "../engine/settings.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "off"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Lines are gathered this long: a write to a pipe blocks, and costs as much as the rest of logging a small call. */
const GATHER_MS = 10;
const MAX_GATHERED = 200;

/** JSON lines on stderr: stdout belongs to the protocol. */
export function openLog(level: LogLevel): Log {
  const least = LOG_LEVELS.indexOf(level);
  // The reader of the log may be gone. Without a listener the error would end the process in the middle of its work.
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
    // A warning or an error may be the last line of the process: it is written at once, after the lines before it.
    const isUrgent = at === "warn" || at === "error" || gathered.length >= MAX_GATHERED;
    if (isUrgent || performance.now() - since > GATHER_MS) write();
    else if (gathered.length === 1) setTimeout(write, GATHER_MS);
  };
}
