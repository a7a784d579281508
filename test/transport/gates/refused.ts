import { LakeError } from "../../../src/engine/kernel/errors.ts";

/** The error that `run` throws; fails if it does not. */
export function refused(run: () => unknown): LakeError {
  try {
    run();
  } catch (error) {
    if (error instanceof LakeError) return error;
    throw error;
  }
  throw new Error("was not refused");
}
