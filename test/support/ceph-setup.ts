import type { TestProject } from "vitest/node";
import { startCeph } from "./ceph.ts";

declare module "vitest" {
  interface ProvidedContext {
    s3Endpoint: string;
  }
}

/** One server for all files of the project. `LAKEHOUSE_TEST_S3` names one that runs already. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const running = process.env.LAKEHOUSE_TEST_S3;
  const ceph = running ? { endpoint: running, stop: async () => undefined } : await startCeph();
  project.provide("s3Endpoint", ceph.endpoint);
  return ceph.stop;
}
