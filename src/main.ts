#!/usr/bin/env node
import { homedir } from "node:os";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import {
  type Config,
  configSchema,
  flagName,
  flagSettings,
  LISTS,
  loadConfig,
  redacted,
  unknownSetting,
} from "./config.ts";
import { type Engine, openEngine } from "./engine/engine.ts";
import { LakeError } from "./engine/errors.ts";
import type { Log } from "./engine/settings.ts";
import { VERSION } from "./engine/version.ts";
import { openLog } from "./log.ts";
import { tellOfChanges } from "./resources/register.ts";
import { createServer } from "./server.ts";
import { engineSettings, httpSettings } from "./settings.ts";
import { serveHttp } from "./transport/http.ts";
import { serveStdio } from "./transport/stdio.ts";

/** A client sends its first requests at once; the heavy libraries load after they are answered. */
const WARM_UP_MS = 200;
/** A close that hangs must not keep the process alive. */
const CLOSE_MS = 5_000;
/** What is under way when the server is told to stop has this long to end. */
const DRAIN_MS = 15_000;

// The S3 client warns of versions of it that will want a newer Node; ours is pinned, and stderr is a log of JSON lines.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";

const COMMANDS: Record<string, (start: Start) => Promise<void>> = { stdio, serve: http };

await main(process.argv.slice(2)).catch(fail);

async function main(argv: string[]): Promise<void> {
  const { flags, file, command, help, version, printConfig } = parseFlags(argv);
  if (help) return print(usage());
  if (version) return print(VERSION);
  const cwd = process.cwd();
  const { config, file: configFile } = loadConfig({ flags, env: process.env, cwd, file });
  if (printConfig) {
    const allow = config.allow ?? (command === "serve" ? [] : ["."]);
    return print(JSON.stringify({ ...redacted(config), allow }, null, 2));
  }
  const serve = Object.hasOwn(COMMANDS, command) ? COMMANDS[command] : undefined;
  if (!serve) {
    throw new LakeError("invalid", `Unknown command ${command}.`, {
      hint: "Use serve for HTTP, or leave it out to serve over stdio; see --help.",
    });
  }
  await serve({ config, cwd, log: openLog(config.log_level), from: configFile ?? "defaults" });
}

interface Start {
  config: Config;
  cwd: string;
  log: Log;
  /** Where the configuration comes from. */
  from: string;
}

async function stdio({ config, cwd, log, from }: Start): Promise<void> {
  const allow = config.allow ?? defaultRoots(cwd, log);
  const engine = await openEngine(engineSettings(config, cwd, allow, log));
  log("info", "serving over stdio", { version: VERSION, data: config.data, config: from });
  const trustRoots = config.allow === undefined;
  const session = serveStdio((request) => createServer({ engine, log, trustRoots }, request), log);
  const warmUp = setTimeout(() => void engine.warm(), WARM_UP_MS);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void session.close());
  await session.closed;
  clearTimeout(warmUp);
  await exit(engine, log);
}

async function http({ config, cwd, log, from }: Start): Promise<void> {
  // A client over HTTP is not the user of this machine: what it may read is said by whoever starts the server.
  if (config.allow === undefined) {
    log("info", "ingest reads no files of this machine: name a folder with --allow DIR to let clients load from it");
  }
  const settings = httpSettings(config, { cwd, env: process.env, log });
  const engine = await openEngine(engineSettings(config, cwd, config.allow ?? [], log));
  log("info", "serving over http", { version: VERSION, data: config.data, config: from });
  const server = await serveHttp({
    ...settings,
    createServer: ({ era, caller }) =>
      createServer({ engine, log, caller, trustRoots: false, notifies: era === "legacy" }, { era }),
    watch: (notifier) => tellOfChanges(engine, notifier),
  }).catch(async (error: unknown) => {
    await engine.close();
    throw error;
  });
  void engine.warm();
  // Not once: a terminal and npx both pass a Ctrl-C on, and the second must not cut off what the first lets end.
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => resolve());
  });
  await server.drain(DRAIN_MS);
  await exit(engine, log);
}

async function exit(engine: Engine, log: Log): Promise<never> {
  const giveUp = setTimeout(() => end(log, "closing took too long"), CLOSE_MS);
  await engine.close();
  clearTimeout(giveUp);
  if (engine.busy()) end(log, "closed, with a statement that does not stop");
  log("info", "closed");
  process.exit(0);
}

/** An orderly exit waits for native threads, one of which would never come: everything acknowledged is on disk already. */
function end(log: Log, message: string): void {
  log("warn", message);
  process.kill(process.pid, "SIGKILL");
}

/** The working directory, but not where a desktop starts its programs: nobody meant to offer the whole disk or home. */
function defaultRoots(cwd: string, log: Log): string[] {
  if (dirname(cwd) !== cwd && cwd !== homedir()) return [cwd];
  log("warn", "no folder is allowed for ingest: name one with --allow DIR", { cwd });
  return [];
}

function parseFlags(argv: string[]) {
  const known = ["config", "help", "version", "print-config"];
  const options = {
    ...Object.fromEntries(
      flagSettings.map((name) => [flagName(name).slice(2), { type: "string" as const, multiple: LISTS.has(name) }]),
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

Usage: lakehouse-mcp [options]          serve one client over stdin and stdout
       lakehouse-mcp serve [options]    serve many clients over HTTP

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
