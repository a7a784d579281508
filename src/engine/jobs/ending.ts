import { randomUUID } from "node:crypto";
import { LakeError } from "../kernel/errors.ts";
import { type Action, action, ENGINE_WORDS, inWords, type NextStep, next } from "../kernel/next-step.ts";
import type { Log } from "../settings.ts";
import type { JobError, JobKind, JobRecord } from "./types.ts";

const ACTION: Record<JobKind, Action> = { ingest: "ingest", "vector-index-create": "createIndex" };

const AGAIN: Record<JobKind, NextStep> = {
  ingest: next`Call ${action("ingest")} again with the same arguments: what was committed already is found, and nothing is loaded twice.`,
  "vector-index-create": next`It goes on by itself when a server is started on this lake; calling ${action("createIndex")} with the same arguments goes on at once.`,
};

/** For a job whose server ended before it did. */
export function interruption(kind: JobKind, why: string): JobError {
  return { kind: "unavailable", message: why, ...recorded(AGAIN[kind]) };
}

export function cancellation(): LakeError {
  return new LakeError("unavailable", "The job was cancelled.");
}

/** What a record says of `thrown`; details of what is unexpected go to the log. */
export function jobError(kind: JobKind, thrown: unknown, log: Log): JobError {
  if (thrown instanceof LakeError && thrown.kind !== "internal") {
    const step = thrown.hint ?? next`Call ${action(ACTION[kind])} again to start over.`;
    return { kind: thrown.kind, message: thrown.message, ...recorded(step) };
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

/** A step as records have it: servers of before read `hint` alone. */
export function recorded(step: NextStep): Pick<JobError, "hint" | "next"> {
  return { hint: inWords(step, ENGINE_WORDS), ...(typeof step !== "string" && { next: step }) };
}

/** `record` as it is when it has ended at `now` (ISO 8601). */
export function ended(
  record: JobRecord,
  now: string,
  outcome: Pick<JobRecord, "state" | "result" | "error"> & { progress?: JobRecord["progress"] },
): JobRecord {
  return { ...record, ...outcome, updated: now, finished: now } as JobRecord;
}
