import { areFieldNames } from "./json-types.ts";

/** The values found in one place inside nested values: under one key, or in one list. */
export interface Shape {
  /** Bits of `SEEN`. A null has none. */
  seen: number;
  /** Fields of the objects, in the order of their first occurrence. */
  fields: Field[];
  byKey: Map<string, number>;
  /** Shape of the items of the lists. */
  item: Shape | undefined;
}

export interface Field {
  key: string;
  /** The key as it was first written, quotes included. */
  written: Buffer;
  shape: Shape;
  /** Number of the object that last had it. */
  object: number;
}

/** `IRREGULAR`: too many fields to record. */
export const SEEN = { BOOLEAN: 1, INTEGER: 2, DOUBLE: 4, VARCHAR: 8, OBJECT: 16, LIST: 32, IRREGULAR: 64 } as const;

/** Changes shapes, and takes back the changes of a record that is damaged, or cut off by the end of the window. */
export interface Shapes {
  mark(shape: Shape, bit: number): void;
  /** Index of a new field; undefined when there are too many. */
  addField(shape: Shape, key: string, written: Buffer): number | undefined;
  itemOf(shape: Shape): Shape;
  /** A number that no object had before. */
  nextObject(): number;
  keep(): void;
  undo(): void;
}

/** Most fields of all objects together. */
const MAX_FIELDS = 100_000;
/** Objects with more keys become MAP, not STRUCT. */
const MAP_KEYS = 200;
/** Deepest nesting of a type: DuckDB reads lists in lists from Parquet twice as slowly with every level. */
export const MAX_TYPE_DEPTH = 12;
const MAX_TYPE_LENGTH = 16_384;

export function emptyShape(): Shape {
  return { seen: 0, fields: [], byKey: new Map(), item: undefined };
}

export function openShapes(): Shapes {
  let objects = 0;
  let fields = 0;
  let changes: (() => void)[] = [];
  const mark = (shape: Shape, bit: number): void => {
    if ((shape.seen & bit) !== 0) return;
    shape.seen |= bit;
    changes.push(() => {
      shape.seen &= ~bit;
    });
  };
  return {
    mark,
    addField(shape, key, written) {
      if (fields >= MAX_FIELDS) {
        mark(shape, SEEN.IRREGULAR);
        return undefined;
      }
      fields += 1;
      shape.byKey.set(key, shape.fields.length);
      changes.push(() => {
        fields -= 1;
        shape.fields.pop();
        shape.byKey.delete(key);
      });
      return shape.fields.push({ key, written, shape: emptyShape(), object: 0 }) - 1;
    },
    itemOf(shape) {
      if (shape.item) return shape.item;
      const item = emptyShape();
      shape.item = item;
      changes.push(() => {
        shape.item = undefined;
      });
      return item;
    },
    nextObject() {
      objects += 1;
      return objects;
    },
    keep() {
      if (changes.length > 0) changes = [];
    },
    undo() {
      for (const change of changes.reverse()) change();
      changes = [];
    },
  };
}

/**
 * The SQL type of nested values: STRUCT, LIST, MAP for objects with very many keys and values of one type, else JSON.
 * Strings are not parsed as dates. Pure.
 */
export function nestedType(shape: Shape, doubleRounds: boolean): string {
  const type = typeOf(shape, 0);
  return type.length > MAX_TYPE_LENGTH || (doubleRounds && /\bDOUBLE\b/.test(type)) ? "JSON" : type;
}

function typeOf({ seen, item, fields }: Shape, depth: number): string {
  if (depth > MAX_TYPE_DEPTH) return "JSON";
  if (seen === SEEN.LIST) return `${item ? typeOf(item, depth + 1) : "VARCHAR"}[]`;
  if (seen === SEEN.OBJECT) return objectType(fields, depth);
  if (seen === SEEN.INTEGER) return "BIGINT";
  if (seen === SEEN.DOUBLE || seen === (SEEN.DOUBLE | SEEN.INTEGER)) return "DOUBLE";
  if (seen === SEEN.BOOLEAN) return "BOOLEAN";
  return seen === 0 || seen === SEEN.VARCHAR ? "VARCHAR" : "JSON";
}

function objectType(fields: readonly Field[], depth: number): string {
  if (fields.length === 0) return "JSON";
  if (fields.length <= MAP_KEYS && areFieldNames(fields.map(({ key }) => key))) {
    const inside = fields.map(({ key, shape }) => `"${key.replaceAll('"', '""')}" ${typeOf(shape, depth + 1)}`);
    return `STRUCT(${inside.join(", ")})`;
  }
  const inside = new Set(fields.map(({ shape }) => typeOf(shape, depth + 1)));
  const [only] = inside;
  return inside.size === 1 && only !== undefined && fields.length > MAP_KEYS ? `MAP(VARCHAR, ${only})` : "JSON";
}
