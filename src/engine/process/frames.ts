import type { Duplex } from "node:stream";

/** Longest message that one side accepts from the other; a longer one ends the connection. */
const MAX_FRAME_BYTES = 256 * 2 ** 20;
const HEADER_BYTES = 4;

export interface Frames {
  /** Queues one message. Resolves when the stream takes more: senders that wait for it keep the queue short. */
  send(body: Buffer): Promise<void>;
}

/**
 * Messages over a byte stream: four bytes of length, little-endian, then the body. `onFrame` gets each body, whole and in
 * order; `onEnd` is called once, when the stream has ended, failed, or announced a message that is too long.
 */
export function openFrames(stream: Duplex, onFrame: (body: Buffer) => void, onEnd: () => void): Frames {
  let parts: Buffer[] = [];
  let buffered = 0;
  let ended = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    stream.destroy();
    onEnd();
  };
  /** The next message, if all of it has arrived. */
  const next = (): Buffer | undefined => {
    if (buffered < HEADER_BYTES) return undefined;
    if ((parts[0]?.length ?? 0) < HEADER_BYTES) parts = [Buffer.concat(parts)];
    const length = parts[0]?.readUInt32LE(0) ?? 0;
    if (length > MAX_FRAME_BYTES) {
      end();
      return undefined;
    }
    const whole = HEADER_BYTES + length;
    if (buffered < whole) return undefined;
    const bytes = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    buffered -= whole;
    parts = buffered > 0 ? [bytes.subarray(whole)] : [];
    return bytes.subarray(HEADER_BYTES, whole);
  };
  stream.on("data", (chunk: Buffer) => {
    parts.push(chunk);
    buffered += chunk.length;
    for (let body = next(); body && !ended; body = next()) onFrame(body);
  });
  stream.on("end", end);
  stream.on("error", end);
  stream.on("close", end);
  return {
    send: (body) => {
      const header = Buffer.alloc(HEADER_BYTES);
      header.writeUInt32LE(body.length, 0);
      stream.cork();
      stream.write(header);
      const goesOn = stream.write(body);
      stream.uncork();
      if (goesOn || ended) return Promise.resolve();
      return new Promise((resolve) => {
        const done = (): void => {
          stream.off("drain", done);
          stream.off("close", done);
          resolve();
        };
        stream.on("drain", done);
        stream.on("close", done);
      });
    },
  };
}
