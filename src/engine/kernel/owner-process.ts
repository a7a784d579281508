import { randomUUID } from "node:crypto";
import { hasCode } from "./errors.ts";

/** Tells this process from an earlier one with its number, as in a container that starts again. */
export const PROCESS = randomUUID();

/** Whether a process of this machine, known by its number and its `PROCESS`, has ended. */
export function isGone(owner: { pid: number; process: string }): boolean {
  return owner.pid === process.pid ? owner.process !== PROCESS : !isRunning(owner.pid);
}

/** Whether this machine has a process of that number. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // One of another user may not be signalled, but runs.
    return !hasCode(error, "ESRCH");
  }
}
