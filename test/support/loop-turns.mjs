// Loaded into a server under test on Linux: on SIGUSR2 it says how much CPU time the longest turn of its event loop took
// since the last time. Time of that thread alone: others who work on the machine do not count.
import { openSync, readSync } from "node:fs";
import { isMainThread } from "node:worker_threads";

if (isMainThread) {
  const stat = openSync(`/proc/self/task/${process.pid}/schedstat`, "r");
  const bytes = Buffer.alloc(64);
  const now = () => Number(bytes.toString("latin1", 0, readSync(stat, bytes, 0, 64, 0)).split(" ")[0]) / 1e6;
  let last = now();
  let longest = 0;
  const turn = () => {
    const end = now();
    longest = Math.max(longest, end - last);
    last = end;
    setImmediate(turn).unref();
  };
  setImmediate(turn).unref();
  process.on("SIGUSR2", () => {
    process.stderr.write(`${JSON.stringify({ message: "longest turn", ms: longest })}\n`);
    longest = 0;
    last = now();
  });
}
