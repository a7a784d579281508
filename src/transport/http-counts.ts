import type { ServerResponse } from "node:http";

/** Where a request was refused. */
export type Gate = "path" | "method" | "host" | "address" | "token" | "limits";

export interface HttpCounts {
  /** By class of status, as `2xx`; `aborted`: the client was gone before the answer. */
  responses: Readonly<Record<string, number>>;
  refused: Readonly<Record<Gate, number>>;
}

/** Statuses for requests that are too large, too slow or too many. */
const LIMITS: ReadonlySet<number> = new Set([408, 413, 429, 503]);

export function openHttpCounts() {
  const responses: Record<string, number> = { "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0, aborted: 0 };
  const refused: Record<Gate, number> = { path: 0, method: 0, host: 0, address: 0, token: 0, limits: 0 };
  const judged = new WeakSet<ServerResponse>();
  const refuse = (response: ServerResponse, gate: Gate): void => {
    judged.add(response);
    refused[gate]++;
  };
  return {
    refuse,
    /** Counts the response when it ends. */
    watch: (response: ServerResponse): void => {
      response.once("close", () => {
        const { statusCode: status, headersSent } = response;
        const name = headersSent ? `${Math.floor(status / 100)}xx` : "aborted";
        responses[name] = (responses[name] ?? 0) + 1;
        if (headersSent && LIMITS.has(status) && !judged.has(response)) refuse(response, "limits");
      });
    },
    read: (): HttpCounts => ({ responses: { ...responses }, refused: { ...refused } }),
  };
}
