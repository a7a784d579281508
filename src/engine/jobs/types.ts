import type { CreateRequest, CreateResult } from "../index/types.ts";
import type { IngestRequest, IngestResult } from "../ingest/request.ts";
import type { ErrorKind } from "../kernel/error-codes.ts";
import type { NextStep } from "../kernel/next-step.ts";

/** What can be done as a job, with what it takes and gives. */
export interface JobWork {
  ingest: { request: IngestRequest; kept: KeptIngest; result: IngestResult };
  "vector-index-create": { request: CreateRequest; kept: CreateRequest; result: CreateResult };
}

export type JobKind = keyof JobWork;

export const JOB_KINDS = ["ingest", "vector-index-create"] as const satisfies readonly JobKind[];

/** An ingest as its record has it: inline text is not kept, so that only its length is told. */
export type KeptIngest = Omit<IngestRequest, "source"> & {
  source: { path: string } | { sql: string } | { upload: string } | { inline: { characters: number; kept: false } };
};

/**
 * `interrupted`: the server ended before the job did, which is no failure of the job. An index build then goes on by
 * itself when a server starts; an ingest has to be called again.
 */
export type JobState = "running" | "done" | "failed" | "cancelled" | "interrupted";

export const JOB_STATES = ["running", "done", "failed", "cancelled", "interrupted"] as const satisfies JobState[];

/** The engine that runs a job. */
export interface JobOwner {
  host: string;
  pid: number;
  /** Of this engine alone: a process may have the number of one that is gone. */
  process: string;
}

export interface JobError {
  kind: ErrorKind;
  message: string;
  hint: string | null;
  /** The hint with its references, where it has some; records of before have none. */
  next?: NextStep | undefined;
}

interface RecordOf<Kind extends JobKind> {
  format: 1;
  /** A UUID; those of later jobs sort later. */
  id: string;
  kind: Kind;
  request: JobWork[Kind]["kept"];
  owner: JobOwner;
  state: JobState;
  /** `fraction` is 0 to 1. */
  progress: { fraction: number; message: string };
  /** How often it was taken up again after a server had ended. */
  resumed: number;
  /** ISO 8601. `updated` of a running job is never older than a minute. */
  created: string;
  updated: string;
  finished: string | null;
  /** When it is done. */
  result?: JobWork[Kind]["result"] | undefined;
  /** When it ended in another way. */
  error?: JobError | undefined;
}

/** What `jobs/<id>.json` holds. */
export type JobRecord = { [Kind in JobKind]: RecordOf<Kind> }[JobKind];

export interface JobOptions {
  /** Folders that an ingest's `path` may also lie in. */
  roots?: string[] | undefined;
  /** Whose uploads an ingest may use. */
  caller?: string | undefined;
  /** Of the caller. It stops the work only as long as that has not become a job. */
  signal?: AbortSignal | undefined;
  onProgress?: ((fraction: number, message: string) => void) | undefined;
  /** Becomes a job at once. */
  background?: boolean | undefined;
}

/** The result, or the job that it will come from. */
export type Performed<Kind extends JobKind> = { result: JobWork[Kind]["result"] } | { jobId: string };

export interface StatusOptions {
  /** Longest to wait for the state to change; 0, the default, for not at all. */
  waitMs?: number | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((fraction: number, message: string) => void) | undefined;
}
