import { LakeError } from "../kernel/errors.ts";
import { PARQUET_LIMITS } from "./parquet-limits.ts";
import { T, type ThriftReader } from "./thrift-compact.ts";

/** Names of the format's physical types, by number. */
export const PHYSICAL = [
  "BOOLEAN",
  "INT32",
  "INT64",
  "INT96",
  "FLOAT",
  "DOUBLE",
  "BYTE_ARRAY",
  "FIXED_LEN_BYTE_ARRAY",
] as const;
export type Physical = (typeof PHYSICAL)[number];

/** What a type is said to mean: of the newer `LogicalType`, or the older `ConvertedType` where that is all there is. */
export type Logical =
  | { kind: PlainLogical }
  | { kind: "DECIMAL"; precision: number; scale: number }
  | { kind: "TIME" | "TIMESTAMP"; unit: Unit; utc: boolean }
  | { kind: "INTEGER"; bits: number; signed: boolean };

type PlainLogical =
  | ("STRING" | "ENUM" | "JSON" | "BSON" | "UUID" | "DATE" | "FLOAT16" | "INTERVAL")
  | ("MAP" | "LIST" | "VARIANT" | "GEOMETRY" | "GEOGRAPHY" | "UNKNOWN");
export type Unit = "ms" | "us" | "ns";

export interface SchemaNode {
  name: string;
  /** Names from the top-level column down to this element. */
  path: string[];
  /** Place in the footer's list of elements. */
  index: number;
  /** Undefined for a group. */
  physical: Physical | undefined;
  length: number;
  repetition: "REQUIRED" | "OPTIONAL" | "REPEATED";
  logical: Logical | undefined;
  /** `logical` is said by the newer annotation alone, of which DuckDB does not know all. */
  isNew: boolean;
  /** `ConvertedType.MAP_KEY_VALUE`, which old writers put where MAP belongs, or on the group inside of it. */
  isKeyValue: boolean;
  children: SchemaNode[];
  /** Levels that values of this element have. */
  maxDefinition: number;
  maxRepetition: number;
}

/** As messages show a column: its path, in quotes. */
export function columnName({ path }: Pick<SchemaNode, "path">): string {
  return JSON.stringify(path.join(".")).slice(0, 200);
}

interface Element {
  type: number | undefined;
  length: number;
  repetition: number;
  name: string;
  children: number;
  converted: number | undefined;
  scale: number;
  precision: number;
  logical: Logical | undefined;
}

export interface Schema {
  root: SchemaNode;
  leaves: SchemaNode[];
}

/** A schema as it is read: elements one by one, so that the caller may pause in between. */
export interface SchemaBuilder {
  add(reader: ThriftReader): void;
  finish(): Schema;
}

/**
 * Builds the tree from the footer's list of elements, each followed by its children, without recursion. Throws `limit`
 * for more than `PARQUET_LIMITS` allows, `invalid` where the list is no tree.
 */
export function openSchemaBuilder(label: string, count: number): SchemaBuilder {
  if (count > PARQUET_LIMITS.schemaElements) {
    throw new LakeError(
      "limit",
      `${label} has ${count} schema elements; ${PARQUET_LIMITS.schemaElements} are the most, and ${PARQUET_LIMITS.columns} columns.`,
      { hint: "Write fewer columns, or turn them into rows." },
    );
  }
  const open: { node: SchemaNode; left: number }[] = [];
  const leaves: SchemaNode[] = [];
  let root: SchemaNode | undefined;
  let index = 0;
  return {
    add(reader) {
      const element = readElement(reader);
      const parent = open.at(-1);
      if (root && !parent) throw noTree(label);
      const node = nodeOf(label, element, index++, parent?.node, root === undefined);
      root ??= node;
      if (parent) {
        parent.left -= 1;
        parent.node.children.push(node);
      }
      if (open.length > PARQUET_LIMITS.levels) {
        throw new LakeError("invalid", `${label} nests its types deeper than ${PARQUET_LIMITS.levels} levels.`, {
          hint: "Write the inner levels as JSON text.",
        });
      }
      if (node.physical !== undefined && node !== root) leaves.push(node);
      if (leaves.length > PARQUET_LIMITS.columns) {
        throw new LakeError("limit", `${label} has more than ${PARQUET_LIMITS.columns} columns.`, {
          hint: "Write fewer columns, or turn them into rows.",
        });
      }
      if (element.children < 0 || (node.physical !== undefined && element.children > 0)) throw noTree(label);
      if (node.physical === undefined) open.push({ node, left: element.children });
      while (open.at(-1)?.left === 0) open.pop();
    },
    finish() {
      if (!root || open.length > 0) throw noTree(label);
      return { root, leaves };
    },
  };
}

function nodeOf(
  label: string,
  element: Element,
  index: number,
  parent: SchemaNode | undefined,
  isRoot: boolean,
): SchemaNode {
  const repetition = isRoot ? "REQUIRED" : (["REQUIRED", "OPTIONAL", "REPEATED"] as const)[element.repetition];
  const physical = element.type === undefined ? undefined : PHYSICAL[element.type];
  const path = isRoot ? [] : [...(parent?.path ?? []), element.name];
  if (repetition === undefined || (element.type !== undefined && physical === undefined)) {
    throw new LakeError(
      "invalid",
      `${label} is damaged: column ${columnName({ path })} has a type or repetition that Parquet does not have.`,
      { hint: "Write the file again and retry." },
    );
  }
  return {
    name: element.name,
    path,
    index,
    physical: isRoot && element.children > 0 ? undefined : physical,
    length: element.length,
    repetition,
    logical: element.logical ?? oldLogical(element),
    isNew: element.converted === undefined,
    isKeyValue: element.converted === 2,
    children: [],
    maxDefinition: (parent?.maxDefinition ?? 0) + (repetition === "REQUIRED" ? 0 : 1),
    maxRepetition: (parent?.maxRepetition ?? 0) + (repetition === "REPEATED" ? 1 : 0),
  };
}

function noTree(label: string): LakeError {
  return new LakeError("invalid", `${label} is damaged: its schema is no tree.`, {
    hint: "Write the file again and retry.",
  });
}

function readElement(reader: ThriftReader): Element {
  const element: Element = {
    type: undefined,
    length: 0,
    repetition: 0,
    name: "",
    children: 0,
    converted: undefined,
    scale: 0,
    precision: 0,
    logical: undefined,
  };
  reader.struct((id, type) => {
    if (id === 4 && type === T.binary) element.name = new TextDecoder().decode(reader.binary());
    else if (id === 10 && type === T.struct) element.logical = readLogical(reader);
    else if (type !== T.i32) return false;
    else if (id === 1) element.type = reader.int();
    else if (id === 2) element.length = reader.int();
    else if (id === 3) element.repetition = reader.int();
    else if (id === 5) element.children = reader.int();
    else if (id === 6) element.converted = reader.int();
    else if (id === 7) element.scale = reader.int();
    else if (id === 8) element.precision = reader.int();
    else return false;
    return true;
  });
  return element;
}

/** Members of the union `LogicalType` that have nothing inside, by their field ids. */
const PLAIN_LOGICAL: Record<number, PlainLogical> = {
  1: "STRING",
  2: "MAP",
  3: "LIST",
  4: "ENUM",
  6: "DATE",
  11: "UNKNOWN",
  12: "JSON",
  13: "BSON",
  14: "UUID",
  15: "FLOAT16",
  16: "VARIANT",
  17: "GEOMETRY",
  18: "GEOGRAPHY",
};
const UNITS: Record<number, Unit> = { 1: "ms", 2: "us", 3: "ns" };

function readLogical(reader: ThriftReader): Logical | undefined {
  let logical: Logical | undefined;
  reader.struct((id, type) => {
    if (type !== T.struct) return false;
    const kind = PLAIN_LOGICAL[id];
    if (kind !== undefined) {
      reader.skip(type);
      logical = { kind };
    } else if (id === 5) logical = readDecimal(reader);
    else if (id === 7 || id === 8) logical = readTime(reader, id === 7 ? "TIME" : "TIMESTAMP");
    else if (id === 10) logical = readInteger(reader);
    else return false;
    return true;
  });
  return logical;
}

function readDecimal(reader: ThriftReader): Logical {
  const decimal = { kind: "DECIMAL" as const, precision: 0, scale: 0 };
  reader.struct((id, type) => {
    if (type !== T.i32) return false;
    if (id === 1) decimal.scale = reader.int();
    else if (id === 2) decimal.precision = reader.int();
    else return false;
    return true;
  });
  return decimal;
}

function readTime(reader: ThriftReader, kind: "TIME" | "TIMESTAMP"): Logical | undefined {
  let utc = false;
  let unit: Unit | undefined;
  reader.struct((id, type) => {
    if (id === 1 && (type === T.true || type === T.false)) utc = type === T.true;
    else if (id === 2 && type === T.struct) {
      reader.struct((member, memberType) => {
        unit = UNITS[member];
        reader.skip(memberType);
        return true;
      });
    } else return false;
    return true;
  });
  return unit && { kind, unit, utc };
}

function readInteger(reader: ThriftReader): Logical {
  const integer = { kind: "INTEGER" as const, bits: 0, signed: false };
  reader.struct((id, type) => {
    if (id === 1 && type === T.byte) integer.bits = reader.byte();
    else if (id === 2 && (type === T.true || type === T.false)) integer.signed = type === T.true;
    else return false;
    return true;
  });
  return integer;
}

/** https://github.com/apache/parquet-format/blob/master/LogicalTypes.md, the tables of `ConvertedType`. */
function oldLogical({ converted, precision, scale }: Element): Logical | undefined {
  switch (converted) {
    case 0:
      return { kind: "STRING" };
    case 1:
      return { kind: "MAP" };
    case 3:
      return { kind: "LIST" };
    case 4:
      return { kind: "ENUM" };
    case 5:
      return { kind: "DECIMAL", precision, scale };
    case 6:
      return { kind: "DATE" };
    case 7:
    case 8:
      return { kind: "TIME", unit: converted === 7 ? "ms" : "us", utc: false };
    case 9:
    case 10:
      // In UTC by the format's text, yet written for local times too: without a time zone, as DuckDB reads it.
      return { kind: "TIMESTAMP", unit: converted === 9 ? "ms" : "us", utc: false };
    case 19:
      return { kind: "JSON" };
    case 20:
      return { kind: "BSON" };
    case 21:
      return { kind: "INTERVAL" };
    default:
      if (converted === undefined || converted < 11 || converted > 18) return undefined;
      return { kind: "INTEGER", bits: 8 << ((converted - 11) % 4), signed: converted >= 15 };
  }
}

export interface OldMeaning {
  converted: number;
  precision?: number;
  scale?: number;
}

/** `logical` as the older annotation says it; undefined where that cannot, or DuckDB reads the newer one. */
export function oldMeaning(logical: Logical): OldMeaning | undefined {
  switch (logical.kind) {
    case "DECIMAL":
      return { converted: 5, precision: logical.precision, scale: logical.scale };
    case "INTEGER":
      return { converted: (logical.signed ? 15 : 11) + Math.log2(logical.bits / 8) };
    default: {
      const converted = OLD[logical.kind];
      return converted === undefined ? undefined : { converted };
    }
  }
}

const OLD: Partial<Record<Logical["kind"], number>> = { STRING: 0, MAP: 1, LIST: 3, ENUM: 4, DATE: 6, JSON: 19 };
