/** What a caller can do with an engine. Each surface has its own name for it: a tool, a command, an address. */
export const ACTIONS = [
  "cancelJob",
  "createIndex",
  "deleteItems",
  "describe",
  "drop",
  "gc",
  "ingest",
  "list",
  "query",
  "removeUpload",
  "restore",
  "sendFile",
  "upsertItems",
  "verify",
] as const;

export type Action = (typeof ACTIONS)[number];

/** Something that surfaces name differently. An argument of an action that is `undefined` is named without a value. */
export type Reference =
  | { argument: string; value?: unknown }
  /** Parameters of a statement, as `$1` or `$name`, and how they are passed. */
  | { parameters: readonly string[]; as: "list" | "object" }
  | { setting: string }
  | { action: Action; args?: Readonly<Record<string, unknown>> };

/** What to do about an error: plain text, or text with references. */
export type NextStep = string | readonly (string | Reference)[];

export const argument = (name: string, value?: unknown): Reference => ({ argument: name, value });
export const setting = (name: string): Reference => ({ setting: name });
export const action = (name: Action, args?: Readonly<Record<string, unknown>>): Reference => ({
  action: name,
  ...(args && { args }),
});

/** A template tag: ``next`Try again, or raise ${setting("max_ingest_rows")}.` ``. Steps may be parts of others. */
export function next(
  texts: TemplateStringsArray,
  ...values: readonly (NextStep | Reference | number | undefined)[]
): NextStep {
  const parts = texts.flatMap((text, at): (string | Reference)[] => {
    const value = values[at];
    if (value === undefined) return [text];
    if (typeof value === "object") return [text, ...(isList(value) ? value : [value])];
    return [text, String(value)];
  });
  return parts.some((part) => typeof part === "object") ? parts.filter((part) => part !== "") : parts.join("").trim();
}

/** How a surface names what a step refers to. */
export interface Words {
  argument(name: string, value?: unknown): string;
  parameters(names: readonly string[], as: "list" | "object"): string;
  setting(name: string): string;
  action(name: Action, args?: Readonly<Record<string, unknown>>): string;
}

export function inWords(step: NextStep, words: Words): string {
  if (!isList(step)) return step;
  const texts = step.map((part) => {
    if (typeof part === "string") return part;
    if ("argument" in part) return words.argument(part.argument, part.value);
    if ("parameters" in part) return words.parameters(part.parameters, part.as);
    return "setting" in part ? words.setting(part.setting) : words.action(part.action, part.args);
  });
  return texts.join("").trim();
}

/** For logs and records: the names that the engine itself uses. */
export const ENGINE_WORDS: Words = {
  argument: (name, value) => (value === undefined ? name : `${name}: ${JSON.stringify(value)}`),
  parameters: (names, as) => `Pass params as ${as === "list" ? "a list" : "an object"} of ${names.join(", ")}.`,
  setting: (name) => name,
  action: (name, args) => (args ? `${name} ${argumentsText(args)}` : name),
};

/** `{name, sql}`, `{name: "workers"}`: arguments as a call has them, those without a value by name. */
export function argumentsText(args: Readonly<Record<string, unknown>>): string {
  const parts = Object.entries(args).map(([name, value]) =>
    value === undefined ? name : `${name}: ${JSON.stringify(value)}`,
  );
  return `{${parts.join(", ")}}`;
}

/** `value` if it is a step, as data from another process or from disk may not be. */
export function readNextStep(value: unknown): NextStep | undefined {
  if (typeof value === "string") return value;
  return Array.isArray(value) && value.every(isPart) ? value : undefined;
}

function isPart(part: unknown): part is string | Reference {
  if (typeof part === "string") return true;
  if (typeof part !== "object" || part === null) return false;
  if ("argument" in part) return typeof part.argument === "string";
  if ("setting" in part) return typeof part.setting === "string";
  if ("action" in part) return ACTIONS.includes(part.action as Action) && isArguments("args" in part ? part.args : {});
  return "parameters" in part && "as" in part && Array.isArray(part.parameters) && part.parameters.every(isText);
}

const isText = (value: unknown): value is string => typeof value === "string";
const isArguments = (value: unknown): boolean => typeof value === "object" && value !== null;
const isList = (step: NextStep | Reference): step is readonly (string | Reference)[] => Array.isArray(step);
