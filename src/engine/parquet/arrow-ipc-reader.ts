import { readSync } from "node:fs";
import { ArrowFormatError } from "./arrow-errors.ts";
import { type ArrowMessage, readFooter, readMessage } from "./arrow-ipc-format.ts";

export type LocatedMessage = ArrowMessage & { bodyOffset: number };

const FILE_MAGIC = "ARROW1";
const CONTINUATION = 0xffffffff;
const MAX_METADATA = 64 * 1024 ** 2;

/**
 * The messages of an Arrow file or stream without their bodies: schema, dictionaries, batches, in an order that can be
 * read front to back. Blocks; for a worker. Throws `ArrowFormatError` or `RangeError`.
 */
export function* readMessages(fd: number, size: number): Generator<LocatedMessage> {
  const begin = readAt(fd, 0, Math.min(8, size)).toString("latin1");
  if (begin.startsWith(FILE_MAGIC)) yield* readFileMessages(fd, size);
  else yield* readStreamMessages(fd, size);
}

/** By the footer: some writers put the schema nowhere else, and messages may lie in any order. */
function* readFileMessages(fd: number, size: number): Generator<LocatedMessage> {
  const tail = size >= 18 ? readAt(fd, size - 10, 10) : Buffer.alloc(10);
  if (tail.toString("latin1", 4) !== FILE_MAGIC) throw cutShort("the closing ARROW1 is missing");
  const length = tail.readUInt32LE();
  if (length > size - 18) throw cutShort("its footer is longer than the file");
  const { schema, dictionaries, batches } = readFooter(readAt(fd, size - 10 - length, length));
  yield { kind: "schema", schema, bodyOffset: 0, bodyLength: 0 };
  for (const offset of [...dictionaries, ...batches]) {
    const message = readMessageAt(fd, offset, size);
    if (!message) throw new ArrowFormatError("its footer points to nothing");
    yield message.located;
  }
}

/** A stream ends with a zero length, or with the last byte. */
function* readStreamMessages(fd: number, size: number): Generator<LocatedMessage> {
  for (let at = 0; at < size; ) {
    const message = readMessageAt(fd, at, size);
    if (!message) return;
    yield message.located;
    at = message.end;
  }
}

function readMessageAt(fd: number, at: number, size: number): { located: LocatedMessage; end: number } | undefined {
  if (at < 0 || at + 4 > size) throw cutShort();
  const word = readAt(fd, at, 4).readUInt32LE();
  // Before version 0.15 a message began with its length, without the continuation marker.
  const prefix = word === CONTINUATION ? 8 : 4;
  if (at + prefix > size) throw cutShort();
  const length = prefix === 8 ? readAt(fd, at + 4, 4).readUInt32LE() : word;
  if (length === 0) return undefined;
  if (length > MAX_METADATA || at + prefix + length > size) {
    throw at === 0 ? new ArrowFormatError("it does not begin like one") : cutShort();
  }
  const message = readMessage(readAt(fd, at + prefix, length));
  const bodyOffset = at + prefix + length;
  if (message.bodyLength < 0) throw new ArrowFormatError("a message has a negative length");
  const end = bodyOffset + message.bodyLength;
  if (end > size) throw cutShort();
  return { located: { ...message, bodyOffset }, end };
}

function cutShort(how?: string): ArrowFormatError {
  return new ArrowFormatError(`it is cut short${how === undefined ? "" : `: ${how}`}`);
}

export function readAt(fd: number, offset: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(Math.max(0, length));
  let filled = 0;
  while (filled < buffer.length) {
    const count = readSync(fd, buffer, filled, buffer.length - filled, offset + filled);
    if (count === 0) throw cutShort();
    filled += count;
  }
  return buffer;
}
