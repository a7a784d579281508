import { LakeError } from "../../kernel/errors.ts";
import { isNode, type Node, nodesOf, text } from "./nodes.ts";

/** A pattern: the number of its wildcards that are written out, and the parameters that are part of it. */
export interface LikePattern {
  wildcards: number;
  params: string[];
  /** It is a JSON path. */
  isPath?: true;
}

/** Where a text of n characters takes n ^ (wildcards - 1) steps: 4 wildcards in 2000 characters take a minute. */
const MAX_WILDCARDS = 3;
/** Where it takes time in proportion to n. */
const MAX_PLAIN_WILDCARDS = 64;
const MAX_FORMAT = 200;
const MAX_REPLACEMENT = 32;
const MAX_SAMPLE = 10_000;
/** DuckDB parses the structure by recursion; a deep one ends the process. */
const MAX_STRUCTURE_BRACKETS = 64;

/**
 * Throws for arguments with which one call would take memory that no limit counts, or time that cannot be interrupted.
 */
export function assertCall(node: Node, name: string): void {
  if (Object.hasOwn(CALLS, name)) CALLS[name]?.(argumentsOf(node), name);
}

const CALLS: Readonly<Record<string, (args: Node[], name: string) => void>> = {
  approx_top_k: assertSize,
  aggregate: assertAggregate,
  array_aggr: assertAggregate,
  array_aggregate: assertAggregate,
  array_reduce: assertReduce,
  bitstring: assertSize,
  bitstring_agg: assertBitstring,
  format: assertFormat,
  from_json: assertStructure,
  from_json_strict: assertStructure,
  json_transform: assertStructure,
  json_transform_strict: assertStructure,
  list_aggr: assertAggregate,
  list_aggregate: assertAggregate,
  list_reduce: assertReduce,
  printf: assertFormat,
  reduce: assertReduce,
  regexp_replace: assertReplacement,
  reservoir_quantile: assertSize,
  strftime: assertTimeFormat,
};

/** A width in a format makes text of any length. */
function assertFormat([format]: Node[], name: string): void {
  const value = literalText(format);
  if (value !== undefined && !/\d{5}|\*|\{[^{}]*\{/.test(value)) return;
  throw new LakeError(
    "denied",
    `${name}() needs its format as a literal without a width of five digits or a computed one.`,
    { hint: "Write the format into the statement, or join texts with || and pad them with lpad()." },
  );
}

function assertStructure([, structure]: Node[], name: string): void {
  const brackets = literalText(structure)?.match(/[[{]/g)?.length ?? 0;
  if (literalText(structure) !== undefined && brackets <= MAX_STRUCTURE_BRACKETS) return;
  throw new LakeError(
    "denied",
    `${name}() needs its structure as a literal with at most ${MAX_STRUCTURE_BRACKETS} brackets.`,
    { hint: `Write it into the statement: ${name}(doc, '{"city": "VARCHAR"}').` },
  );
}

function assertTimeFormat(args: Node[]): void {
  // The format may be the first argument.
  if (args.some((arg) => (literalText(arg)?.length ?? Number.POSITIVE_INFINITY) <= MAX_FORMAT)) return;
  throw new LakeError("denied", `strftime() needs its format as a literal of at most ${MAX_FORMAT} characters.`, {
    hint: "Write the format into the statement: strftime(seen, '%Y-%m').",
  });
}

function assertReplacement([, , replacement, options]: Node[]): void {
  if (options === undefined) return;
  if ((literalText(replacement)?.length ?? Number.POSITIVE_INFINITY) <= MAX_REPLACEMENT) return;
  throw new LakeError(
    "denied",
    `regexp_replace() with options needs its replacement as a literal of at most ${MAX_REPLACEMENT} characters.`,
    { hint: "Write it into the statement; replace() takes any text." },
  );
}

function assertSize(args: Node[], name: string): void {
  const size = name === "reservoir_quantile" ? args[2] : args[1];
  if (size === undefined) return;
  const value = literal(size);
  if (typeof value === "number" && value > 0 && value <= MAX_SAMPLE) return;
  throw new LakeError("denied", `${name}() needs its size as a number of at most ${MAX_SAMPLE}, written out.`, {
    hint: "Write a smaller number into the statement.",
  });
}

/** An aggregate that is called by its name has no tree that the guard could judge. */
function assertAggregate([, aggregate]: Node[], name: string): void {
  const called = literalText(aggregate)?.toLowerCase();
  if (called !== undefined && !Object.hasOwn(CALLS, called)) return;
  throw new LakeError(
    "denied",
    `${name}() needs the name of an aggregate as a literal, and not ${called ?? "a computed one"}.`,
    {
      hint: "Use unnest() and the aggregate itself.",
    },
  );
}

function assertBitstring(args: Node[]): void {
  if (args.length < 2) return;
  throw new LakeError("denied", "bitstring_agg() with bounds is not available.", {
    hint: "Leave the bounds out, or use list(DISTINCT …).",
  });
}

/** A lambda that doubles its accumulator makes a value of any size from a short list. */
function assertReduce([, lambda]: Node[], name: string): void {
  if (lambda?.class !== "LAMBDA") return;
  const gathered = firstName(lambda.lhs);
  let uses = 0;
  let joins = false;
  let repeats = false;
  const todo: unknown[] = [lambda.expr];
  for (let value = todo.pop(); value !== undefined; value = todo.pop()) {
    if (Array.isArray(value)) for (const item of value) if (isNode(item)) todo.push(item);
    if (!isNode(value) || value.class === "CONSTANT") continue;
    if (value.class === "COLUMN_REF" && firstName(value) === gathered) uses++;
    if (value.class === "FUNCTION" && JOINING.test(text(value.function_name))) joins = true;
    if (value.class === "FUNCTION" && value.function_name === "regexp_replace")
      repeats ||= argumentsOf(value).length > 3;
    todo.push(...Object.values(value).filter((child) => typeof child === "object" && child !== null));
  }
  if (!repeats && (!joins || uses < 2)) return;
  throw new LakeError("denied", `${name}() with a lambda that joins its first parameter to itself is not available.`, {
    hint: "Use the first parameter once, as in (all, item) -> all || item.",
  });
}

const JOINING =
  /^(\|\||.*concat.*|.*_cat|.*append|.*prepend|list_value|list_pack|array_value|.*replace|format|printf|.*zip|flatten|.*transform|.*apply)$/i;

/** Whether it is a replace() whose literals cannot make a text longer: it may be nested to any depth. */
export function isShrinking(node: Node): boolean {
  const [, source, target, ...more] = argumentsOf(node);
  const [from, to] = [writtenText(source), writtenText(target)];
  return from !== undefined && to !== undefined && to.length <= from.length && more.length === 0;
}

/** The parse tree leaves out empty texts. */
function writtenText(node: Node | undefined): string | undefined {
  if (node?.class !== "CONSTANT" || !isNode(node.value) || node.value.is_null !== false) return undefined;
  const { type } = node.value;
  return isNode(type) && type.id === "VARCHAR" ? text(node.value.value) : undefined;
}

/** The first parameter of a LAMBDA, whose parameters are one column or a row of columns. */
function firstName(value: unknown): string {
  if (!isNode(value)) return "";
  if (value.class === "FUNCTION") return firstName(argumentsOf(value)[0]);
  const names = Array.isArray(value.column_names) ? value.column_names : [];
  return text(names[0]).toLowerCase();
}

/**
 * Refuses casts to types that DuckDB recurses over without a limit (VARIANT, of deep JSON) or converts to in quadratic
 * time (BIGNUM). Values beside one of such a type would be cast implicitly.
 */
export function assertCast({ cast_type }: Node): void {
  const [, refused] = /"(?:id|name)":"(variant|bignum)"/i.exec(JSON.stringify(cast_type ?? null)) ?? [];
  if (refused === undefined) return;
  throw new LakeError("denied", `Nothing can be cast to ${refused.toUpperCase()} here.`, {
    hint: "Use JSON or a STRUCT for nested values; HUGEINT and DECIMAL(38, 0) hold 38 digits.",
  });
}

const JSON_PATH_FUNCTION =
  /^(->>?|json_extract(_path|_string|_path_text)?|json_(exists|value|array_length|keys|type))$/;
/** Each multiplies the number of matches. */
const MAX_PATH_WILDCARDS = 1;

/**
 * The path of a JSON function, if parameters are part of it. A path that is computed from a row may have no wildcards
 * by DuckDB's own rules. Throws `denied` and `limit`.
 */
export function jsonPath(path: unknown): LikePattern | undefined {
  if (!isNode(path) || JSON.stringify(path).includes('"COLUMN_REF"')) return undefined;
  const found: Found = { wildcards: 0, params: [], single: false };
  // In a list of paths, or an expression of constants, all literals count.
  if (!gather(path, found)) found.wildcards = countPathWildcards(JSON.stringify(path));
  else if (found.params.length === 0) found.wildcards = countPathWildcards(literalText(path) ?? JSON.stringify(path));
  assertPathWildcards(found.wildcards);
  return { wildcards: found.wildcards, params: found.params, isPath: true };
}

function countPathWildcards(path: string): number {
  return path.match(/\.\.|\*/g)?.length ?? 0;
}

function assertPathWildcards(count: number): void {
  // .* and ..x count as one each, ..* as two, although it is one.
  if (count <= MAX_PATH_WILDCARDS + 1) return;
  throw new LakeError("limit", `A JSON path has ${count} wildcards.`, {
    hint: "Use one, and unnest() what it finds to go on from there.",
  });
}

const LIKE = /^(!?~~\*?|~~~|(not_)?i?like_escape)$/;

/**
 * The pattern of a LIKE, ILIKE or GLOB; undefined for other calls. Matching cannot be interrupted, and takes time that
 * grows exponentially with the wildcards, so a pattern has to be known before the statement runs. Throws `denied` and
 * `limit`.
 */
export function likePattern(node: Node, name: string): LikePattern | undefined {
  if (JSON_PATH_FUNCTION.test(name)) return jsonPath(argumentsOf(node)[1]);
  if (!LIKE.test(name)) return undefined;
  const found: Found = { wildcards: 0, params: [], single: false };
  if (!gather(argumentsOf(node)[1], found)) {
    throw new LakeError("denied", "A pattern of LIKE, ILIKE or GLOB has to be a literal or a parameter.", {
      hint: "Use contains(text, part), starts_with(text, part) or regexp_matches(text, pattern) for what is computed.",
    });
  }
  // DuckDB splits the constant pattern of a LIKE at its wildcards, unless there is a _ in it.
  const plain = /^!?~~$/.test(name) && !found.single && found.params.length === 0;
  assertWildcards(found.wildcards, plain ? MAX_PLAIN_WILDCARDS : MAX_WILDCARDS);
  return found;
}

interface Found extends LikePattern {
  /** It has a wildcard for one character. */
  single: boolean;
}

/** Counts the wildcards in the values of parameters. Throws as `likePattern` does. */
export function assertPatterns(patterns: readonly LikePattern[], given: (param: string) => unknown): void {
  for (const { wildcards, params, isPath } of patterns) {
    if (isPath) {
      const values = params.map((param) => JSON.stringify(given(param) ?? ""));
      assertPathWildcards(wildcards + values.reduce((sum, value) => sum + countPathWildcards(value), 0));
      continue;
    }
    assertWildcards(
      params.reduce((sum, param) => sum + countWildcards(String(given(param) ?? "")), wildcards),
      MAX_WILDCARDS,
    );
  }
}

function assertWildcards(count: number, max: number): void {
  if (count <= max) return;
  throw new LakeError("limit", `A pattern has ${count} wildcards, and this kind may have ${max}.`, {
    hint: "Use regexp_matches(text, pattern), which takes any pattern in linear time.",
  });
}

/** Whether the expression consists of literals and parameters, whose wildcards it adds to `found`. */
function gather(value: unknown, found: Found): boolean {
  if (!isNode(value)) return false;
  if (value.class === "CONSTANT") {
    const pattern = literalText(value) ?? "";
    found.wildcards += countWildcards(pattern);
    found.single ||= pattern.includes("_");
    return true;
  }
  if (value.class === "PARAMETER") {
    found.params.push(text(value.identifier));
    return true;
  }
  if (value.class === "CAST") return gather(value.child, found);
  const joins = ["||", "concat", "lower", "upper"].includes(text(value.function_name));
  return value.class === "FUNCTION" && joins && argumentsOf(value).every((arg) => gather(arg, found));
}

/** Several wildcards in a row count as one. */
function countWildcards(pattern: string): number {
  return pattern.match(/[%*]+/g)?.length ?? 0;
}

function argumentsOf(node: Node): Node[] {
  return nodesOf(node.children);
}

function literal(node: Node | undefined): unknown {
  return node?.class === "CONSTANT" && isNode(node.value) ? node.value.value : undefined;
}

function literalText(value: unknown): string | undefined {
  const found = isNode(value) ? literal(value) : undefined;
  return typeof found === "string" ? found : undefined;
}
