import { ERROR_CODES, type ErrorCode, type ErrorKind } from "../kernel/error-codes.ts";
import { LakeError } from "../kernel/errors.ts";

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
  hint?: string | undefined;
  /** The message of the cause. */
  cause?: string | undefined;
}

export function errorData(error: unknown): ErrorData {
  if (!(error instanceof LakeError)) {
    const cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { kind: "internal", code: "internal", message: "The process failed unexpectedly.", cause };
  }
  const { kind, code, message, hint, cause } = error;
  return { kind, code, message, hint, cause: cause instanceof Error ? cause.message : undefined };
}

const KINDS: ReadonlySet<unknown> = new Set<ErrorKind>([
  "invalid",
  "not_found",
  "denied",
  "limit",
  "conflict",
  "unavailable",
  "corrupt",
  "closed",
  "internal",
]);

export function errorOf({ kind, code, message, hint, cause }: ErrorData): LakeError {
  return new LakeError(KINDS.has(kind) ? kind : "internal", String(message), {
    ...(Object.hasOwn(ERROR_CODES, code) && { code }),
    ...(hint !== undefined && { hint: String(hint) }),
    ...(cause !== undefined && { cause: new Error(String(cause)) }),
  });
}
