import { parseArgs } from "node:util";
import * as z from "zod";
import { flagName, flagSettings, LISTS, unknownSetting } from "../config/config.ts";
import { didYouMean, nearest } from "../engine/catalog/nearest.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import type { CommandHelp, Flags } from "./command.ts";

export interface CommandLine {
  /** Undefined when there is none. */
  command: string | undefined;
  /** The arguments that follow it. */
  args: string[];
  settings: Record<string, string | string[]>;
  /** Flags of the command, not validated yet. */
  flags: Record<string, string | string[] | boolean>;
  config: string | undefined;
  help: boolean;
  version: boolean;
  printConfig: boolean;
}

const COMMON = {
  config: { type: "string" },
  help: { type: "boolean", short: "h" },
  version: { type: "boolean", short: "v" },
  "print-config": { type: "boolean" },
} as const;

const SETTINGS: Record<string, { type: "string"; multiple: boolean }> = Object.fromEntries(
  flagSettings.map((name) => [flagName(name).slice(2), { type: "string", multiple: LISTS.has(name) }]),
);

/**
 * Settings may stand before the command, its own flags after it. Throws `invalid` for an unknown command or flag, with
 * the nearest names.
 */
export function parseCommandLine(argv: string[], commands: readonly CommandHelp[]): CommandLine {
  const name = commandIn(argv, commands);
  const command = commands.find((each) => each.name === (name ?? "stdio"));
  if (name !== undefined && name !== "help" && command === undefined) throw unknownCommand(name, commands);
  const flags = command?.flags ?? {};
  const options = {
    ...SETTINGS,
    ...Object.fromEntries(Object.entries(flags).map(([flag, schema]) => [dashed(flag), optionOf(schema)])),
    ...COMMON,
  };
  let parsed: { values: Record<string, string | string[] | boolean>; positionals: string[] };
  try {
    parsed = parseArgs({ args: argv, options, allowPositionals: true }) as typeof parsed;
  } catch (error) {
    const [, unknown] = /Unknown option '(--?[^']+)'/.exec(String(error)) ?? [];
    if (unknown !== undefined) throw unknownFlag(unknown, Object.keys(options), name, commands);
    const message = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
    throw new LakeError("invalid", message, { hint: seeHelp(name) });
  }
  const { values, positionals } = parsed;
  const picked = (names: readonly string[]) =>
    Object.fromEntries(
      Object.entries(values)
        .map(([flag, value]) => [flag.replaceAll("-", "_"), value] as const)
        .filter(([flag]) => names.includes(flag)),
    );
  return {
    command: name,
    args: positionals.slice(1),
    settings: picked(flagSettings) as Record<string, string | string[]>,
    flags: picked(Object.keys(flags)),
    config: values.config as string | undefined,
    help: values.help === true,
    version: values.version === true,
    printConfig: values["print-config"] === true,
  };
}

/** Validates the flags of a command. Throws `invalid` naming the flag. */
export function readFlags(flags: Flags, values: Record<string, unknown>, command: string): Record<string, unknown> {
  const parsed = z.strictObject(flags).safeParse(values);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const flag = String(issue?.path[0] ?? "");
  throw new LakeError("invalid", `--${dashed(flag)}: ${issue?.message ?? "is not valid"}.`, { hint: seeHelp(command) });
}

export const dashed = (flag: string): string => flag.replaceAll("_", "-");

/** The schema of the value itself, without defaults and optionality. */
export function bare(schema: z.ZodType): z.ZodType {
  let inner = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
    inner = inner.unwrap() as z.ZodType;
  }
  return inner;
}

export function unknownCommand(name: string, commands: readonly CommandHelp[]): LakeError {
  const names = commands.map((command) => command.name);
  const close = didYouMean(name, names).trim();
  return new LakeError("invalid", `Unknown command ${name}.`, {
    hint: close === "" ? `Commands: ${names.join(", ")}. Without one, it serves over stdio; see --help.` : close,
  });
}

/** The first argument that is not a flag. Throws `invalid` for a flag before it that is not a setting. */
function commandIn(argv: string[], commands: readonly CommandHelp[]): string | undefined {
  const options = { ...SETTINGS, ...COMMON };
  const { tokens } = parseArgs({ args: argv, options, allowPositionals: true, strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind === "positional") return token.value;
    if (token.kind === "option" && !Object.hasOwn(options, token.name)) {
      throw unknownFlag(token.rawName, Object.keys(options), undefined, commands);
    }
  }
  return undefined;
}

function optionOf(schema: z.ZodType) {
  const inner = bare(schema);
  const short = schema.meta()?.short;
  return {
    type: inner instanceof z.ZodBoolean ? ("boolean" as const) : ("string" as const),
    multiple: inner instanceof z.ZodArray,
    ...(typeof short === "string" && { short }),
  };
}

function unknownFlag(
  flag: string,
  known: string[],
  command: string | undefined,
  commands: readonly CommandHelp[],
): LakeError {
  if (/\s/.test(flag)) {
    return new LakeError("invalid", "An argument that begins with -- is taken for a flag.", {
      hint: `Put a lone -- before it, as in: lakehouse-mcp ${command ?? "sql"} -- '-- a comment…'`,
    });
  }
  const owner = commands.find(({ flags }) => Object.keys(flags).some((name) => `--${dashed(name)}` === flag));
  if (owner) {
    const hint =
      command === undefined
        ? `Write it after ${owner.name}, whose flag it is.`
        : `${owner.name} has it. ${seeHelp(command)}`;
    return new LakeError("invalid", `Unknown flag ${flag}.`, { hint });
  }
  const names = known.map((name) => `--${name}`);
  const error = unknownSetting(flag, names);
  if (command === undefined || error.code !== "unknown_setting") return error;
  return new LakeError("invalid", `Unknown flag ${flag}.`, {
    hint: nearest(flag, names).length > 0 ? error.hint : seeHelp(command),
  });
}

export function seeHelp(command: string | undefined): string {
  return command === undefined || command === "help" ? "See --help." : `See lakehouse-mcp help ${command}.`;
}
