import * as z from "zod";
import { configSchema, flagName, flagSettings } from "../config/config.ts";
import { VERSION } from "../engine/kernel/package.ts";
import type { CommandHelp } from "./command.ts";
import { bare, dashed } from "./flags.ts";

const HEAD = `lakehouse-mcp ${VERSION}: a lakehouse for LLM agents, as an MCP server.`;

/** The help of the whole program: its commands and all settings. */
export function overview(commands: readonly CommandHelp[]): string {
  return `${HEAD}

Usage: lakehouse-mcp [options]             serve one client over stdin and stdout
       lakehouse-mcp COMMAND [options]

Commands:
${columns(commands.map(({ name, summary }) => [name, summary]))}
  help COMMAND shows what one takes.

${columns(COMMON)}

Settings (also in lakehouse.toml, and as LAKEHOUSE_* in the environment):
${columns(flagSettings.map((name) => [flagName(name), configSchema.shape[name].description ?? ""]))}`;
}

/** The help of one command. */
export function helpOf({ name, summary, usage, notes, flags }: CommandHelp): string {
  const calls = usage.length === 0 ? [""] : usage;
  const lines = calls.map((call, index) =>
    `${index === 0 ? "Usage:" : "      "} lakehouse-mcp ${name} ${call}`.trimEnd(),
  );
  const own = Object.entries(flags).map(([flag, schema]) => [flagText(flag, schema), described(schema)] as const);
  return [
    summary,
    lines.join("\n"),
    columns([...own, ...COMMON]),
    ...(notes === undefined ? [] : [notes]),
    "All settings are flags, too, as in --data DIR: lakehouse-mcp --help lists them.",
  ].join("\n\n");
}

const COMMON = [
  ["--config FILE", "Settings file (default ./lakehouse.toml, when there is one)."],
  ["--print-config", "Show the settings in force and exit."],
  ["--help, --version", ""],
] as const;

function flagText(flag: string, schema: z.ZodType): string {
  const { short, value } = schema.meta() ?? {};
  const inner = bare(schema);
  const shown = inner instanceof z.ZodBoolean ? "" : ` ${String(value ?? "VALUE")}`;
  return `${typeof short === "string" ? `-${short}, ` : ""}--${dashed(flag)}${shown}`;
}

function described(schema: z.ZodType): string {
  const inner = bare(schema);
  const choices = inner instanceof z.ZodEnum ? ` ${inner.options.join(", ")}.` : "";
  const value = schema instanceof z.ZodDefault ? schema.def.defaultValue : undefined;
  const fallback = typeof value === "string" || typeof value === "number" ? ` Default: ${value}.` : "";
  return `${schema.description ?? ""}${choices}${fallback}`;
}

function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  return rows.map(([name, text]) => `  ${name.padEnd(width)}${text}`.trimEnd()).join("\n");
}
