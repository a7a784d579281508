import { type McpServer, ProtocolError, ProtocolErrorCode, type ServerContext } from "@modelcontextprotocol/server";
import { LakeError } from "../engine/kernel/errors.ts";
import { type Call, METHODS, serveCall, type Watch, wasRecorded } from "./serve-call.ts";

type Handler = (request: { params?: Record<string, unknown> }, context: ServerContext) => unknown;

/** Stands for every name that a client invents: counts and spans may have few names only. */
export const UNKNOWN = "unknown";
const REQUESTED_CHARS = 64;
const MAX_MESSAGE_CHARS = 150;

/**
 * Records calls that the SDK rejects by itself, because nothing has the name or the request is malformed, like all
 * others. Has to be called before capabilities are declared and anything is registered: the SDK sets its handlers then,
 * each through this hook.
 */
export function recordRejectedCalls(
  server: McpServer,
  watch: Watch,
  names: Record<"tool" | "prompt", Set<string>>,
): void {
  const protocol = server.server as unknown as { _wrapHandler(method: string, handler: Handler): Handler };
  const wrap = protocol._wrapHandler.bind(protocol);
  protocol._wrapHandler = (method, handler) => {
    const wrapped = wrap(method, handler);
    const kind = KINDS.find((each) => METHODS[each] === method);
    if (kind === undefined) return wrapped;
    return async (request, context) => {
      try {
        return await wrapped(request, context);
      } catch (error) {
        if (wasRecorded(error)) throw error;
        const { name, arguments: args, uri } = request.params ?? {};
        const isOurs = kind !== "resource" && names[kind].has(String(name));
        const call: Call = { kind, name: isOurs ? String(name) : UNKNOWN };
        // URIs contain names of datasets, which the log never has.
        if (!isOurs && kind !== "resource") call.requested = printable(String(name));
        const mistake = mistakeIn(kind, request.params);
        const answer =
          mistake === undefined ? shortened(error) : new ProtocolError(ProtocolErrorCode.InvalidParams, mistake);
        // Any other error of the SDK is unexpected, and so internal.
        const reason =
          answer instanceof ProtocolError
            ? new LakeError(isOurs || mistake !== undefined ? "invalid" : "not_found", answer.message)
            : error;
        return serveCall(call, context, watch, {
          args: kind === "resource" ? uri : args,
          run: () => Promise.reject(reason),
          refuse: () => {
            throw answer;
          },
        });
      }
    };
  };
}

/** The SDK repeats the name in its message, however long it is. */
function shortened(error: unknown): unknown {
  if (error instanceof ProtocolError && error.message.length > MAX_MESSAGE_CHARS) {
    error.message = `${error.message.slice(0, MAX_MESSAGE_CHARS)}…`;
  }
  return error;
}

/** How a request differs from the form that the protocol prescribes. */
function mistakeIn(kind: keyof typeof METHODS, params: Record<string, unknown> = {}): string | undefined {
  const named = kind === "resource" ? "uri" : "name";
  if (typeof params[named] !== "string") return `${METHODS[kind]}: ${named} has to be a string.`;
  const { arguments: args } = params;
  const isObject = typeof args === "object" && args !== null && !Array.isArray(args);
  return args === undefined || isObject ? undefined : `${METHODS[kind]}: arguments has to be an object.`;
}

const KINDS = Object.keys(METHODS) as (keyof typeof METHODS)[];

function printable(name: string): string {
  return name.slice(0, REQUESTED_CHARS).replace(/[^ -~]/g, "?");
}
