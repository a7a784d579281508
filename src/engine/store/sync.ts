import { open } from "node:fs/promises";
import { dirname } from "node:path";

const MAX_REMEMBERED_FOLDERS = 50_000;

export async function syncFile(path: string): Promise<void> {
  // Syncing needs write access on Windows, and only there.
  const handle = await open(path, process.platform === "win32" ? "r+" : "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  // Windows cannot open a folder for this, and journals its entries itself.
  if (process.platform !== "win32") await syncFile(path);
}

/** Makes the name of `folder` durable, and those of the folders above it, up to that of `first`. */
export async function syncNames(folder: string, first: string): Promise<void> {
  const last = dirname(first);
  for (let parent = folder; parent !== last; ) {
    parent = dirname(parent);
    await syncFolder(parent);
  }
}

/**
 * Syncs a folder within `root`, and the first time also the folders above it: another process may have created them
 * without having synced them yet.
 */
export function openFolderSync(root: string): (folder: string, isNew: boolean) => Promise<void> {
  const durable = new Set<string>();
  return async (folder, isNew) => {
    await syncFolder(folder);
    if (!isNew && durable.has(folder)) return;
    for (let parent = folder; parent !== root; ) {
      parent = dirname(parent);
      await syncFolder(parent);
    }
    if (durable.size >= MAX_REMEMBERED_FOLDERS) durable.clear();
    durable.add(folder);
  };
}
