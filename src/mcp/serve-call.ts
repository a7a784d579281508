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

/** What a client calls. */
export interface Call {
  kind: "tool" | "resource" | "prompt";
  /** Ours, never the client's. */
  name: string;
  /** The client's, where nothing of ours has it: for the log alone. */
  asked?: string;
}

export type OnCall = (call: Pick<Call, "kind" | "name"> & { outcome: "ok" | ErrorKind; seconds: number }) => void;

/** Who is told of calls. */
export interface Watch {
  log: Log;
  /** The name of the token that a request came with. */
  caller?: string | undefined;
  /** Default: nothing is traced. */
  trace?: Trace | undefined;
  /** Whether spans hold what calls were given. Default false. */
  traceArguments?: boolean | undefined;
  onCall?: OnCall | undefined;
  /** The revision that was agreed on, where requests do not say. */
  protocol?: (() => string | undefined) | undefined;
}

interface Work<Result> {
  /** What the call was given; told to nobody unless `traceArguments`. */
  given: unknown;
  run: () => Promise<Result>;
  /** What the client gets when `run` throws. */
  refuse: (error: LakeError, thrown: unknown) => Result;
}

export const METHODS = { tool: "tools/call", resource: "resources/read", prompt: "prompts/get" } as const;
const MAX_GIVEN_CHARS = 16_384;

/** Errors that a client gets, of calls that are told. */
const told = new WeakSet<WeakKey>();
export const wasTold = (error: unknown): boolean => error instanceof Error && told.has(error);

/** Serves one call: with a span, and one log line, of its own. */
export function serveCall<Result>(
  call: Call,
  context: ServerContext,
  watch: Watch,
  { given, run, refuse }: Work<Result>,
): Promise<Result> {
  const { log, caller, trace = untraced, onCall } = watch;
  const started = performance.now();
  const parent = parentOf(context);
  // Semantic conventions: no resource's address in a name, of which there should be few.
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
        ...(call.asked !== undefined && { asked: call.asked }),
        outcome,
        ms: Math.round(ms),
        ...(caller !== undefined && { caller }),
        ...(traceId !== undefined && { trace_id: traceId }),
      });
      onCall?.({ kind: call.kind, name: call.name, outcome, seconds: ms / 1000 });
    }
  };
  if (trace === untraced) return trace(name, {}, serve);
  return trace(name, attributesOf(call, context, watch, given), serve, { kind: "server", parent });
}

/** In the semantic conventions for MCP a tool's failure is a result; an error of JSON-RPC is told by its code. */
function answered<Result>(span: Span, refuse: () => Result): Result {
  try {
    const result = refuse();
    span.fail("tool_error");
    return result;
  } catch (error) {
    if (error instanceof Error) told.add(error);
    const code = String(error instanceof ProtocolError ? error.code : ProtocolErrorCode.InternalError);
    span.note({ "rpc.response.status_code": code });
    span.fail(code);
    throw error;
  }
}

/** https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md */
function attributesOf(call: Call, context: ServerContext, watch: Watch, given: unknown): Attributes {
  const { mcpReq, sessionId, http } = context;
  const revision = (mcpReq.envelope as Record<string, unknown> | undefined)?.[PROTOCOL_VERSION_META_KEY];
  const written = watch.traceArguments ? JSON.stringify(given ?? null).slice(0, MAX_GIVEN_CHARS) : undefined;
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
    ...(call.kind === "resource" && { "lakehouse.resource": call.name, "mcp.resource.uri": written && String(given) }),
  };
}

/** https://www.w3.org/TR/trace-context/#traceparent-header-field-values */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.{0,200})?$/;

/** The message's own trace before that of the request it came in, which may carry several. */
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
