import { type McpServer, ProtocolError, ProtocolErrorCode, type ServerContext } from "@modelcontextprotocol/server";
import { LakeError } from "../engine/kernel/errors.ts";
import { type Call, METHODS, serveCall, type Watch, wasTold } from "./serve-call.ts";

type Handler = (request: { params?: Record<string, unknown> }, context: ServerContext) => unknown;

/** Stands for every name that a client makes up: in counts and spans there must be few. */
export const UNKNOWN = "unknown";
const ASKED_CHARS = 64;
const MAX_MESSAGE_CHARS = 150;

/**
 * Tells of calls that the SDK refuses by itself, because nobody has the name, or what is asked is not what the protocol
 * says, like of all others. To be called before capabilities are declared and anything is registered: the SDK sets its
 * handlers then, each through this hook.
 */
export function tellOfRefused(server: McpServer, watch: Watch, names: Record<"tool" | "prompt", Set<string>>): void {
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
        if (wasTold(error)) throw error;
        const { name, arguments: given, uri } = request.params ?? {};
        const isOurs = kind !== "resource" && names[kind].has(String(name));
        const call: Call = { kind, name: isOurs ? String(name) : UNKNOWN };
        // An address has names of datasets in it, which no line of the log has.
        if (!isOurs && kind !== "resource") call.asked = printable(String(name));
        const wrong = whatIsWrong(kind, request.params);
        const answer =
          wrong === undefined ? shortened(error) : new ProtocolError(ProtocolErrorCode.InvalidParams, wrong);
        // What the SDK did not mean to say is internal.
        const reason =
          answer instanceof ProtocolError
            ? new LakeError(isOurs || wrong !== undefined ? "invalid" : "not_found", answer.message)
            : error;
        return serveCall(call, context, watch, {
          given: kind === "resource" ? uri : given,
          run: () => Promise.reject(reason),
          refuse: () => {
            throw answer;
          },
        });
      }
    };
  };
}

/** The SDK repeats what was asked for. */
function shortened(error: unknown): unknown {
  if (error instanceof ProtocolError && error.message.length > MAX_MESSAGE_CHARS) {
    error.message = `${error.message.slice(0, MAX_MESSAGE_CHARS)}…`;
  }
  return error;
}

/** In a request that does not have the protocol's form. */
function whatIsWrong(kind: keyof typeof METHODS, params: Record<string, unknown> = {}): string | undefined {
  const named = kind === "resource" ? "uri" : "name";
  if (typeof params[named] !== "string") return `${METHODS[kind]}: ${named} has to be a string.`;
  const { arguments: given } = params;
  const isObject = typeof given === "object" && given !== null && !Array.isArray(given);
  return given === undefined || isObject ? undefined : `${METHODS[kind]}: arguments has to be an object.`;
}

const KINDS = Object.keys(METHODS) as (keyof typeof METHODS)[];

function printable(name: string): string {
  return name.slice(0, ASKED_CHARS).replace(/[^ -~]/g, "?");
}
