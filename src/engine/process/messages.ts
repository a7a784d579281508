import { ERROR_CODES, ERROR_KINDS, type ErrorCode, type ErrorKind } from "../kernel/error-codes.ts";
import { type ErrorFacts, LakeError } from "../kernel/errors.ts";
import { type NextStep, readNextStep } from "../kernel/next-step.ts";

/** To the process, in the form of `v8.serialize`: parameters may be of any type that it keeps. */
export type Request =
  | { id: number; method: string; args: unknown }
  /** The caller has left: end the call as soon as possible. */
  | { id: number; abort: true }
  /** The last event was used: send the next one. */
  | { id: number; more: true };

/** From the process, as JSON: what a process sends that a foreign file has taken over must not be more than data. */
export type Reply =
  | { id: number; result?: unknown }
  | { id: number; error: ErrorData }
  | { id: number; event: unknown };

/** Throws for what has not the form of a reply. */
export function replyIn(body: Buffer): Reply {
  const reply: unknown = JSON.parse(body.toString("utf8"));
  if (!isRecord(reply) || typeof reply.id !== "number" || ("error" in reply && !isRecord(reply.error))) {
    throw new Error("It is no reply.");
  }
  return reply as unknown as Reply;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

export interface ErrorData {
  kind: ErrorKind;
  code: ErrorCode;
  message: string;
  hint?: NextStep | undefined;
  facts?: ErrorFacts | undefined;
  /** The message of the cause. */
  cause?: string | undefined;
}

export function errorData(error: unknown): ErrorData {
  if (!(error instanceof LakeError)) {
    const cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { kind: "internal", code: "internal", message: "The process failed unexpectedly.", cause };
  }
  const { kind, code, message, hint, facts, cause } = error;
  return { kind, code, message, hint, facts, cause: cause instanceof Error ? cause.message : undefined };
}

export function errorOf({ kind, code, message, hint, facts, cause }: ErrorData): LakeError {
  return new LakeError(ERROR_KINDS.includes(kind) ? kind : "internal", String(message), {
    ...(Object.hasOwn(ERROR_CODES, code) && { code }),
    hint: readNextStep(hint),
    facts: readFacts(facts),
    ...(cause !== undefined && { cause: new Error(String(cause)) }),
  });
}

/** The facts that have the type they should have. */
function readFacts(facts: unknown): ErrorFacts | undefined {
  if (!isRecord(facts)) return undefined;
  const { argument, line, column, nearest, limit, setting } = facts;
  const text = (value: unknown) => (typeof value === "string" ? value : undefined);
  const number = (value: unknown) => (typeof value === "number" ? value : undefined);
  return {
    argument: text(argument),
    line: number(line),
    column: text(column),
    nearest: Array.isArray(nearest) ? nearest.map(String) : undefined,
    limit: number(limit),
    setting: text(setting),
  };
}
