import { readdirSync, readFileSync } from "node:fs";

/** Numbers of the processes that `pid` has started, those included that they have started (Linux). */
export function childrenOf(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      // The name, in parentheses, may hold anything.
      const [, , parent] = /\) (\S) (\d+)/.exec(readFileSync(`/proc/${entry}/stat`, "latin1")) ?? [];
      parents.set(Number(entry), Number(parent));
    } catch {
      // It has ended.
    }
  }
  const found = [...parents].filter(([, parent]) => parent === pid).map(([child]) => child);
  return [...found, ...found.flatMap(childrenOf)];
}
