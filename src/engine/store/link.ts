import { link } from "node:fs/promises";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { next, setting } from "../kernel/next-step.ts";

/**
 * Gives a file the name `to` too; false when that is taken, which `rename` would replace. Throws `denied` where the file
 * system has no hard links; `needed` says for what they are.
 */
export async function linkNew(from: string, to: string, needed: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    if (!hasCode(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS")) throw error;
    throw new LakeError("denied", `the file system has no hard links, which ${needed}`, {
      hint: next`Point ${setting("data")} to a folder on a local disk.`,
      cause: error,
    });
  }
}
