import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";

/** How often the memory of a busy process is read. */
const WATCH_MS = 50;
/** The same where reading it means starting `ps`. */
const SLOW_WATCH_MS = 500;
const PAGE_BYTES = 4096;

/** Resident memory of a process; undefined when it has ended or the system does not report it. */
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

/** The same synchronously, where the system reports it without delay. */
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

/** Calls `onExceeded` whenever a process is seen with more than `maxBytes` resident, until the returned function is called. */
export function watchMemory(pid: number, maxBytes: number, onExceeded: () => void): () => void {
  let reading = false;
  const timer = setInterval(
    async () => {
      if (reading) return;
      reading = true;
      const bytes = await residentBytes(pid);
      reading = false;
      if (bytes !== undefined && bytes > maxBytes) onExceeded();
    },
    process.platform === "linux" ? WATCH_MS : SLOW_WATCH_MS,
  );
  return () => clearInterval(timer);
}
