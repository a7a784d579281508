import { randomUUID } from "node:crypto";
import * as z from "zod";
import type { IngestRequest } from "../ingest/request.ts";
import { ERROR_KINDS } from "../kernel/error-codes.ts";
import { LakeError } from "../kernel/errors.ts";
import { action, next, readNextStep } from "../kernel/next-step.ts";
import { JOB_KINDS, JOB_STATES, type JobRecord, type KeptIngest } from "./types.ts";

export const ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** A UUID of version 7, which begins with the time: keys of jobs are in the order of their making. */
export function newId(now: number): string {
  const time = now.toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`;
}

export function encodeRecord(record: JobRecord): Uint8Array {
  return Buffer.from(JSON.stringify(record));
}

/** Throws `corrupt` for what is no record of job `id`. */
export function decodeRecord(bytes: Uint8Array, id: string): JobRecord {
  try {
    const record = schema.parse(JSON.parse(Buffer.from(bytes).toString()));
    if (record.id === id) return record as JobRecord;
  } catch (error) {
    throw damaged(id, error);
  }
  throw damaged(id, new Error("it is of another job"));
}

/** A text that was sent inline is not recorded: it may be large. */
export function recordedIngest({ source, ...request }: IngestRequest): KeptIngest {
  return {
    ...request,
    source: "text" in source ? { inline: { characters: source.text.length, kept: false } } : source,
  };
}

export function isEnded(record: JobRecord): boolean {
  return record.state !== "running";
}

function damaged(id: string, cause: unknown): LakeError {
  return new LakeError("corrupt", `The record of job ${id} cannot be read.`, {
    hint: next`Look with ${action("list")} whether its work was done; the same call again is safe.`,
    cause,
  });
}

const moment = z.string().refine((text) => !Number.isNaN(Date.parse(text)), "not a time");
const text = z.string();

const request = {
  ingest: z.looseObject({
    name: text,
    source: z.union([
      z.object({ path: text }),
      z.object({ sql: text }),
      z.object({ upload: text }),
      z.object({ inline: z.object({ characters: z.int() }) }),
    ]),
  }),
  "vector-index-create": z.looseObject({
    name: text,
    dimension: z.number().optional(),
    metric: z.enum(["cosine", "ip", "l2"]).optional(),
    model: text.optional(),
    source: z
      .object({ dataset: text, text, id: text, where: text.optional(), metadata: z.array(text).optional() })
      .optional(),
  }),
};

const schema = z
  .object({
    format: z.literal(1),
    id: z.string().regex(ID),
    kind: z.enum(JOB_KINDS),
    request: z.unknown(),
    owner: z.object({ host: text, pid: z.int(), process: text }),
    state: z.enum(JOB_STATES),
    progress: z.object({ fraction: z.number().min(0).max(1), message: text }),
    resumed: z.int().min(0),
    created: moment,
    updated: moment,
    finished: moment.nullable(),
    result: z.looseObject({ version: z.int() }).optional(),
    error: z
      .object({
        kind: z.enum(ERROR_KINDS),
        message: text,
        hint: text.nullable(),
        next: z.unknown().transform(readNextStep).optional(),
      })
      .optional(),
  })
  .refine((record) => request[record.kind].safeParse(record.request).success, "no request of its kind")
  .refine((record) => (record.state === "done") === (record.result !== undefined), "a result exactly when it is done")
  .refine((record) => record.state === "running" || record.finished !== null, "it ended at no time");
