import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { isRunning } from "../kernel/owner-process.ts";
import type { Scope } from "../kernel/scope.ts";
import type { JobOwner } from "./types.ts";

/** Engines of this process that are open. */
const OPEN = new Set<string>();
/** A running job is recorded every minute, so that this much silence means that nobody runs it. */
export const SILENT_MS = 600_000;

/** Who runs the jobs of one engine, until its scope is closed. */
export function openOwner(scope: Scope): JobOwner {
  const owner = { host: hostname(), pid: process.pid, process: randomUUID() };
  OPEN.add(owner.process);
  scope.defer(() => void OPEN.delete(owner.process));
  return owner;
}

/** Whether nobody runs what `owner` ran; `updated` (ISO 8601) is when it was last heard of, `now` in ms. */
export function isGone(owner: JobOwner, updated: string, now: number): boolean {
  if (owner.host === hostname()) {
    if (owner.pid === process.pid) return !OPEN.has(owner.process);
    if (!isRunning(owner.pid)) return true;
  }
  // Another machine cannot be asked, and here the number may be another process's by now.
  return now - Date.parse(updated) > SILENT_MS;
}
