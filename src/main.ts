#!/usr/bin/env node
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Command, CommandHelp } from "./cli/command.ts";
import { parseCommandLine, unknownCommand } from "./cli/flags.ts";
import { commands } from "./cli/index.ts";
import { type Config, loadConfig, redacted } from "./config/config.ts";
import type { Engine } from "./engine/engine.ts";
import { LakeError } from "./engine/kernel/errors.ts";
import { VERSION } from "./engine/kernel/package.ts";
import type { Log } from "./engine/settings.ts";
import { openLog } from "./observability/log.ts";

// The S3 client warns of versions of it that will want a newer Node; ours is pinned, and stderr is a log of JSON lines.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";

/** They take settings only. What they need is loaded when they are asked for, so that the other commands start fast. */
const SERVERS: readonly CommandHelp[] = [
  { name: "stdio", summary: "Serve one client over stdin and stdout; so does no command.", usage: [""], flags: {} },
  { name: "serve", summary: "Serve many clients over HTTP.", usage: [""], flags: {} },
];
const ALL: readonly CommandHelp[] = [...SERVERS, ...commands];

await main(process.argv.slice(2)).catch(fail);

async function main(argv: string[]): Promise<void> {
  const line = parseCommandLine(argv, ALL);
  if (line.help || line.command === "help") return help(line.command === "help" ? line.args[0] : line.command);
  if (line.version) return print(VERSION);
  const cwd = process.cwd();
  const command = commands.find(({ name }) => name === line.command);
  if (command?.usesWorker && !line.printConfig) {
    void import("./engine/process/launch.ts").then(({ launchEarly }) => launchEarly());
  }
  const { config, file } = loadConfig({
    flags: line.settings,
    env: process.env,
    cwd,
    file: line.config,
    // Log lines are for those who run servers; and a person can press Ctrl-C, or take a while to read.
    ...(command && { defaults: { log_level: "warn", query_timeout: "24h" } }),
  });
  if (line.printConfig) {
    const allow = config.allow ?? (line.command === undefined || line.command === "stdio" ? ["."] : []);
    return print(JSON.stringify({ ...redacted(config), allow }, null, 2));
  }
  const log = openLog(config.log_level);
  if (command) {
    const { runCommand } = await import("./cli/run.ts");
    return runCommand(command, line, { config, cwd, log, openEngine: () => openForPeople(command, config, cwd, log) });
  }
  const servers = await import("./serving.ts");
  await servers[line.command === "serve" ? "serve" : "stdio"]({ config, cwd, log, from: file ?? "defaults" });
}

async function openForPeople(command: Command, config: Config, cwd: string, log: Log): Promise<Engine> {
  const isElsewhere = config.store !== undefined || config.data === "memory";
  if (command.needsLake && !isElsewhere && !existsSync(resolve(cwd, config.data))) {
    throw new LakeError("not_found", `There is no lakehouse in ${config.data}.`, {
      hint: "Name its folder with --data DIR, or load a file into a new one: lakehouse-mcp ingest FILE.",
    });
  }
  const [{ openEngine }, { engineSettings }] = await Promise.all([
    import("./engine/engine.ts"),
    import("./config/settings.ts"),
  ]);
  // No folder: a person names the files, and each is allowed by being named.
  return openEngine(engineSettings(config, cwd, [], log));
}

async function help(name: string | undefined): Promise<void> {
  const { helpOf, overview } = await import("./cli/help.ts");
  if (name === undefined) return print(overview(ALL));
  const command = ALL.find((each) => each.name === name);
  if (!command) throw unknownCommand(name, ALL);
  print(helpOf(command));
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Nothing is served yet: one readable sentence, on the stream a person reads. */
async function fail(error: unknown): Promise<void> {
  const { errorText } = await import("./cli/run.ts");
  const isKnown = error instanceof LakeError;
  const details = isKnown ? "" : `${error instanceof Error ? error.stack : String(error)}\n`;
  process.stderr.write(`${errorText(isKnown ? error : { message: "could not start.", hint: undefined })}${details}`);
  process.exitCode = isKnown ? 2 : 1;
}
