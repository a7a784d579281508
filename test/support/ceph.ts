import { execFile } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdtemp } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

export interface Ceph {
  endpoint: string;
  stop(): Promise<void>;
}

export const CEPH_KEYS = { accessKeyId: "AK", secretAccessKey: "SK" };

/** Found from the repository's root, where tests and benchmarks run, compiled or not. */
const SCRIPT = join(process.cwd(), "test/support/ceph-rgw.sh");
const START_MS = 600_000;
/** Others may take its ports before it does. */
const ATTEMPTS = 2;

/** Starts a real S3 server of one's own, on free ports. Throws with its log when it does not start. */
export async function startCeph(): Promise<Ceph> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      process.stderr.write(`${(error as Error).message}\n`);
    }
  }
}

async function start(): Promise<Ceph> {
  const folder = await mkdtemp(join(tmpdir(), "lakehouse-ceph-run-"));
  const run = promisify(execFile);
  const stop = async (): Promise<void> => void (await run(SCRIPT, ["stop", folder]));
  const [port, monitor] = [await freePort(), await freePort()];
  try {
    await run(SCRIPT, ["start", folder, `${port}`, `${monitor}`], { timeout: START_MS });
  } catch (error) {
    await stop();
    const { stderr = "", message } = error as Error & { stderr?: string };
    throw new Error(`Ceph RGW, the S3 server of these tests, did not start:\n${stderr || message}`);
  }
  return { endpoint: `http://127.0.0.1:${port}`, stop };
}

/** Below those that the system gives to outgoing connections, of Ceph's own too. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_000);
    const server = createServer().listen(port, "127.0.0.1");
    const isFree = await once(server, "listening").then(
      () => true,
      () => false,
    );
    await new Promise((done) => server.close(done));
    if (isFree) return port;
  }
}
