import type { Readable } from "node:stream";

const NEWLINE = 0x0a;
/** Searched at both ends of a message: clients write the id of a request first or last. */
const SEARCHED_BYTES = 1024;

/**
 * The lines of `input`. Chunks of a long line are joined once, at its end: joining them one by one takes minutes. More is
 * read only after the consumer is done with a line. A line of more than `maxBytes` is skipped and reported to `onTooLong`,
 * with the id of the request where it is found.
 */
export async function* wholeLines(
  input: Readable,
  maxBytes: number,
  onTooLong: (id: string | number | undefined) => void,
): AsyncGenerator<Buffer, void> {
  let parts: Buffer[] = [];
  let bytes = 0;
  /** The two ends of a line that is too long. */
  let ends: { head: Buffer; tail: Buffer } | undefined;

  const add = (piece: Buffer): void => {
    bytes += piece.length;
    if (ends) {
      ends.tail = Buffer.concat([ends.tail, piece.subarray(-SEARCHED_BYTES)]).subarray(-SEARCHED_BYTES);
      return;
    }
    parts.push(piece);
    if (bytes <= maxBytes) return;
    const head = Buffer.from(parts[0]?.subarray(0, SEARCHED_BYTES) ?? "");
    ends = { head, tail: Buffer.from(piece.subarray(-SEARCHED_BYTES)) };
    parts = [];
  };

  for await (const chunk of input as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      add(chunk.subarray(start, end + 1));
      start = end + 1;
      if (ends) onTooLong(idBetween(ends.head, ends.tail));
      const [only] = parts;
      const line = parts.length === 1 ? only : Buffer.concat(parts, parts.length === 0 ? 0 : bytes);
      parts = [];
      bytes = 0;
      ends = undefined;
      if (line !== undefined && line.length > 0) yield line;
    }
    if (start < chunk.length) add(chunk.subarray(start));
  }
}

/** The id of the request in a line, without parsing it. */
export function requestId(line: Buffer): string | number | undefined {
  return idBetween(line.subarray(0, SEARCHED_BYTES), line.subarray(-SEARCHED_BYTES));
}

function idBetween(head: Buffer, tail: Buffer): string | number | undefined {
  const id = '"id"\\s*:\\s*(?:"([^"\\\\]{1,200})"|(-?\\d{1,15}))';
  const found =
    new RegExp(`${id}\\s*\\}\\s*$`).exec(tail.toString("utf8")) ??
    new RegExp(`^\\s*\\{(?:\\s*"jsonrpc"\\s*:\\s*"2.0"\\s*,)?\\s*${id}`).exec(head.toString("utf8"));
  const [, text, digits] = found ?? [];
  return text ?? (digits === undefined ? undefined : Number(digits));
}
