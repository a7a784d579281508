import type { IncomingMessage, ServerResponse } from "node:http";
import { isJsonContentType } from "@modelcontextprotocol/server";
import type { Refusal } from "./gates/refusal.ts";
import { MessageError, parseMessage } from "./message.ts";

const PARSE_ERROR = -32700;
const INVALID_REQUEST = -32600;

export type RpcRefusal = Refusal & { code: number; id?: string | number | undefined };

export interface Message {
  json: unknown;
  /** Its length. */
  bytes: number;
}

/**
 * Reads a JSON body. Returns a refusal: by the headers, before anything is read (415, 413); for a body that is longer than
 * `maxBytes` (413), takes longer than `timeoutMs` (408), or is not JSON (400). Returns undefined when the client is gone.
 * `turn` is awaited before the body is parsed.
 */
export async function readJson(
  request: IncomingMessage,
  response: ServerResponse,
  { maxBytes, timeoutMs, turn }: { maxBytes: number; timeoutMs: number; turn: () => Promise<void> },
): Promise<Message | RpcRefusal | undefined> {
  const { headers } = request;
  if (!isJsonContentType(headers["content-type"])) {
    return { status: 415, code: INVALID_REQUEST, message: "Send the message with Content-Type: application/json." };
  }
  if ((headers["content-encoding"] ?? "identity").toLowerCase() !== "identity") {
    return { status: 415, code: INVALID_REQUEST, message: "Send the message without Content-Encoding." };
  }
  if (Number(headers["content-length"] ?? 0) > maxBytes) return tooLarge(maxBytes);
  if (headers.expect !== undefined) {
    response.writeContinue();
    // From now on the body is being sent.
    headers.expect = undefined;
  }
  const bytes = await readBytes(request, maxBytes, timeoutMs);
  await turn();
  return Buffer.isBuffer(bytes) ? await parseJson(bytes) : bytes;
}

function readBytes(
  request: IncomingMessage,
  maxBytes: number,
  timeoutMs: number,
): Promise<Buffer | RpcRefusal | undefined> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const settle = (result: Buffer | RpcRefusal | undefined): void => {
      clearTimeout(timer);
      request.off("data", take);
      // The rest is handled with the answer: see `refuseWith`.
      if (!Buffer.isBuffer(result)) request.pause();
      resolve(result);
    };
    const take = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > maxBytes) settle(tooLarge(maxBytes));
      else chunks.push(chunk);
    };
    const timer = setTimeout(
      () => settle({ status: 408, code: INVALID_REQUEST, message: "The message did not arrive in time." }),
      timeoutMs,
    );
    request.on("data", take);
    request.once("end", () => settle(Buffer.concat(chunks, size)));
    request.once("error", () => settle(undefined));
    request.once("close", () => settle(undefined));
  });
}

/** Exported for tests. */
export async function parseJson(bytes: Buffer): Promise<Message | RpcRefusal> {
  try {
    return { json: await parseMessage(bytes), bytes: bytes.length };
  } catch (error) {
    if (!(error instanceof MessageError)) {
      return { status: 400, code: PARSE_ERROR, message: "The message cannot be read: it is not JSON in UTF-8." };
    }
    return { status: 400, code: error.code, message: error.message, id: error.id };
  }
}

const tooLarge = (maxBytes: number): RpcRefusal => ({
  status: 413,
  code: INVALID_REQUEST,
  message: `The message is longer than ${maxBytes} bytes (max_body_bytes). Send less at a time.`,
});
