import type { IncomingMessage, ServerResponse } from "node:http";
import { isJsonContentType } from "@modelcontextprotocol/server";
import type { Refusal } from "./gates/refusal.ts";

/** Deeper than any argument of ours, and shallow enough for everything that walks a message recursively. */
const MAX_DEPTH = 100;
/** More than 10,000 items with vector and metadata have; 4 MiB of these would take a third of a second to parse. */
const MAX_CONTAINERS = 100_000;
/** Of one object. Everything that walks the members of a message has to do with as many. */
const MAX_MEMBERS = 10_000;
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
 * Returns undefined when the client went away. `turn` is awaited before what has come is parsed.
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
    // From here on the body is on its way.
    headers.expect = undefined;
  }
  const bytes = await readBytes(request, maxBytes, timeoutMs);
  await turn();
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
  const why = tooMuchIn(bytes);
  if (why !== undefined) return notJson(why);
  try {
    return { json: JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)), bytes: bytes.length };
  } catch {
    return notJson("it is not JSON in UTF-8");
  }
}

/**
 * What would keep the event loop: nothing, or why. Looks at brackets and colons outside of strings only: cheaper than
 * parsing, and without its recursion.
 */
function tooMuchIn(bytes: Buffer): string | undefined {
  /** Members of the object, at each depth. */
  const members = new Uint32Array(MAX_DEPTH + 1);
  let containers = 0;
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (quoted) {
      if (byte === 0x5c) at++;
      else if (byte === 0x22) quoted = false;
    } else if (byte === 0x22) quoted = true;
    else if (byte === 0x3a) {
      const count = (members[depth] ?? 0) + 1;
      if (count > MAX_MEMBERS) return `an object in it has more than ${MAX_MEMBERS} members`;
      members[depth] = count;
    } else if (byte === 0x5b || byte === 0x7b) {
      if (++depth > MAX_DEPTH) return `it is nested more than ${MAX_DEPTH} deep`;
      if (++containers > MAX_CONTAINERS) return `it has more than ${MAX_CONTAINERS} objects and arrays`;
      members[depth] = 0;
    } else if (byte === 0x5d || byte === 0x7d) depth = Math.max(0, depth - 1);
  }
  return undefined;
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
