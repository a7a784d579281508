import { Socket } from "node:net";
import { loadDuckDB } from "../duckdb/duckdb.ts";
import { type Handler, serve } from "./serve.ts";

// The program of a worker process: see `launch.ts` for what it may do, `processes.ts` for who calls it.

/** By the part of a method's name before the dot. Loaded when first called: each brings a library of its own. */
const ROOMS: Record<string, () => Promise<Readonly<Record<string, Handler>>>> = {
  duck: async () => (await import("../duckdb/duck-calls.ts")).calls,
  ingest: async () => (await import("../ingest/conversion-calls.ts")).calls,
};

// A terminal and a service manager signal the whole group: this process ends when whoever started it does, or says so.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);

// Every call needs the library. If it cannot be loaded, the call says so.
loadDuckDB().catch(() => undefined);

serve(new Socket({ fd: 3 }), async (method) => {
  const handlers = await ROOMS[method.split(".", 1)[0] ?? ""]?.();
  const handler = handlers?.[method];
  if (!handler) throw new Error(`There is no method ${method}.`);
  return handler;
});
