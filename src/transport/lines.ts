import { PassThrough, type Readable } from "node:stream";

const NEWLINE = 0x0a;
/** Where the id of a request stands, when its method or its arguments do not come first. */
const SEARCHED_BYTES = 4096;

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
  let head: Buffer | undefined;

  const endLine = (): void => {
    if (head) onTooLong(requestId(head));
    else output.write(parts.length === 1 ? parts[0] : Buffer.concat(parts, bytes));
    parts = [];
    bytes = 0;
    head = undefined;
  };
  const add = (piece: Buffer): void => {
    bytes += piece.length;
    if (head) return;
    parts.push(piece);
    if (bytes <= maxBytes) return;
    head = Buffer.concat(parts.slice(0, 2)).subarray(0, SEARCHED_BYTES);
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

function requestId(head: Buffer): string | number | undefined {
  const [, text, digits] = /"id"\s*:\s*(?:"([^"\\]{1,200})"|(-?\d{1,15}))/.exec(head.toString("utf8")) ?? [];
  return text ?? (digits === undefined ? undefined : Number(digits));
}
