import { isJSONRPCNotification, type RequestId } from "@modelcontextprotocol/server";

interface Request {
  id: RequestId;
  method: string;
  params: unknown;
}

/** `message` as a request, when it has the form of one. Whether its parameters are right, the SDK says when it serves it. */
export function requestOf(message: unknown): Request | undefined {
  if (typeof message !== "object" || message === null) return undefined;
  const { id, method, params } = message as Record<string, unknown>;
  if (typeof method !== "string" || (typeof id !== "string" && typeof id !== "number")) return undefined;
  return { id, method, params };
}

/** The ids of the requests in a message or a batch. */
export function requestsOf(body: unknown): RequestId[] {
  return messagesOf(body).flatMap((message) => requestOf(message)?.id ?? []);
}

/** The ids of the requests that a message or a batch cancels. */
export function cancelledBy(body: unknown): RequestId[] {
  return messagesOf(body).flatMap((message) => {
    if (!isJSONRPCNotification(message) || message.method !== "notifications/cancelled") return [];
    const id = message.params?.requestId;
    return typeof id === "string" || typeof id === "number" ? [id] : [];
  });
}

/** The tool that a message calls, if it has the form of a call. */
export function toolOf(body: unknown): string | undefined {
  const request = requestOf(body);
  if (request?.method !== "tools/call") return undefined;
  const { name, arguments: given = {} } = (request.params ?? {}) as Record<string, unknown>;
  const isCall = typeof name === "string" && typeof given === "object" && given !== null && !Array.isArray(given);
  return isCall ? name : undefined;
}

/** The resources that a `subscriptions/listen` names. */
export function subscribedUris(body: unknown): string[] {
  const { notifications } = (requestOf(body)?.params ?? {}) as { notifications?: { resourceSubscriptions?: unknown } };
  const uris = notifications?.resourceSubscriptions;
  return Array.isArray(uris) ? uris.filter((uri) => typeof uri === "string") : [];
}

function messagesOf(body: unknown): unknown[] {
  return Array.isArray(body) ? body : [body];
}
