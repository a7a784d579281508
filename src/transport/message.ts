import { setImmediate } from "node:timers/promises";
import { parseExactInSlices } from "../engine/kernel/exact-json.ts";
import { JsonLimitError } from "../engine/kernel/json-limit-error.ts";

const LIMITS = {
  /** Deeper than any of our arguments, and safe for recursive code. */
  maxDepth: 100,
  /** As many as a statement may have parameters. */
  maxKeys: 10_000,
  /** Enough for 10,000 items with vector and metadata. */
  maxContainers: 100_000,
  /** Outside of the arguments, in what the SDK copies and traverses several times. */
  message: { maxKeys: 1_000 },
};

/** Longer than any of ours. Bounded, because the SDK repeats them in errors. */
const MAX_CHARS: Readonly<Record<string, number>> = { method: 128, name: 128, uri: 512, protocolVersion: 128, id: 200 };
const MAX_BATCH = 100;
/** Decoding this much takes less than a millisecond. */
const LONG_BYTES = 2 ** 20;

const PARSE_ERROR = -32700;
const INVALID_REQUEST = -32600;

/** A message that is not served. */
export class MessageError extends Error {
  /** The error code of JSON-RPC. */
  readonly code: number;
  /** The id of the request, where it is known. */
  readonly id: string | number | undefined;

  constructor(code: number, message: string, id?: string | number) {
    super(message);
    this.code = code;
    this.id = id;
  }
}

/**
 * Parses a message or a batch; numbers in the arguments of a call stay exact. Throws `MessageError` for a message beyond
 * the limits, and other errors for text that is not JSON.
 */
export async function parseMessage(bytes: Buffer): Promise<unknown> {
  const isLong = bytes.length > LONG_BYTES;
  // Receiving, decoding and parsing a long message are turns of the event loop of their own.
  if (isLong) await setImmediate();
  const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  if (isLong) await setImmediate();
  const message = await parseExactInSlices(text, LIMITS).catch((error) => {
    if (!(error instanceof JsonLimitError)) throw error;
    throw new MessageError(PARSE_ERROR, `The message cannot be read: ${error.message}.`);
  });
  const messages: unknown[] = Array.isArray(message) ? message : [message];
  if (messages.length > MAX_BATCH) {
    throw new MessageError(INVALID_REQUEST, `The message is refused: a batch has more than ${MAX_BATCH} messages.`);
  }
  for (const each of messages) assertShort(each);
  return message;
}

function assertShort(message: unknown): void {
  const { id, method, params } = fieldsOf(message);
  const { name, uri, protocolVersion, ref, _meta: meta } = fieldsOf(params);
  const of = fieldsOf(ref);
  const revision = fieldsOf(meta)["io.modelcontextprotocol/protocolVersion"];
  const found = [
    ["id", id],
    ["method", method],
    ["name", name],
    ["uri", uri],
    ["protocolVersion", protocolVersion],
    ["name", of.name],
    ["uri", of.uri],
    ["protocolVersion", revision],
  ] as const;
  for (const [field, value] of found) {
    const most = MAX_CHARS[field] ?? 0;
    if (typeof value !== "string" || value.length <= most) continue;
    const short = typeof id === "number" || (typeof id === "string" && field !== "id") ? id : undefined;
    const message = `The message is refused: its ${field} has ${value.length} characters, and may have ${most}.`;
    throw new MessageError(INVALID_REQUEST, message, short);
  }
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
