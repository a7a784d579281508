import { randomUUID } from "node:crypto";
import { LakeError } from "../kernel/errors.ts";
import { type Action, action, ENGINE_WORDS, inWords, type NextStep, next } from "../kernel/next-step.ts";
import type { Clock, Log } from "../settings.ts";
import type { JobError, JobKind, JobRecord } from "./types.ts";

const ACTION: Record<JobKind, Action> = { ingest: "ingest", "vector-index-create": "createIndex" };

const AGAIN: Record<JobKind, NextStep> = {
  ingest: next`Call ${action("ingest")} again with the same arguments: what was committed already is found, and nothing is loaded twice.`,
  "vector-index-create": next`It goes on by itself when a server is started on this lake; calling ${action("createIndex")} with the same arguments goes on at once.`,
};

/** How a job ended, for its record. */
export type Outcome = Pick<JobRecord, "state" | "result" | "error"> & { progress?: JobRecord["progress"] };

/** The error of a job whose server ended before it did. */
export function interruption(kind: JobKind, message: string): JobError {
  return { kind: "unavailable", message, ...recordedHint(AGAIN[kind]) };
}

export function cancellation(): LakeError {
  return new LakeError("unavailable", "The job was cancelled.", { code: "cancelled" });
}

/** `thrown` as a record has it. Details of an unexpected error go to the log only. */
export function jobError(kind: JobKind, thrown: unknown, log: Log): JobError {
  if (thrown instanceof LakeError && thrown.kind !== "internal") {
    const hint = thrown.hint ?? next`Call ${action(ACTION[kind])} again to start over.`;
    return { kind: thrown.kind, message: thrown.message, ...recordedHint(hint) };
  }
  const reference = randomUUID().slice(0, 8);
  const cause = thrown instanceof LakeError ? (thrown.cause ?? thrown) : thrown;
  log("error", "internal error", { reference, error: cause instanceof Error ? cause.stack : String(cause) });
  return {
    kind: "internal",
    message: `Something went wrong inside the lakehouse (reference ${reference}).`,
    hint: "Tell the user the reference; the details are in the server's log.",
  };
}

/** `record` with the outcome of a job that ends now. */
export function ended(record: JobRecord, clock: Clock, outcome: Outcome): JobRecord {
  const now = clock.now().toISOString();
  return { ...record, ...outcome, updated: now, finished: now } as JobRecord;
}

/** A hint as a record has it: older servers read `hint` alone. */
export function recordedHint(step: NextStep): Pick<JobError, "hint" | "next"> {
  return { hint: inWords(step, ENGINE_WORDS), ...(typeof step !== "string" && { next: step }) };
}
