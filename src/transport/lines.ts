import { PassThrough, type Readable } from "node:stream";

const NEWLINE = 0x0a;
/** Clients write the id of a request first or last. */
const SEARCHED_BYTES = 1024;

/**
 * The lines of `input`, each in one piece: a reader that joins a long message chunk by chunk takes minutes for what takes
 * milliseconds at once. A line of more than `maxBytes` is skipped, and told with its request's id where that is found.
 */
export function wholeLines(
  input: Readable,
  maxBytes: number,
  onTooLong: (id: string | number | undefined) => void,
): Readable {
  const output = new PassThrough({ highWaterMark: maxBytes });
  let parts: Buffer[] = [];
  let bytes = 0;
  /** Both ends of a line that is too long. */
  let ends: { head: Buffer; tail: Buffer } | undefined;

  const endLine = (): void => {
    if (ends) onTooLong(requestId(ends.head, ends.tail));
    else output.write(parts.length === 1 ? parts[0] : Buffer.concat(parts, bytes));
    parts = [];
    bytes = 0;
    ends = undefined;
  };
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

  input.on("data", (chunk: Buffer) => {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      add(chunk.subarray(start, end + 1));
      endLine();
      start = end + 1;
    }
    if (start < chunk.length) add(chunk.subarray(start));
  });
  input.on("end", () => output.end());
  input.on("error", (error) => output.destroy(error));
  return output;
}

function requestId(head: Buffer, tail: Buffer): string | number | undefined {
  const id = '"id"\\s*:\\s*(?:"([^"\\\\]{1,200})"|(-?\\d{1,15}))';
  const found =
    new RegExp(`${id}\\s*\\}\\s*$`).exec(tail.toString("utf8")) ??
    new RegExp(`^\\s*\\{(?:\\s*"jsonrpc"\\s*:\\s*"2.0"\\s*,)?\\s*${id}`).exec(head.toString("utf8"));
  const [, text, digits] = found ?? [];
  return text ?? (digits === undefined ? undefined : Number(digits));
}
