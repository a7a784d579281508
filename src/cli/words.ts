import { envName, flagName, flagSettings } from "../config/config.ts";
import { type Action, argumentsText, type Words } from "../engine/kernel/next-step.ts";

/** Actions without a command are named by their tool. */
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
  removeUpload: "DELETE /uploads/<id>",
  restore: "lakehouse-mcp restore",
  sendFile: "PUT /uploads?name=…",
  upsertItems: "the tool vector-upsert",
  verify: "lakehouse-mcp verify",
};

/** Arguments whose flag has another name. */
const FLAGS: Readonly<Record<string, string>> = {
  null_values: "null-value",
  params: "param",
  timeout_ms: "query-timeout",
  types: "type",
};

const flag = (name: string): string => `--${FLAGS[name] ?? name.replaceAll("_", "-")}`;

/** Names of arguments, settings and actions in a terminal. */
export const COMMAND_WORDS: Words = {
  argument: (name, value) => (value === undefined ? flag(name) : `${flag(name)} ${value}`),
  parameters: (names, as) =>
    as === "list"
      ? `Give --param once for each, in this order: ${names.join(", ")}.`
      : `Give --param NAME=VALUE for each of ${names.join(", ")}.`,
  // Secrets are not flags.
  setting: (name) => (flagSettings.some((known) => known === name) ? flagName(name) : envName(name)),
  action: (name, args) => {
    if (!args) return COMMANDS[name];
    return name === "ingest" ? `the tool ingest ${argumentsText(args)}` : `${COMMANDS[name]} ${argumentsText(args)}`;
  },
};
