#!/usr/bin/env node
import { homedir } from "node:os";
import { dirname, resolve } from "node:path";
import { parseArgs } from "node:util";
import {
  type Config,
  configSchema,
  defaultThreads,
  flagName,
  flagSettings,
  loadConfig,
  redacted,
  unknownSetting,
} from "./config.ts";
import { openEngine } from "./engine/engine.ts";
import { LakeError } from "./engine/errors.ts";
import { type EngineSettings, systemClock } from "./engine/settings.ts";
import { VERSION } from "./engine/version.ts";
import { openLog } from "./log.ts";
import { createServer } from "./server.ts";
import { serveStdio } from "./transport/stdio.ts";

/** A client sends its first requests at once; the heavy libraries load after they are answered. */
const WARM_UP_MS = 200;
/** A close that hangs must not keep the process alive. */
const CLOSE_MS = 5_000;

await main(process.argv.slice(2)).catch(fail);

async function main(argv: string[]): Promise<void> {
  const { flags, file, command, help, version, printConfig } = parseFlags(argv);
  if (help) return print(usage());
  if (version) return print(VERSION);
  const cwd = process.cwd();
  const { config, file: configFile } = loadConfig({ flags, env: process.env, cwd, file });
  if (printConfig) return print(JSON.stringify({ ...redacted(config), allow: config.allow ?? ["."] }, null, 2));
  if (command !== "stdio") {
    throw new LakeError("invalid", `Unknown command ${command}.`, {
      hint: "Leave it out to serve over stdio; see --help.",
    });
  }

  const log = openLog(config.log_level);
  const engine = await openEngine(engineSettings(config, cwd, log));
  log("info", "serving over stdio", { version: VERSION, data: config.data, config: configFile ?? "defaults" });
  const trustRoots = config.allow === undefined;
  const session = serveStdio((request) => createServer({ engine, log, trustRoots }, request), log);
  const warmUp = setTimeout(() => void engine.warm(), WARM_UP_MS);

  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void session.close());
  await session.closed;
  clearTimeout(warmUp);
  const giveUp = setTimeout(() => end(log, "closing took too long"), CLOSE_MS);
  await engine.close();
  clearTimeout(giveUp);
  if (engine.busy()) end(log, "closed, with a statement that does not stop");
  log("info", "closed");
  process.exit(0);
}

/** An orderly exit waits for native threads, one of which would never come: everything acknowledged is on disk already. */
function end(log: EngineSettings["log"], message: string): void {
  log("warn", message);
  process.kill(process.pid, "SIGKILL");
}

function engineSettings(config: Config, cwd: string, log: EngineSettings["log"]): EngineSettings {
  return {
    data: config.data === "memory" ? "memory" : resolve(cwd, config.data),
    allow: config.allow?.map((folder) => resolve(cwd, folder)) ?? defaultRoots(cwd, log),
    maxIngestBytes: config.max_ingest_bytes,
    maxIngestRows: config.max_ingest_rows,
    ingestTimeoutMs: config.ingest_timeout,
    ingestMemoryBytes: config.ingest_memory,
    queryMemoryBytes: config.query_memory,
    maxTempBytes: config.max_temp_bytes,
    threads: config.threads ?? defaultThreads(),
    queryTimeoutMs: config.query_timeout,
    maxConcurrentIngests: config.max_concurrent_ingests,
    maxConcurrentQueries: config.max_concurrent_queries,
    maxQueuedQueries: config.max_queued_queries,
    maxResultBytes: config.max_result_bytes,
    refreshMs: config.refresh,
    embed: {
      provider: config.embed_provider,
      model: config.embed_model,
      dimension: config.embed_dimension,
      ollamaUrl: config.ollama_url,
      openaiUrl: config.openai_url,
      openaiApiKey: config.openai_api_key,
      queryPrefix: config.embed_query_prefix,
      documentPrefix: config.embed_document_prefix,
      truncate: config.embed_long_texts === "cut",
      timeoutMs: config.embed_timeout,
      concurrency: config.embed_concurrency,
      cacheBytes: config.embed_cache_bytes,
    },
    vector: {
      memoryBytes: config.vector_memory,
      threads: config.vector_threads ?? Math.min(4, config.threads ?? defaultThreads()),
      ef: config.vector_ef,
      hnsw: config.vector_search === "hnsw",
      quietMs: config.vector_quiet,
    },
    clock: systemClock,
    log,
  };
}

/** The working directory, but not where a desktop starts its programs: nobody meant to offer the whole disk or home. */
function defaultRoots(cwd: string, log: EngineSettings["log"]): string[] {
  if (dirname(cwd) !== cwd && cwd !== homedir()) return [cwd];
  log("warn", "no folder is allowed for ingest: name one with --allow DIR", { cwd });
  return [];
}

function parseFlags(argv: string[]) {
  const known = ["config", "help", "version", "print-config"];
  const options = {
    ...Object.fromEntries(
      flagSettings.map((name) => [flagName(name).slice(2), { type: "string" as const, multiple: name === "allow" }]),
    ),
    config: { type: "string" as const },
    help: { type: "boolean" as const, short: "h" },
    version: { type: "boolean" as const, short: "v" },
    "print-config": { type: "boolean" as const },
  };
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({ args: argv, options, allowPositionals: true });
  } catch (error) {
    const [, unknown] = /Unknown option '(--?[^']+)'/.exec(String(error)) ?? [];
    if (unknown !== undefined)
      throw unknownSetting(
        unknown,
        Object.keys(options).map((name) => `--${name}`),
      );
    throw new LakeError("invalid", error instanceof Error ? error.message : String(error), { hint: "See --help." });
  }
  const { values, positionals } = parsed;
  const flags = Object.fromEntries(
    Object.entries(values)
      .filter(([name]) => !known.includes(name))
      .map(([name, value]) => [name.replaceAll("-", "_"), value as string | string[]]),
  );
  return {
    flags,
    file: values.config as string | undefined,
    command: positionals[0] ?? "stdio",
    help: values.help === true,
    version: values.version === true,
    printConfig: values["print-config"] === true,
  };
}

function usage(): string {
  const width = Math.max(...flagSettings.map((name) => flagName(name).length)) + 2;
  const settings = flagSettings.map(
    (name) => `  ${flagName(name).padEnd(width)}${configSchema.shape[name].description}`,
  );
  return `lakehouse-mcp ${VERSION}: a lakehouse for LLM agents, as an MCP server.

Usage: lakehouse-mcp [options]        serve one client over stdin and stdout

  ${"--config FILE".padEnd(width)}Settings file (default ./lakehouse.toml, when there is one).
  ${"--print-config".padEnd(width)}Show the settings in force and exit.
  ${"--help, --version".padEnd(width)}

Settings (also in lakehouse.toml, and as LAKEHOUSE_* in the environment):
${settings.join("\n")}`;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Nothing is served yet: one readable sentence, on the stream a person reads. */
function fail(error: unknown): void {
  const known = error instanceof LakeError;
  process.stderr.write(`lakehouse-mcp: ${known ? error.message : "could not start."}\n`);
  if (known && error.hint !== undefined) process.stderr.write(`${error.hint}\n`);
  if (!known) process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = known ? 2 : 1;
}
