import { link } from "node:fs/promises";
import { hasCode } from "../kernel/errors.ts";
import { next, setting } from "../kernel/next-step.ts";
import { FileRefusal } from "./file-errors.ts";

/**
 * Links a file to the new name `to`; false when that exists, which `rename` would replace. Throws a `FileRefusal` where
 * the file system has no hard links, which `needed`: "commits need".
 */
export async function linkNew(from: string, to: string, needed: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    if (!hasCode(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS")) throw error;
    const hint = next`Point ${setting("data")} to a folder on a local disk.`;
    throw new FileRefusal("denied", `the file system has no hard links, which ${needed}`, hint, error);
  }
}
