import { readdir, readFile } from "node:fs/promises";

/** What a process and those that it started have used so far (Linux; nothing elsewhere). */
export interface TreeUse {
  /** Sum of the highest resident memory of each that is there, bytes. */
  peak: number;
  /** Processor time of all that are there, ms. */
  cpu: number;
}

/** A kernel's clock tick, ms: 100 a second on every Linux of today. */
const TICK_MS = 10;

export async function useOfTree(pid: number): Promise<TreeUse> {
  const parents = new Map<number, number>();
  for (const entry of await readdir("/proc").catch(() => [])) {
    const fields = /^\d+$/.test(entry) ? await statOf(Number(entry)) : undefined;
    if (fields) parents.set(Number(entry), Number(fields[1]));
  }
  const tree = [pid];
  for (const one of tree) tree.push(...[...parents].filter(([, parent]) => parent === one).map(([child]) => child));
  let peak = 0;
  let cpu = 0;
  for (const one of tree) {
    const fields = await statOf(one);
    const status = await readFile(`/proc/${one}/status`, "utf8").catch(() => "");
    peak += Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
    cpu += (Number(fields?.[11] ?? 0) + Number(fields?.[12] ?? 0)) * TICK_MS;
  }
  return { peak, cpu };
}

/** From the process's state on: what comes before is its name, which may hold anything. proc(5). */
async function statOf(pid: number): Promise<string[] | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
}
