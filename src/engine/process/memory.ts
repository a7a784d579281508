import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";

/** How often a process that is at work is looked at. */
const WATCH_MS = 50;
/** The same where looking takes a process of its own. */
const SLOW_WATCH_MS = 500;
const PAGE_BYTES = 4096;

/** Bytes that a process has in memory; undefined when it has ended or the system does not tell. */
export async function residentBytes(pid: number): Promise<number | undefined> {
  if (process.platform === "linux") {
    return pagesIn(await readFile(`/proc/${pid}/statm`, "latin1").catch(() => ""));
  }
  if (process.platform === "win32") return undefined;
  return new Promise((resolve) => {
    execFile("ps", ["-o", "rss=", "-p", String(pid)], (error, stdout) => {
      const kib = Number.parseInt(stdout, 10);
      resolve(error || !Number.isFinite(kib) ? undefined : kib * 1024);
    });
  });
}

/** The same at once, where the system tells without delay. */
export function residentNow(pid: number): number | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    return pagesIn(readFileSync(`/proc/${pid}/statm`, "latin1"));
  } catch {
    return undefined;
  }
}

/** proc(5): size, resident, … in pages. */
function pagesIn(statm: string): number | undefined {
  const pages = Number(statm.split(" ")[1]);
  return Number.isFinite(pages) ? pages * PAGE_BYTES : undefined;
}

/** Calls `onMore` when a process has more than `maxBytes` in memory, until the returned function is called. */
export function watchMemory(pid: number, maxBytes: number, onMore: () => void): () => void {
  let looking = false;
  const timer = setInterval(
    async () => {
      if (looking) return;
      looking = true;
      const bytes = await residentBytes(pid);
      looking = false;
      if (bytes !== undefined && bytes > maxBytes) onMore();
    },
    process.platform === "linux" ? WATCH_MS : SLOW_WATCH_MS,
  );
  return () => clearInterval(timer);
}
