import type { IncomingMessage, ServerResponse } from "node:http";
import { isJsonContentType } from "@modelcontextprotocol/server";
import type { Refusal } from "./gates/refusal.ts";

/** Deeper than any argument of ours, and shallow enough for everything that walks a message recursively. */
const MAX_DEPTH = 100;
const PARSE_ERROR = -32700;
const INVALID_REQUEST = -32600;

export type RpcRefusal = Refusal & { code: number };

export interface Message {
  json: unknown;
  /** How long it was. */
  bytes: number;
}

/**
 * Reads a JSON body. Returns a refusal before anything is read when the headers say enough (415, 413), as soon as the
 * body is longer than `maxBytes` (413), when it takes longer than `timeoutMs` (408), and when it is not JSON (400).
 * Returns undefined when the client went away.
 */
export async function readJson(
  request: IncomingMessage,
  response: ServerResponse,
  { maxBytes, timeoutMs }: { maxBytes: number; timeoutMs: number },
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
    // From here on the body is on its way.
    headers.expect = undefined;
  }
  const bytes = await readBytes(request, maxBytes, timeoutMs);
  return Buffer.isBuffer(bytes) ? parseJson(bytes) : bytes;
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
      // Whoever answers decides what happens to the rest.
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

/** Exported for its tests. */
export function parseJson(bytes: Buffer): Message | RpcRefusal {
  if (deeperThan(bytes, MAX_DEPTH)) return notJson(`it is nested more than ${MAX_DEPTH} deep`);
  try {
    return { json: JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)), bytes: bytes.length };
  } catch {
    return notJson("it is not JSON in UTF-8");
  }
}

/** Looks at brackets outside of strings only: cheaper than parsing, and without its recursion. */
function deeperThan(bytes: Buffer, most: number): boolean {
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (quoted) {
      if (byte === 0x5c) at++;
      else if (byte === 0x22) quoted = false;
    } else if (byte === 0x22) quoted = true;
    else if (byte === 0x5b || byte === 0x7b) {
      depth++;
      if (depth > most) return true;
    } else if (byte === 0x5d || byte === 0x7d) depth--;
  }
  return false;
}

const notJson = (why: string): RpcRefusal => ({
  status: 400,
  code: PARSE_ERROR,
  message: `The message cannot be read: ${why}.`,
});

const tooLarge = (maxBytes: number): RpcRefusal => ({
  status: 413,
  code: INVALID_REQUEST,
  message: `The message is longer than ${maxBytes} bytes (max_body_bytes). Send less at a time.`,
});
