import { execFile } from "node:child_process";
import { mkdtemp, open, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Scope } from "../../src/engine/kernel/scope.ts";

const run = promisify(execFile);

export interface SmallDisk {
  folder: string;
  /** Fills it until only so many bytes are free. */
  leave(bytes: number): Promise<void>;
  /** Takes away what fills it. */
  free(): Promise<void>;
  readOnly(yes: boolean): Promise<void>;
}

/** A real file system of its own, which can really be full. Only root may mount one: anybody else's test fails here. */
export async function openSmallDisk(scope: Scope, bytes: number): Promise<SmallDisk> {
  const folder = await mkdtemp(join(tmpdir(), "lakehouse-small-"));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  await run("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "lakehouse-test", folder]).catch((error: unknown) => {
    throw new Error("This test needs a small file system of its own, which only root may mount (CAP_SYS_ADMIN).", {
      cause: error,
    });
  });
  scope.defer(async () => void (await run("umount", ["--lazy", folder])));
  const ballast = join(folder, "ballast");
  const freeBytes = async (): Promise<number> => {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  };
  const free = (): Promise<void> => rm(ballast, { force: true });
  return {
    folder,
    free,
    leave: async (wanted) => {
      await free();
      const handle = await open(ballast, "wx");
      try {
        for (let left = (await freeBytes()) - wanted; left > 0; left -= 2 ** 20) {
          await handle.write(Buffer.alloc(Math.min(left, 2 ** 20)));
        }
      } finally {
        await handle.close();
      }
    },
    readOnly: async (yes) => void (await run("mount", ["-o", `remount,${yes ? "ro" : "rw"}`, folder])),
  };
}
