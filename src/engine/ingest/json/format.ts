import type { FormatSpec } from "../types.ts";

const shared = { isInferred: true, takesCsvOptions: false, isColumnar: false, isOneThread: false } as const;

export const json: FormatSpec = {
  ...shared,
  title: "JSON",
  extensions: ["json"],
  converter: async () => (await import("./json.ts")).convertJson,
};

export const ndjson: FormatSpec = {
  ...shared,
  title: "NDJSON",
  extensions: ["jsonl", "ndjson"],
  converter: async () => (await import("./json.ts")).convertNdjson,
};
