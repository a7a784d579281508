import { type McpServer, ProtocolError, type ServerContext } from "@modelcontextprotocol/server";
import { LakeError } from "./engine/errors.ts";
import { type Call, METHODS, serveCall, type Watch, wasTold } from "./serve-call.ts";

type Handler = (request: { params?: Record<string, unknown> }, context: ServerContext) => unknown;

/** Stands for every name that a client makes up: in counts and spans there must be few. */
export const UNKNOWN = "unknown";
const ASKED_CHARS = 64;

/**
 * Tells of calls that the SDK refuses by itself, because nobody has the name or a prompt's arguments are wrong, like of
 * all others. To be called before capabilities are declared and anything is registered: the SDK sets its handlers then.
 */
export function tellOfRefused(server: McpServer, watch: Watch, names: Record<"tool" | "prompt", Set<string>>): void {
  const protocol = server.server as unknown as { setRequestHandler(method: string, ...rest: unknown[]): void };
  const set = protocol.setRequestHandler.bind(protocol);
  protocol.setRequestHandler = (method, ...rest) => {
    const kind = KINDS.find((each) => METHODS[each] === method);
    const [handler] = rest;
    if (kind === undefined || typeof handler !== "function") return set(method, ...rest);
    set(method, async (request: Parameters<Handler>[0], context: ServerContext) => {
      try {
        return await (handler as Handler)(request, context);
      } catch (error) {
        if (wasTold(error)) throw error;
        const { name, arguments: given, uri } = request.params ?? {};
        const isOurs = kind !== "resource" && names[kind].has(String(name));
        const call: Call = { kind, name: isOurs ? String(name) : UNKNOWN };
        // An address has names of datasets in it, which no line of the log has.
        if (!isOurs && kind !== "resource") call.asked = printable(String(name));
        // What the SDK did not mean to say is internal.
        const reason =
          error instanceof ProtocolError ? new LakeError(isOurs ? "invalid" : "not_found", error.message) : error;
        return serveCall(call, context, watch, {
          given: kind === "resource" ? uri : given,
          run: () => Promise.reject(reason),
          refuse: () => {
            throw error;
          },
        });
      }
    });
  };
}

const KINDS = Object.keys(METHODS) as (keyof typeof METHODS)[];

function printable(name: string): string {
  return name.slice(0, ASKED_CHARS).replace(/[^ -~]/g, "?");
}
