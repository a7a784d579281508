import { hash } from "node:crypto";

const DIGEST_BYTES = 32;
/** Footer length and magic. https://parquet.apache.org/docs/file-format/ */
const TAIL_BYTES = 8;

/**
 * Inserts a SHA-256 of the whole Parquet file between its pages and its footer, where readers do not look: they find pages
 * by offset from the start, and the footer from the end. So damage is detected before anything is parsed, and the file
 * is still valid Parquet.
 */
export function seal(parquet: Uint8Array): Uint8Array {
  const footer = footerStart(parquet);
  if (footer === undefined) throw new RangeError("not a Parquet file");
  return Buffer.concat([parquet.subarray(0, footer), digest(parquet, footer, footer), parquet.subarray(footer)]);
}

/** Whether `sealed` is, byte for byte, what `seal` returned. */
export function isIntact(sealed: Uint8Array): boolean {
  const footer = footerStart(sealed);
  if (footer === undefined || footer < DIGEST_BYTES) return false;
  const found = sealed.subarray(footer - DIGEST_BYTES, footer);
  return digest(sealed, footer - DIGEST_BYTES, footer).equals(found);
}

function digest(bytes: Uint8Array, end: number, start: number): Buffer {
  return hash("sha256", Buffer.concat([bytes.subarray(0, end), bytes.subarray(start)]), "buffer");
}

function footerStart(parquet: Uint8Array): number | undefined {
  if (parquet.length < TAIL_BYTES) return undefined;
  const length = new DataView(parquet.buffer, parquet.byteOffset).getUint32(parquet.length - TAIL_BYTES, true);
  const start = parquet.length - TAIL_BYTES - length;
  return start < 0 ? undefined : start;
}
