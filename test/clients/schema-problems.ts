const TYPES = ["string", "number", "integer", "boolean", "array", "object", "null"];

interface Schema {
  type?: unknown;
  anyOf?: Schema[];
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: unknown;
  description?: string;
  enum?: unknown[];
  const?: unknown;
}

/**
 * What some provider refuses, or a framework has lost, of a tool's arguments as a model gets them. Gemini wants a type
 * everywhere and items of every array, and knows no const; OpenAI wants items too.
 */
export function problemsOf(schema: object, args: string[]): string[] {
  const { properties = {} } = schema as Schema;
  const lost = args.filter((name) => properties[name]?.description === undefined);
  return [...lost.map((name) => `${name}: has no description any more`), ...problemsAt("", schema as Schema)];
}

function problemsAt(path: string, schema: Schema): string[] {
  const at = path === "" ? "the whole" : path;
  const { type, anyOf, properties = {}, items, additionalProperties } = schema;
  const problems: string[] = [];
  const types = (Array.isArray(type) ? type : [type]).map((each) => String(each).toLowerCase());
  if (anyOf === undefined && !types.every((each) => TYPES.includes(each))) problems.push(`${at}: has the type ${type}`);
  if (types.includes("array") && items === undefined) problems.push(`${at}: says nothing of its items`);
  // Some fill in that there are none, and drop what a model writes.
  if (types.includes("object") && Object.keys(properties).length === 0) problems.push(`${at}: an object of nothing`);
  if (schema.const !== undefined) problems.push(`${at}: const`);
  if (schema.enum?.some((each) => typeof each !== "string")) problems.push(`${at}: values that are no strings`);
  const values = typeof additionalProperties === "object" ? (additionalProperties as Schema) : undefined;
  return [
    ...problems,
    ...(anyOf ?? []).flatMap((each, n) => problemsAt(`${path}|${n}`, each)),
    ...Object.entries(properties).flatMap(([name, each]) => problemsAt(`${path}.${name}`, each)),
    ...(items === undefined ? [] : problemsAt(`${path}[]`, items)),
    ...(values === undefined || Object.keys(values).length === 0 ? [] : problemsAt(`${path}{}`, values)),
  ];
}
