import { type Action, argumentsText, type Words } from "../engine/kernel/next-step.ts";

/** What there is no command for, an agent does with a tool. */
const COMMANDS: Record<Action, string> = {
  cancelJob: "the tool job-cancel",
  createIndex: "the tool vector-index-create",
  deleteItems: "the tool vector-delete",
  describe: "lakehouse-mcp describe",
  drop: "the tool dataset-drop",
  gc: "lakehouse-mcp gc",
  ingest: "lakehouse-mcp ingest",
  list: "lakehouse-mcp list",
  query: "lakehouse-mcp sql",
  restore: "lakehouse-mcp restore",
  sendFile: "PUT /uploads?name=…",
  upsertItems: "the tool vector-upsert",
  verify: "lakehouse-mcp verify",
};

/** Flags that are not called as the argument is. */
const FLAGS: Readonly<Record<string, string>> = {
  null_values: "null-value",
  params: "param",
  timeout_ms: "query-timeout",
  types: "type",
};

/** Settings that are no flags, because others on the machine can read those. */
const VARIABLES: Readonly<Record<string, string>> = { openai_api_key: "LAKEHOUSE_OPENAI_API_KEY" };

const flag = (name: string): string => `--${FLAGS[name] ?? name.replaceAll("_", "-")}`;

/** How an error names its next step to a person in a terminal. */
export const COMMAND_WORDS: Words = {
  argument: (name, value) => (value === undefined ? flag(name) : `${flag(name)} ${value}`),
  parameters: (names, as) =>
    as === "list"
      ? `Give --param once for each, in this order: ${names.join(", ")}.`
      : `Give --param NAME=VALUE for each of ${names.join(", ")}.`,
  setting: (name) => VARIABLES[name] ?? flag(name),
  action: (name, args) => {
    if (!args) return COMMANDS[name];
    return name === "ingest" ? `the tool ingest ${argumentsText(args)}` : `${COMMANDS[name]} ${argumentsText(args)}`;
  },
};
