import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * What happens to a request on its way: an answer of the proxy's own; the connection cut before or after the server has
 * done it; no answer though it was done; the answer cut in the middle; bytes of the body changed; or only later.
 */
export type HttpFault =
  | { status: number; code?: string; headers?: Record<string, string> }
  | "drop-before"
  | "drop-after"
  | "hang-after"
  | "cut-body"
  | "change-body"
  | { delayMs: number };

export interface SeenRequest {
  method: string;
  /** Path and query. */
  url: string;
  headers: IncomingMessage["headers"];
}

export interface FaultProxy extends AsyncDisposable {
  endpoint: string;
  /** Every request so far. */
  seen: SeenRequest[];
  /** Asked for every request; undefined lets it through. */
  fault: (request: SeenRequest) => HttpFault | undefined;
}

/** A real HTTP proxy in front of a real S3 server. */
export async function openFaultProxy(target: string): Promise<FaultProxy> {
  const { hostname, port } = new URL(target);
  const proxy: Pick<FaultProxy, "seen" | "fault"> = { seen: [], fault: () => undefined };

  async function handle(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { method = "GET", url = "/", headers } = incoming;
    const seen = { method, url, headers };
    proxy.seen.push(seen);
    const fault = proxy.fault(seen);
    if (fault === "drop-before") {
      incoming.socket.destroy();
      return;
    }
    if (typeof fault === "object" && "status" in fault) {
      incoming.resume();
      const { status, code = "Injected" } = fault;
      answer.writeHead(status, { "content-type": "application/xml", ...fault.headers });
      answer.end(
        method === "HEAD"
          ? ""
          : `<?xml version="1.0"?><Error><Code>${code}</Code><Message>injected SECRETMESSAGE</Message></Error>`,
      );
      return;
    }
    if (typeof fault === "object") await sleep(fault.delayMs);
    const forwarded = request({ hostname, port, method, path: url, headers }, (response) => {
      if (fault === "drop-after") {
        response.resume().on("end", () => incoming.socket.destroy());
        return;
      }
      if (fault === "hang-after") {
        response.resume();
        return;
      }
      answer.writeHead(response.statusCode ?? 500, response.headers);
      if (fault === "cut-body") {
        response.once("data", (chunk: Buffer) => {
          answer.write(chunk.subarray(0, Math.floor(chunk.length / 2)), () => incoming.socket.destroy());
        });
      } else if (fault === "change-body") {
        response.on("data", (chunk: Buffer) => answer.write(Buffer.from(chunk.map((byte) => byte ^ 1))));
        response.on("end", () => answer.end());
      } else response.pipe(answer);
    });
    forwarded.on("error", () => incoming.socket.destroy());
    incoming.pipe(forwarded);
  }

  const server = createServer((incoming, answer) => void handle(incoming, answer));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return Object.assign(proxy, {
    endpoint: `http://127.0.0.1:${address.port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  });
}
