import { Socket } from "node:net";
import { loadDuckDB } from "../duckdb/duckdb.ts";
import { type Handler, serve } from "./serve.ts";

// The program of a worker process. `launch.ts` limits its rights, `processes.ts` calls it.

/** Handlers by the part of a method's name before the dot. Loaded on first use: each needs a large library. */
const ROOMS: Record<string, () => Promise<Readonly<Record<string, Handler>>>> = {
  duck: async () => (await import("../duckdb/duck-calls.ts")).calls,
  ingest: async () => (await import("../ingest/conversion-calls.ts")).calls,
};

// Terminals and service managers signal the whole group; but this process ends only when its parent does, or kills it.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);

// Every call needs the library. If it cannot be loaded, the call says so.
loadDuckDB().catch(() => undefined);

serve(new Socket({ fd: 3 }), async (method) => {
  const handlers = await ROOMS[method.split(".", 1)[0] ?? ""]?.();
  const handler = handlers?.[method];
  if (!handler) throw new Error(`There is no method ${method}.`);
  return handler;
});
