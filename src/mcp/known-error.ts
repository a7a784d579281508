import { randomUUID } from "node:crypto";
import { type CallToolResult, ProtocolError, type ProtocolErrorCode } from "@modelcontextprotocol/server";
import type { ErrorFacts } from "../engine/kernel/errors.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import type { NextStep } from "../engine/kernel/next-step.ts";
import type { Log } from "../engine/settings.ts";
import { errorText, sentences } from "../tools/error-text.ts";

/** `thrown` as a client may see it. The details of an unexpected error go to the log, under the reference it names. */
export function known(thrown: unknown, log: Log): LakeError {
  if (thrown instanceof LakeError && thrown.kind !== "internal") return thrown;
  const reference = randomUUID().slice(0, 8);
  const cause = thrown instanceof LakeError ? (thrown.cause ?? thrown) : thrown;
  log("error", "internal error", { reference, error: cause instanceof Error ? cause.stack : String(cause) });
  return new LakeError("internal", `Something went wrong inside the lakehouse (reference ${reference}).`, {
    hint: "Nothing was changed. Tell the user the reference; the details are in the server's log.",
  });
}

/** Key of `_meta` under which programs find kind, code and facts of an error. */
const ERROR_META = "lakehouse/error";

interface ToolError {
  kind: string;
  code?: string | undefined;
  message: string;
  hint?: NextStep | null | undefined;
  facts?: ErrorFacts | undefined;
}

/** The result of a tool that ended with `error`, written for a model. */
export function errorResult(error: ToolError) {
  const { kind, code = kind, facts } = error;
  return {
    content: [{ type: "text" as const, text: errorText(error) }],
    isError: true,
    _meta: { [ERROR_META]: { kind, code, ...facts } },
  } satisfies CallToolResult;
}

/** The error of JSON-RPC for a request other than a call of a tool. */
export function protocolError(code: ProtocolErrorCode, error: LakeError): ProtocolError {
  return new ProtocolError(code, sentences(error));
}
