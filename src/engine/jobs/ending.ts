import { randomUUID } from "node:crypto";
import { LakeError } from "../kernel/errors.ts";
import type { Log } from "../settings.ts";
import type { JobError, JobKind, JobRecord } from "./types.ts";

const AGAIN: Record<JobKind, string> = {
  ingest:
    "Call ingest again with the same arguments: what was committed already is found, and nothing is loaded twice.",
  "vector-index-create":
    "It goes on by itself when a server is started on this lake; calling vector-index-create with the same arguments goes on at once.",
};

/** For a job whose server ended before it did. */
export function interruption(kind: JobKind, why: string): JobError {
  return { kind: "unavailable", message: why, hint: AGAIN[kind] };
}

export function cancellation(): LakeError {
  return new LakeError("unavailable", "The job was cancelled.");
}

/** What a record says of `thrown`; details of what is unexpected go to the log. */
export function jobError(kind: JobKind, thrown: unknown, log: Log): JobError {
  if (thrown instanceof LakeError && thrown.kind !== "internal") {
    return { kind: thrown.kind, message: thrown.message, hint: thrown.hint ?? `Call ${kind} again to start over.` };
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

/** `record` as it is when it has ended at `now` (ISO 8601). */
export function ended(
  record: JobRecord,
  now: string,
  outcome: Pick<JobRecord, "state" | "result" | "error"> & { progress?: JobRecord["progress"] },
): JobRecord {
  return { ...record, ...outcome, updated: now, finished: now } as JobRecord;
}
