import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What the server does with one request for embeddings; undefined when it has answered itself. */
export type Behaviour = (
  request: EmbedBody,
  response: ServerResponse,
  vectors: number[][],
) => unknown | Promise<unknown>;

export interface EmbedBody {
  model: string;
  input: string[];
  truncate?: boolean;
  dimensions?: number;
  encoding_format?: string;
}

export interface EmbeddingServer extends AsyncDisposable {
  url: string;
  /** Bodies of the embedding requests so far. */
  requests: EmbedBody[];
  /** Header `authorization` of the last request. */
  authorization(): string | undefined;
  /** All requests, as `METHOD path`. */
  log: string[];
  /** Requests answered at the same time, at most. */
  mostAtOnce(): number;
  behave(behaviour: Behaviour | undefined): void;
  /** Which models are there; with capabilities as Ollama tells them. */
  models: Map<string, { dimension: number; capabilities: string[] }>;
  stop(): Promise<void>;
}

/** A vector that depends on the text alone. */
export function vectorFor(text: string, dimension: number): number[] {
  let seed = 7;
  for (let at = 0; at < text.length; at++) seed = (Math.imul(seed, 31) + text.charCodeAt(at)) | 0;
  return Array.from({ length: dimension }, (_, at) => Math.fround(Math.sin(seed + at * 1.7)));
}

/** A real HTTP server that speaks Ollama's wire format, and OpenAI's under `/v1`, on a port of its own. */
export async function openOllamaServer(dimension = 8, port = 0): Promise<EmbeddingServer> {
  const requests: EmbedBody[] = [];
  const log: string[] = [];
  const models = new Map([["nomic-embed-text", { dimension, capabilities: ["embedding"] }]]);
  let behaviour: Behaviour | undefined;
  let running = 0;
  let most = 0;
  let authorization: string | undefined;

  const server = createServer((request, response) => {
    running++;
    most = Math.max(most, running);
    response.on("close", () => running--);
    log.push(`${request.method} ${request.url}`);
    authorization = request.headers.authorization;
    void answer(request, response);
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = JSON.parse((await text(request)) || "{}");
    const model = models.get(String(body.model).replace(/:latest$/, ""));
    if (model === undefined)
      return json(response, 404, { error: `model "${body.model}" not found, try pulling it first` });
    if (request.url === "/api/show") {
      const model_info = { "general.architecture": "nomic-bert", "nomic-bert.embedding_length": model.dimension };
      return json(response, 200, { model_info, capabilities: model.capabilities });
    }
    requests.push(body);
    const vectors = (body.input as string[]).map((each) => vectorFor(each, body.dimensions ?? model.dimension));
    if (behaviour) {
      const own = await behaviour(body, response, vectors);
      if (own === undefined) return;
      return json(response, 200, own);
    }
    json(response, 200, request.url === "/v1/embeddings" ? openAIAnswer(vectors) : ollamaAnswer(vectors));
  }

  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    log,
    models,
    authorization: () => authorization,
    mostAtOnce: () => most,
    behave: (next) => {
      behaviour = next;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

export const ollamaAnswer = (embeddings: unknown) => ({ model: "nomic-embed-text", embeddings, total_duration: 1 });

export const openAIAnswer = (vectors: readonly unknown[]) => ({
  object: "list",
  data: vectors.map((embedding, index) => ({ object: "embedding", index, embedding })),
  model: "text-embedding-3-small",
  usage: { prompt_tokens: 1, total_tokens: 1 },
});

export function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
}

async function text(request: IncomingMessage): Promise<string> {
  let all = "";
  for await (const chunk of request) all += chunk;
  return all;
}
