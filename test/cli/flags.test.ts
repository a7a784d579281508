import { expect, test } from "vitest";
import { z } from "zod";
import { type Command, defineCommand, wholeNumber } from "../../src/cli/command.ts";
import { parseCommandLine, readFlags } from "../../src/cli/flags.ts";
import { helpOf, overview } from "../../src/cli/help.ts";
import { commands } from "../../src/cli/index.ts";
import { COMMAND_WORDS } from "../../src/cli/words.ts";
import { flagSettings } from "../../src/config/config.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import { inWords } from "../../src/engine/kernel/next-step.ts";

const sample = defineCommand({
  name: "sample",
  summary: "Take a sample.",
  usage: ["NAME [options]"],
  args: { least: 1, most: 2 },
  flags: {
    count: wholeNumber(1, 10).default(3).describe("How many.").meta({ short: "k", value: "N" }),
    on_empty: z.enum(["fail", "skip"]).optional().describe("What to do about none:"),
    word: z.array(z.string()).default([]).describe("One word; can be repeated."),
    dry: z.boolean().default(false).describe("Only say it."),
  },
  run: async ({ flags, args }) => flags.count + args.length,
});
const serve = { name: "serve", summary: "Serve.", usage: [], flags: {} };
const parse = (...argv: string[]) => parseCommandLine(argv, [serve, sample]);

function refusal(run: () => unknown): { message: string; hint: string } {
  try {
    run();
  } catch (error) {
    if (error instanceof LakeError && error.kind === "invalid")
      return { message: error.message, hint: inWords(error.hint ?? "", COMMAND_WORDS) };
    throw error;
  }
  throw new Error("was not refused");
}

test("settings go before and after the command, its own flags after it", () => {
  const line = parse(
    "--data",
    "lake",
    "sample",
    "a",
    "-k",
    "2",
    "--word=x",
    "--word",
    "y",
    "--threads",
    "1",
    "--dry",
    "b",
  );
  expect(line).toMatchObject({
    command: "sample",
    args: ["a", "b"],
    settings: { data: "lake", threads: "1" },
    flags: { count: "2", word: ["x", "y"], dry: true },
  });
  expect(readFlags(sample.flags, line.flags, "sample")).toEqual({ count: 2, word: ["x", "y"], dry: true });
});

test("without a command, what is there are settings; a single dash is an argument", () => {
  expect(parse("--data", "lake")).toMatchObject({ command: undefined, args: [], settings: { data: "lake" } });
  expect(parse("sample", "-").args).toEqual(["-"]);
  expect(parse("sample", "--", "--dry").args).toEqual(["--dry"]);
});

test.each([
  [["sampel"], "Unknown command sampel.", "Did you mean sample?"],
  [["teleport"], "Unknown command teleport.", "Commands: serve, sample."],
  [["sample", "--cuont", "3"], "Unknown flag --cuont.", "Did you mean --count"],
  [["--count", "3", "sample"], "Unknown flag --count.", "Write it after sample"],
  [["serve", "--count", "3"], "Unknown flag --count.", "sample has it."],
  [["sample", "-x"], "Unknown flag -x.", "See lakehouse-mcp help sample."],
  [["--dataa", "x", "sample"], "Unknown setting --dataa.", "Did you mean --data?"],
  [["sample", "--openai-api-key", "x"], "--openai-api-key is secret", "LAKEHOUSE_OPENAI_API_KEY"],
  [["sample", "-- comment\n1"], "begins with --", "sample -- '"],
  [["sample", "--count"], "'-k, --count <value>' argument missing", "help sample"],
  [["sample", "--dry=yes"], "'--dry' does not take an argument", "help sample"],
])("%j is refused with what would be right", (argv, message, hint) => {
  const refused = refusal(() => parse(...argv));
  expect(refused.message).toContain(message);
  expect(refused.hint).toContain(hint);
});

test.each([
  [{ count: "eleven" }, "--count: "],
  [{ count: "11" }, "--count: "],
  [{ on_empty: "cry" }, '--on-empty: Invalid option: expected one of "fail"|"skip"'],
])("a value that cannot be is refused, naming the flag: %j", (given, message) => {
  expect(refusal(() => readFlags(sample.flags, given, "sample")).message).toContain(message);
});

test("the help of a command tells all of its flags", () => {
  expect(helpOf(sample)).toBe(`Take a sample.

Usage: lakehouse-mcp sample NAME [options]

  -k, --count N      How many. Default: 3.
  --on-empty VALUE   What to do about none: fail, skip.
  --word VALUE       One word; can be repeated.
  --dry              Only say it.
  --config FILE      Settings file (default ./lakehouse.toml, when there is one).
  --print-config     Show the settings in force and exit.
  --help, --version

All settings are flags, too, as in --data DIR: lakehouse-mcp --help lists them.`);
});

test("the help of all tells every command and every setting", () => {
  const text = overview(commands);
  for (const { name, summary } of commands)
    expect(text).toMatch(new RegExp(`^  ${name} +${summary.slice(0, 10)}`, "m"));
  for (const name of flagSettings) expect(text).toContain(`--${name.replaceAll("_", "-")} `);
});

test.each(commands.map((command) => [command.name, command] as const))(
  "%s can be called as its help says",
  (_, command: Command) => {
    const reserved = new Set<string>([...flagSettings, "config", "help", "version", "print_config"]);
    const shorts = Object.values(command.flags).flatMap((schema) => schema.meta()?.short ?? []);
    expect(Object.keys(command.flags).filter((flag) => reserved.has(flag))).toEqual([]);
    expect(new Set([...shorts, "h", "v"]).size).toBe(shorts.length + 2);
    for (const [flag, schema] of Object.entries(command.flags)) expect(schema.description, flag).toMatch(/[.:)]$/);
    expect(helpOf(command)).toContain(`lakehouse-mcp ${command.name}`);
  },
);
