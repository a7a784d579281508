import { once } from "node:events";
import { type Readable, Writable } from "node:stream";
import {
  type JSONRPCMessage,
  type McpServerFactory,
  ProtocolErrorCode,
  parseJSONRPCMessage,
  serializeMessage,
  type Transport,
} from "@modelcontextprotocol/server";
import { serveStdio as serve } from "@modelcontextprotocol/server/stdio";
import type { Log } from "../engine/settings.ts";
import { requestId, wholeLines } from "./lines.ts";
import { MessageError, parseMessage } from "./message.ts";

export interface StdioSession {
  /** Resolves when the client has closed its end, or after `close()`. */
  closed: Promise<void>;
  close(): Promise<void>;
}

/** Inline text of `ingest` has to fit, escaped as JSON. */
const MAX_MESSAGE_BYTES = 40 * 2 ** 20;

/**
 * Serves one client over stdin and stdout. From now on only the protocol writes to stdout; other output goes to stderr.
 * `onMessage` is called for every message of either side.
 */
export function serveStdio(createServer: McpServerFactory, log: Log, onMessage: () => void): StdioSession {
  const transport = openTransport(process.stdin, claimStdout(), log, onMessage);
  const { promise: closed, resolve } = withResolvers();
  const handle = serve(createServer, {
    transport,
    onerror: (error) => log("warn", "protocol error", { error: error.message }),
  });
  const onclose = transport.onclose;
  transport.onclose = () => {
    onclose?.();
    resolve();
  };
  return {
    closed,
    close: async () => {
      await handle.close();
      resolve();
    },
  };
}

/** Instead of the SDK's transport, which parses numbers inexactly. */
function openTransport(input: Readable, wire: Writable, log: Log, onMessage: () => void): Transport {
  let isClosed = false;
  const write = async (text: string): Promise<void> => {
    if (isClosed || wire.destroyed) throw new Error("The client is gone.");
    onMessage();
    if (!wire.write(text)) await once(wire, "drain");
  };
  const refuse = (
    id: string | number | undefined,
    message: string,
    code: number = ProtocolErrorCode.InvalidRequest,
  ): void => {
    if (id === undefined) return;
    const error = { code, message };
    // The client is gone.
    void write(`${JSON.stringify({ jsonrpc: "2.0", id, error })}\n`).catch(() => {});
  };
  const read = async (line: Buffer): Promise<JSONRPCMessage | undefined> => {
    try {
      return parseJSONRPCMessage(await parseMessage(line));
    } catch (error) {
      if (error instanceof MessageError) {
        const id = error.id ?? requestId(line);
        log("warn", "a message is refused", { id, reason: error.message });
        refuse(id, error.message, error.code);
      } else if (line.length > 1) transport.onerror?.(new Error("A line is no message of JSON-RPC."));
      return undefined;
    }
  };
  const readAll = async (): Promise<void> => {
    const lines = wholeLines(input, MAX_MESSAGE_BYTES, (id) => {
      log("warn", "a message was too long", { id });
      refuse(
        id,
        `The message is longer than ${MAX_MESSAGE_BYTES} bytes. Write the data to a file and use path, or send fewer items in a call.`,
      );
    });
    for await (const line of lines) {
      const message = await read(line);
      if (isClosed) return;
      if (message === undefined) continue;
      onMessage();
      transport.onmessage?.(message);
    }
  };
  const transport: Transport = {
    start: async () => {
      wire.on("error", () => void transport.close());
      void readAll()
        .catch((error: Error) => isClosed || transport.onerror?.(error))
        .finally(() => void transport.close());
    },
    send: (message) => write(serializeMessage(message)),
    close: async () => {
      if (isClosed) return;
      isClosed = true;
      input.destroy();
      transport.onclose?.();
    },
  };
  return transport;
}

function claimStdout(): Writable {
  const write = process.stdout.write.bind(process.stdout) as (
    chunk: Uint8Array,
    callback: (error?: Error | null) => void,
  ) => boolean;
  process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;
  const wire = new Writable({ write: (chunk, _encoding, callback) => void write(chunk, callback) });
  process.stdout.on("error", (error) => wire.destroy(error));
  return wire;
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
