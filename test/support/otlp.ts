import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";

export interface ReceivedSpan {
  traceId: string;
  spanId: string;
  parentSpanId: string | undefined;
  name: string;
  kind: number;
  attributes: Record<string, unknown>;
  /** 2 for an error. */
  status: number;
  message: string | undefined;
  ms: number;
}

export interface Receiver extends AsyncDisposable {
  url: string;
  spans: ReceivedSpan[];
  resource: Record<string, unknown>;
  /** What came, as it came. */
  bodies: string[];
  headers: Record<string, string | string[] | undefined>[];
  paths: string[];
  /** What is answered instead of 200; `hang`: nothing. */
  behave(status: number | "hang"): void;
  named(name: string): ReceivedSpan[];
}

/** A collector: takes OTLP over HTTP in JSON, and refuses anything else. */
export async function openReceiver(): Promise<Receiver> {
  const spans: ReceivedSpan[] = [];
  const received: Pick<Receiver, "bodies" | "headers" | "paths"> = { bodies: [], headers: [], paths: [] };
  const resource: Record<string, unknown> = {};
  let behaviour: number | "hang" = 200;

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      received.paths.push(request.url ?? "");
      received.headers.push(request.headers);
      if (behaviour === "hang") return;
      const isJson = request.headers["content-type"]?.startsWith("application/json") ?? false;
      if (behaviour !== 200 || !isJson) {
        response.writeHead(isJson ? behaviour : 415).end();
        return;
      }
      const bytes = Buffer.concat(chunks);
      const body = (request.headers["content-encoding"] === "gzip" ? gunzipSync(bytes) : bytes).toString();
      received.bodies.push(body);
      for (const each of (JSON.parse(body) as Export).resourceSpans) {
        Object.assign(resource, plain(each.resource.attributes));
        for (const scope of each.scopeSpans) spans.push(...scope.spans.map(read));
      }
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    resource,
    ...received,
    behave: (next) => {
      behaviour = next;
    },
    named: (name) => spans.filter((span) => span.name === name),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Attribute {
  key: string;
  value: Record<string, unknown>;
}

interface WireSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: Attribute[];
  status: { code?: number; message?: string };
}

interface Export {
  resourceSpans: { resource: { attributes: Attribute[] }; scopeSpans: { spans: WireSpan[] }[] }[];
}

function read(span: WireSpan): ReceivedSpan {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId === "" ? undefined : span.parentSpanId,
    name: span.name,
    kind: span.kind,
    attributes: plain(span.attributes),
    status: span.status.code ?? 0,
    message: span.status.message,
    ms: Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) / 1e6,
  };
}

/** `{key, value: {stringValue}}` and the like. */
function plain(attributes: Attribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
