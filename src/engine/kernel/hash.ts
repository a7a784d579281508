import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import type { IHasher } from "hash-wasm";
import { LakeError, lakehouseClosed } from "./errors.ts";
import type { Scope } from "./scope.ts";

export interface Hasher {
  /**
   * `xxh128:<hex>` over the file's bytes and then `suffix`. Not cryptographic, and picked for speed (seven times that of
   * SHA-256 where the CPU has no instructions for it): it answers "is this the same file again?" for somebody who may
   * read the file anyway. Who makes two files with one hash on purpose gets "unchanged" for the second; no data of
   * others is within reach. What is stored is named by SHA-256.
   */
  source(path: string, suffix: string): Promise<string>;
  /** Hex. */
  sha256(path: string): Promise<string>;
}

interface Reply {
  id: number;
  hex?: string;
  error?: string;
}

type Algorithm = "xxh128" | "sha256";

const require = createRequire(import.meta.url);
/** Loaded by the first hash, and by `require`: an import reads its half megabyte twice. */
const library = (): typeof import("hash-wasm") => require("hash-wasm");

/** Up to so many bytes a file is hashed here, in a millisecond or two; a thread takes longer to be told. */
const SMALL_BYTES = 512 * 1024;

/** Plain JavaScript in a string, since a worker loads no TypeScript: the tests run the sources as they are. */
const WORKER = `
const { createHash } = require("node:crypto");
const { openSync, readSync, closeSync } = require("node:fs");
const { parentPort, workerData } = require("node:worker_threads");
const buffer = Buffer.allocUnsafeSlow(1 << 20);
function updateFrom(path, hash) {
  const file = openSync(path, "r");
  try {
    for (let read; (read = readSync(file, buffer, 0, buffer.length, null)) > 0; ) hash.update(buffer.subarray(0, read));
  } finally {
    closeSync(file);
  }
}
async function digest({ algorithm, path, suffix }) {
  const hash = algorithm === "sha256" ? createHash("sha256") : (await require(workerData).createXXHash128()).init();
  updateFrom(path, hash);
  hash.update(suffix);
  return hash.digest("hex");
}
parentPort.on("message", (job) => {
  digest(job).then(
    (hex) => parentPort.postMessage({ id: job.id, hex }),
    (error) => parentPort.postMessage({ id: job.id, error: error.code ?? "unknown" }),
  );
});
`;

/**
 * Hashes files: small ones at once, others in a worker thread, one after the other. The thread starts with the first
 * large file, and ends with the scope; then what is pending rejects.
 */
export function openHasher(scope: Scope): Hasher {
  const waiting = new Map<number, (reply: Reply) => void>();
  let worker: Worker | undefined;
  let jobs = 0;
  let closed = false;
  const fail = (): void => {
    worker = undefined;
    for (const [id, settle] of waiting) settle({ id, error: "stopped" });
  };
  scope.defer(async () => {
    closed = true;
    await worker?.terminate();
  });

  function started(): Worker {
    if (worker) return worker;
    worker = new Worker(WORKER, { eval: true, workerData: require.resolve("hash-wasm") });
    worker.on("message", (reply: Reply) => waiting.get(reply.id)?.(reply));
    worker.on("error", fail);
    worker.on("exit", fail);
    worker.unref();
    return worker;
  }

  function hashThere(algorithm: Algorithm, path: string, suffix: string): Promise<string> {
    const id = jobs++;
    return new Promise((done, failed) => {
      waiting.set(id, ({ hex, error }) => {
        waiting.delete(id);
        if (waiting.size === 0) worker?.unref();
        if (hex !== undefined) done(hex);
        else failed(unreadable(error ?? "unknown"));
      });
      const thread = started();
      thread.ref();
      thread.postMessage({ id, algorithm, path, suffix });
    });
  }

  async function hash(algorithm: Algorithm, path: string, suffix: string): Promise<string> {
    if (closed) throw lakehouseClosed();
    const { size } = await stat(path).catch(failed);
    if (size > SMALL_BYTES) return hashThere(algorithm, path, suffix);
    const bytes = await readFile(path).catch(failed);
    if (algorithm === "sha256") return createHash("sha256").update(bytes).update(suffix).digest("hex");
    return (await library().createXXHash128()).init().update(bytes).update(suffix).digest("hex");
  }

  return {
    source: async (path, suffix) => `xxh128:${await hash("xxh128", path, suffix)}`,
    sha256: (path) => hash("sha256", path, ""),
  };
}

function failed(error: NodeJS.ErrnoException): never {
  throw unreadable(error.code ?? "unknown");
}

function unreadable(code: string): LakeError {
  return new LakeError("unavailable", `A file could not be hashed: ${code}.`, { hint: "Try again." });
}

/** Ready to use: `init`, `update`, `digest`. */
export function openXxh64(): Promise<IHasher> {
  return library().createXXHash64();
}
