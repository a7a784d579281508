import { stat } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, resolve } from "node:path";
import { closeEngine, endWithProcess } from "./cli/closing.ts";
import type { Config } from "./config/config.ts";
import { engineSettings, httpSettings, tracesEndpoint } from "./config/settings.ts";
import { type Engine, openEngine } from "./engine/engine.ts";
import { VERSION } from "./engine/kernel/package.ts";
import type { Log } from "./engine/settings.ts";
import { forwardChanges } from "./mcp/resources.ts";
import { createServer } from "./mcp/server.ts";
import type { Telemetry } from "./observability/telemetry.ts";
import { whyNotSubscribed } from "./resources/subscriptions.ts";
import type { HttpServer } from "./transport/http.ts";

/** A client sends its first requests at once; the heavy libraries load when it has been quiet for so long. */
const QUIET_MS = 200;
/** A client that is never quiet does not put it off for longer: it also takes up the jobs of an earlier server. */
const LATEST_MS = 5_000;
/** For the last traces; a collector that does not answer keeps nobody longer. */
const TRACES_MS = 1_500;
/** What is under way when the server is told to stop has this long to end. */
const DRAIN_MS = 15_000;
const LATELY_MS = 20;

export interface Start {
  config: Config;
  cwd: string;
  log: Log;
  /** Where the configuration comes from. */
  from: string;
}

/** Serves one client over stdin and stdout, until it leaves. */
export async function stdio({ config, cwd, log, from }: Start): Promise<void> {
  const allow = await foldersOf(config.allow ?? defaultRoots(cwd, log), cwd, log);
  const telemetry = await telemetryOf(log);
  const { trace } = telemetry ?? {};
  const { serveStdio } = await import("./transport/stdio.ts");
  const engine = await openEngine(engineSettings(config, cwd, allow, log, trace));
  endWithProcess(engine, log);
  log("info", "serving over stdio", { version: VERSION, data: config.data, config: from });
  const trustRoots = config.allow === undefined;
  const watch = { log, trace, traceArguments: config.trace_arguments === "on" };
  const warmUp = openWarmUp(engine);
  const session = serveStdio((request) => createServer({ ...watch, engine, trustRoots }, request), log, warmUp.delay);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => void session.close());
  await session.closed;
  warmUp.stop();
  await exit(engine, telemetry, log);
}

interface WarmUp {
  /** Puts it off: a client is asking, or was just answered. */
  delay(): void;
  stop(): void;
}

/**
 * Opens the catalog, then loads the libraries, each after a quiet while. Loading blocks the event loop, so a client that
 * asks for the next page of a list would wait for libraries that page does not need.
 */
function openWarmUp(engine: Engine): WarmUp {
  const steps = [() => engine.complete("").catch(() => undefined), () => engine.warm()];
  const latest = performance.now() + LATEST_MS;
  let isRunning = false;
  const timer = setTimeout(async () => {
    if (isRunning) return;
    isRunning = true;
    await steps.shift()?.();
    isRunning = false;
    if (steps.length > 0) timer.refresh();
  }, QUIET_MS);
  return {
    delay: () => {
      if (steps.length > 0 && performance.now() < latest) timer.refresh();
    },
    stop: () => clearTimeout(timer),
  };
}

/** Serves clients over HTTP, until a signal. */
export async function serve({ config, cwd, log, from }: Start): Promise<void> {
  const settings = httpSettings(config, { cwd, env: process.env, log });
  const telemetry = await telemetryOf(log);
  const { trace } = telemetry ?? {};
  const [{ serveHttp }, { isNamed }, { uploadRoutes }, { metricsRoute, openMetrics }] = await Promise.all([
    import("./transport/http.ts"),
    import("./transport/http-gates.ts"),
    import("./transport/uploads.ts"),
    import("./observability/metrics.ts"),
  ]);
  const engine = await openEngine(
    engineSettings(config, cwd, await foldersOf(config.allow ?? [], cwd, log), log, trace),
  );
  endWithProcess(engine, log);
  let server: HttpServer | undefined;
  const metrics = openMetrics({ engine, http: () => server?.status() });
  const watch = { log, trace, traceArguments: config.trace_arguments === "on", onCall: metrics.onCall };
  const isBusy = lately(() => engine.stats().queries.waiting > 0);
  const maxPerCaller = isNamed(settings.gates) ? settings.maxPerCaller : Number.POSITIVE_INFINITY;
  server = await serveHttp({
    ...settings,
    routes: {
      ...uploadRoutes({ uploads: engine.uploads, log, isBusy, maxPerCaller }),
      "/metrics": metricsRoute(metrics),
    },
    createServer: ({ era, caller, tool }) =>
      createServer({ ...watch, engine, caller, trustRoots: false, notifies: era === "legacy" }, { era, tool }),
    watch: (notifier) => forwardChanges(engine, notifier),
    whyNotSubscribed,
  }).catch(async (error: unknown) => {
    await engine.close();
    throw error;
  });
  // A client over HTTP is not the user of this machine: what it may read is said by whoever starts the server.
  if (config.allow === undefined) {
    log("info", "ingest reads no files of this machine: name a folder with --allow DIR to let clients load from it");
  }
  log("info", "serving over http", { version: VERSION, data: config.data, config: from });
  void engine.warm();
  // Not once: a terminal and npx both pass a Ctrl-C on, and the second must not cut off what the first lets end.
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve());
  });
  await server.drain(DRAIN_MS);
  await exit(engine, telemetry, log);
}

/** What `look` found within the last moments. */
function lately(look: () => boolean): () => boolean {
  let at = Number.NEGATIVE_INFINITY;
  let found = false;
  return () => {
    const now = performance.now();
    if (now - at > LATELY_MS) [at, found] = [now, look()];
    return found;
  };
}

/** Loaded only where it is asked for: it takes longer than everything else of a start. */
async function telemetryOf(log: Log): Promise<Telemetry | undefined> {
  const endpoint = tracesEndpoint(process.env, log);
  if (endpoint === undefined) return undefined;
  try {
    const { openTelemetry } = await import("./observability/telemetry.ts");
    return openTelemetry(endpoint, log);
  } catch (error) {
    // Variables that its own libraries refuse: what they are about is not what this server is for.
    log("warn", "no traces are sent", { error: error instanceof Error ? error.message : String(error) });
    return undefined;
  }
}

async function exit(engine: Engine, telemetry: Telemetry | undefined, log: Log): Promise<never> {
  await closeEngine(engine, log);
  await telemetry?.close(TRACES_MS);
  if (!engine.busy()) log("info", "closed");
  process.exit(0);
}

/** Says which of them are none: they may come to be. */
async function foldersOf(allow: string[], cwd: string, log: Log): Promise<string[]> {
  for (const folder of allow) {
    const found = await stat(resolve(cwd, folder)).catch(() => undefined);
    if (!found?.isDirectory())
      log("warn", "allowed for ingest, and no folder: create it, or correct allow", { folder });
  }
  return allow;
}

/** The working directory, but not where a desktop starts its programs: nobody meant to offer the whole disk or home. */
function defaultRoots(cwd: string, log: Log): string[] {
  if (dirname(cwd) !== cwd && cwd !== homedir()) return [cwd];
  log("warn", "no folder is allowed for ingest: name one with --allow DIR", { cwd });
  return [];
}
