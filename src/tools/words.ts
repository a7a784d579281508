import { type Action, argumentsText, type Words } from "../engine/kernel/next-step.ts";

const TOOLS: Record<Action, string> = {
  cancelJob: "job-cancel",
  createIndex: "vector-index-create",
  deleteItems: "vector-delete",
  describe: "catalog-describe",
  drop: "dataset-drop",
  gc: "lakehouse-mcp gc",
  ingest: "ingest",
  list: "catalog-list",
  query: "sql",
  removeUpload: "DELETE /uploads/<id>",
  restore: "lakehouse-mcp restore",
  sendFile: "curl -T FILE 'SERVER/uploads?name=FILE' -H 'Authorization: Bearer TOKEN'",
  upsertItems: "vector-upsert",
  verify: "lakehouse-mcp verify",
};

/** Names of arguments, settings and actions for callers of tools. */
export const TOOL_WORDS: Words = {
  argument: (name, value) => (value === undefined ? name : `${name}: ${JSON.stringify(value)}`),
  parameters: (names, as) =>
    as === "list"
      ? `Pass params as a list of ${names.length}: values for ${names.join(", ")}.`
      : `Pass params as an object with ${names.join(", ")}.`,
  setting: (name) => `${name} (LAKEHOUSE_${name.toUpperCase()})`,
  action: (name, args) => (args ? `${TOOLS[name]} ${argumentsText(args)}` : TOOLS[name]),
};
