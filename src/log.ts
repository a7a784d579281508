import type { Log } from "./engine/settings.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "off"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** JSON lines on stderr: stdout belongs to the protocol. */
export function openLog(level: LogLevel): Log {
  const least = LOG_LEVELS.indexOf(level);
  // Whoever read the log may have gone. Unheard, the error would end the process in the middle of its statements.
  process.stderr.on("error", () => {});
  return (at, message, fields = {}) => {
    if (LOG_LEVELS.indexOf(at) < least) return;
    process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), level: at, message, ...fields })}\n`);
  };
}
