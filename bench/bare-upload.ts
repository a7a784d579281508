import { createWriteStream } from "node:fs";
import { unlink } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

/** The least that receives a file and has it on disk: a stream into a file, synced at its end. */

const folder = process.argv[2] ?? "";
const server = createServer(async (request, response) => {
  const path = join(folder, "upload");
  await pipeline(request, createWriteStream(path, { flush: true }));
  response.end();
  await unlink(path);
});
server.listen(0, "127.0.0.1", () => {
  // In the words of the server it stands beside.
  process.stderr.write(`${JSON.stringify({ message: "listening", address: `127.0.0.1:${port()}` })}\n`);
});

function port(): number {
  return (server.address() as AddressInfo).port;
}
