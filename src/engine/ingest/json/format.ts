import { isJson } from "../../kernel/json.ts";
import type { FormatSpec } from "../types.ts";

const shared = { isInferred: true, takesCsvOptions: false, isColumnar: false, isOneThread: false } as const;

export const json: FormatSpec = {
  ...shared,
  title: "JSON",
  extensions: ["json"],
  claims: (text, named) =>
    named === undefined
      ? jsonKind(text) === "json"
      : isListOrSpread(text) || (named !== "ndjson" && beginsWithObject(text) && jsonKind(text) === "json"),
  converter: async () => (await import("./json.ts")).convertJson,
};

export const ndjson: FormatSpec = {
  ...shared,
  title: "NDJSON",
  extensions: ["jsonl", "ndjson"],
  // JSON may be objects one after the other, so a name that says JSON is right about these too.
  claims: (text, named) =>
    jsonKind(text) === "ndjson" && (named === undefined || (named !== "json" && beginsWithObject(text))),
  converter: async () => (await import("./json.ts")).convertNdjson,
};

function jsonKind(text: string): "json" | "ndjson" | undefined {
  if (text.startsWith("[")) return "json";
  if (!text.startsWith("{")) return undefined;
  const [first = "", ...rest] = text.split(/\r?\n/);
  return isJson(first) && rest.some((line) => line.trim() !== "") ? "ndjson" : "json";
}

/** A list of objects, or an object over several lines: neither is a bad line of another format. */
function isListOrSpread(text: string): boolean {
  return /^\[\s*\{\s*(?:"(?:[^"\\]|\\.)*"\s*:|\})/.test(text) || /^\{\s*\n/.test(text);
}

function beginsWithObject(text: string): boolean {
  if (!/^\{\s*"/.test(text)) return false;
  const [first = "", ...rest] = text.split(/\r?\n/);
  return isJson(first) || (rest.length === 0 && /^\{\s*"(?:[^"\\]|\\.)*"\s*:/.test(text));
}
