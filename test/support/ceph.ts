import { execFile } from "node:child_process";
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

/** Starts a real S3 server of one's own, on free ports. Throws with its log when it does not start. */
export async function startCeph(): Promise<Ceph> {
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

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
