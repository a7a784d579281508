import { createRequire } from "node:module";

/**
 * True where hnswlib-node could not be compiled: what needs it is skipped there, since it is optional for users too. Never
 * in CI, which is to say that it works.
 */
export const WITHOUT_HNSW = !isInstalled() && process.env.CI === undefined;

function isInstalled(): boolean {
  try {
    createRequire(import.meta.url)("hnswlib-node");
    return true;
  } catch {
    return false;
  }
}
