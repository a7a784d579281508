import * as z from "zod";

/** The part of JSON Schema that our tools use. */
export interface JsonSchema {
  type?: string | string[];
  description?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  anyOf?: JsonSchema[];
  enum?: unknown[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  additionalProperties?: boolean | JsonSchema;
  /** Our own keyword: takes such JSON, or its text. */
  json?: "object" | "params";
}

const known = new WeakMap<z.ZodObject, JsonSchema>();

/** The complete schema, for `readArguments`. */
export function inputSchema(schema: z.ZodObject): JsonSchema {
  const made = known.get(schema) ?? (z.toJSONSchema(schema, { io: "input" }) as JsonSchema);
  known.set(schema, made);
  return made;
}

/**
 * The schema for clients. Some fail on `$schema`, and OpenAI, Gemini and Anthropic support subsets (their rules are in
 * test/tools/providers.test.ts): `readArguments` enforces the rest.
 */
export function advertised(schema: z.ZodObject, io: "input" | "output"): Record<string, unknown> {
  return io === "input"
    ? plain(inputSchema(schema) as Record<string, unknown>, LEFT_OUT)
    : ofResult(z.toJSONSchema(schema, { io }) as Record<string, unknown>);
}

/** Shortened, because every conversation pays for it. Later versions may add fields. */
function ofResult(schema: Record<string, unknown>): Record<string, unknown> {
  return { ...plain(schema, LEFT_OUT_OF_RESULTS), ...(schema.required !== undefined && { required: schema.required }) };
}

const NEVER = ["$schema", "default", "minLength", "maxLength", "propertyNames", "json"];
const LEFT_OUT: ReadonlySet<string> = new Set(NEVER);
const LEFT_OUT_OF_RESULTS: ReadonlySet<string> = new Set([...NEVER, "additionalProperties", "required"]);

function plain(schema: Record<string, unknown>, leftOut: ReadonlySet<string>): Record<string, unknown> {
  const left = Object.entries(schema).filter(([key, value]) => !leftOut.has(key) && !isBoundOfSafe(value));
  const made = Object.fromEntries(
    left.map(([key, value]) => {
      if (key === "properties") {
        const properties = Object.entries(value as Record<string, Record<string, unknown>>);
        return [key, Object.fromEntries(properties.map(([name, property]) => [name, plain(property, leftOut)]))];
      }
      if (key === "items") return [key, plain(value as Record<string, unknown>, leftOut)];
      if (key === "additionalProperties") return [key, value !== false];
      if (key === "anyOf") {
        const each = (value as Record<string, unknown>[]).map((one) => plain(one, leftOut));
        const arePlain = leftOut === LEFT_OUT_OF_RESULTS && each.every((one) => Object.keys(one).length === 1);
        return arePlain ? ["type", each.map(({ type }) => type)] : [key, each];
      }
      return [key, value];
    }),
  );
  const { default: value } = schema;
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return made;
  const before = typeof made.description === "string" ? `${made.description} ` : "";
  return { ...made, description: `${before}Default: ${String(value)}.` };
}

/** Bounds that zod gives to every whole number. */
const isBoundOfSafe = (value: unknown): boolean => Math.abs(Number(value)) === Number.MAX_SAFE_INTEGER;
