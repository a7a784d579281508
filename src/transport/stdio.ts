import { Writable } from "node:stream";
import type { McpServerFactory } from "@modelcontextprotocol/server";
import { StdioServerTransport, serveStdio as serve } from "@modelcontextprotocol/server/stdio";
import type { Log } from "../engine/settings.ts";
import { wholeLines } from "./lines.ts";

export interface StdioSession {
  /** Resolves when the client has closed its end, or after `close`. */
  closed: Promise<void>;
  close(): Promise<void>;
}

/** One message may be this large: inline text for `ingest` has to fit, escaped as JSON. */
const MAX_MESSAGE_BYTES = 40 * 2 ** 20;

/** Serves one client over stdin and stdout. From here on only the protocol writes to stdout; what others print goes to stderr. */
export function serveStdio(createServer: McpServerFactory, log: Log): StdioSession {
  const wire = claimStdout();
  const lines = wholeLines(process.stdin, MAX_MESSAGE_BYTES, (id) => {
    log("warn", "a message was too long", { id });
    const message = `The message is longer than ${MAX_MESSAGE_BYTES} bytes. Write the data to a file and use path, or send fewer items in a call.`;
    if (id !== undefined) wire.write(`${JSON.stringify({ jsonrpc: "2.0", id, error: { code: -32600, message } })}\n`);
  });
  const transport = new StdioServerTransport(lines, wire, { maxBufferSize: 2 * MAX_MESSAGE_BYTES });
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
