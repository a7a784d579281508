import {
  PROTOCOL_VERSION_META_KEY,
  ProtocolError,
  ProtocolErrorCode,
  type ServerContext,
} from "@modelcontextprotocol/server";
import type { ErrorKind } from "../engine/kernel/error-codes.ts";
import type { LakeError } from "../engine/kernel/errors.ts";
import { type Attributes, type Span, type Trace, type TraceOptions, untraced } from "../engine/kernel/trace.ts";
import type { Log } from "../engine/settings.ts";
import { known } from "./known-error.ts";

/** A call of a client. */
export interface Call {
  kind: "tool" | "resource" | "prompt";
  /** A name of ours, never text of the client. */
  name: string;
  /** The name that the client sent, where nothing has that name: for the log only. */
  requested?: string;
}

export type OnCall = (call: Pick<Call, "kind" | "name"> & { outcome: "ok" | ErrorKind; seconds: number }) => void;

/** How calls are logged, traced and counted. */
export interface Watch {
  log: Log;
  /** Name of the token of the request. */
  caller?: string | undefined;
  /** Default: no traces. */
  trace?: Trace | undefined;
  /** Whether spans contain the arguments of calls. Default false. */
  traceArguments?: boolean | undefined;
  onCall?: OnCall | undefined;
  /** The negotiated revision, for requests that do not name one. */
  protocol?: (() => string | undefined) | undefined;
}

interface Work<Result> {
  /** The arguments of the call. Never recorded unless `traceArguments` is set. */
  args: unknown;
  run: () => Promise<Result>;
  /** Makes the answer when `run` throws. */
  refuse: (error: LakeError, thrown: unknown) => Result;
}

export const METHODS = { tool: "tools/call", resource: "resources/read", prompt: "prompts/get" } as const;
const MAX_ARGUMENT_CHARS = 16_384;

/** Errors of calls that were recorded here. */
const recorded = new WeakSet<WeakKey>();
export const wasRecorded = (error: unknown): boolean => error instanceof Error && recorded.has(error);

/** Serves one call, and records it: a span, a log line, `onCall`. */
export function serveCall<Result>(
  call: Call,
  context: ServerContext,
  watch: Watch,
  { args, run, refuse }: Work<Result>,
): Promise<Result> {
  const { log, caller, trace = untraced, onCall } = watch;
  const started = performance.now();
  const parent = parentOf(context);
  // Semantic conventions: names of spans have few values, so without the URI of a resource.
  const name = call.kind === "resource" ? METHODS.resource : `${METHODS[call.kind]} ${call.name}`;
  const serve = async (span: Span): Promise<Result> => {
    let outcome: "ok" | ErrorKind = "ok";
    try {
      return await run();
    } catch (thrown) {
      const error = known(thrown, log);
      outcome = error.kind;
      span.note({ "lakehouse.error.kind": outcome });
      return answered(span, () => refuse(error, thrown));
    } finally {
      const ms = performance.now() - started;
      const traceId = span.traceId ?? parent?.traceparent.slice(3, 35);
      log("info", "call", {
        [call.kind]: call.name,
        ...(call.requested !== undefined && { asked: call.requested }),
        outcome,
        ms: Math.round(ms),
        ...(caller !== undefined && { caller }),
        ...(traceId !== undefined && { trace_id: traceId }),
      });
      onCall?.({ kind: call.kind, name: call.name, outcome, seconds: ms / 1000 });
    }
  };
  if (trace === untraced) return trace(name, {}, serve);
  return trace(name, attributesOf(call, context, watch, args), serve, { kind: "server", parent });
}

/** By the semantic conventions for MCP, an error of a tool is a result; an error of JSON-RPC is recorded by its code. */
function answered<Result>(span: Span, refuse: () => Result): Result {
  try {
    const result = refuse();
    span.fail("tool_error");
    return result;
  } catch (error) {
    if (error instanceof Error) recorded.add(error);
    const code = String(error instanceof ProtocolError ? error.code : ProtocolErrorCode.InternalError);
    span.note({ "rpc.response.status_code": code });
    span.fail(code);
    throw error;
  }
}

/** https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md */
function attributesOf(call: Call, context: ServerContext, watch: Watch, args: unknown): Attributes {
  const { mcpReq, sessionId, http } = context;
  const revision = (mcpReq.envelope as Record<string, unknown> | undefined)?.[PROTOCOL_VERSION_META_KEY];
  const written = watch.traceArguments ? JSON.stringify(args ?? null).slice(0, MAX_ARGUMENT_CHARS) : undefined;
  return {
    "mcp.method.name": METHODS[call.kind],
    "mcp.protocol.version": revision === undefined ? watch.protocol?.() : String(revision),
    "mcp.session.id": sessionId,
    "jsonrpc.request.id": String(mcpReq.id).slice(0, 100),
    "network.transport": http === undefined ? "pipe" : "tcp",
    "network.protocol.name": http === undefined ? undefined : "http",
    "enduser.id": watch.caller,
    ...(call.kind === "tool" && {
      "gen_ai.operation.name": "execute_tool",
      "gen_ai.tool.name": call.name,
      "gen_ai.tool.call.arguments": written,
    }),
    ...(call.kind === "prompt" && { "gen_ai.prompt.name": call.name }),
    ...(call.kind === "resource" && { "lakehouse.resource": call.name, "mcp.resource.uri": written && String(args) }),
  };
}

/** https://www.w3.org/TR/trace-context/#traceparent-header-field-values */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.{0,200})?$/;

/** The message's own parent comes first: its HTTP request may carry several messages. */
function parentOf({ mcpReq, http }: ServerContext): TraceOptions["parent"] {
  const meta = mcpReq._meta;
  if (isTraceparent(meta?.traceparent)) return carrier(meta.traceparent, meta.tracestate);
  const headers = http?.req?.headers;
  const header = headers?.get("traceparent");
  return isTraceparent(header) ? carrier(header, headers?.get("tracestate")) : undefined;
}

const isTraceparent = (value: unknown): value is string => typeof value === "string" && TRACEPARENT.test(value);

function carrier(traceparent: string, tracestate: unknown): TraceOptions["parent"] {
  return typeof tracestate === "string" && tracestate.length <= 512 ? { traceparent, tracestate } : { traceparent };
}
