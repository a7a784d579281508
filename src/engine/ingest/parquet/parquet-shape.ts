import { LakeError } from "../../kernel/errors.ts";
import type { Reread } from "../../parquet/parquet-rewrite.ts";
import { columnName, type OldMeaning, oldMeaning, type SchemaNode } from "../../parquet/parquet-schema.ts";

/** What DuckDB makes of a schema element: lists and maps take several elements in Parquet, and one type in DuckDB. */
export type Shape =
  | { kind: "leaf"; node: SchemaNode }
  | { kind: "variant"; node: SchemaNode }
  | { kind: "struct"; node: SchemaNode; fields: Shape[] }
  | { kind: "list"; node: SchemaNode; item: Shape }
  | { kind: "map"; node: SchemaNode; key: Shape; value: Shape };

/**
 * Follows DuckDB's reader: a repeated element is a list, a group of one that is a LIST, a MAP or repeated stands for what
 * is in it, and every other group is a struct.
 */
export function shapeOf(node: SchemaNode, parent?: SchemaNode): Shape {
  const single = standsFor(node, parent);
  return node.repetition === "REPEATED" && single.kind !== "map" ? { kind: "list", node, item: single } : single;
}

function standsFor(node: SchemaNode, parent: SchemaNode | undefined): Shape {
  if (node.physical !== undefined) return { kind: "leaf", node };
  if (node.logical?.kind === "VARIANT") return { kind: "variant", node };
  const [first, second] = node.children;
  if (isKeyValue(node, parent) && first && second) {
    return { kind: "map", node, key: shapeOf(first, node), value: shapeOf(second, node) };
  }
  const stands = node.logical?.kind === "LIST" || node.logical?.kind === "MAP" || node.repetition === "REPEATED";
  if (first && !second && stands) return shapeOf(first, node);
  return { kind: "struct", node, fields: node.children.map((child) => shapeOf(child, node)) };
}

function isKeyValue(node: SchemaNode, parent: SchemaNode | undefined): boolean {
  return node.isKeyValue || (parent?.logical?.kind === "MAP" && parent.children.length === 1);
}

const LIST: OldMeaning = { converted: 3 };
const MAP: OldMeaning = { converted: 1 };

export interface Regroup {
  node: SchemaNode;
  /** Where the result is of another type than the file says. */
  note?: { from: string; reason: string };
}

/**
 * What is sound and DuckDB does not read as it is: of types said by the newer annotation alone it reads some as plain
 * numbers and bytes; maps without values become lists of their keys; the oldest way to write a map becomes the usual one;
 * fields without a name get one. Adds what to read instead to `rereads`. Throws `invalid` for a group that no type is made
 * of.
 */
export function regroup(root: SchemaNode, label: string, rereads: Map<number, Reread>): Regroup[] {
  const found: Regroup[] = [];
  nameFields(root, rereads, false);
  const todo: { node: SchemaNode; parent: SchemaNode | undefined }[] = root.children.map((node) => ({
    node,
    parent: undefined,
  }));
  for (let next = todo.pop(); next; next = todo.pop()) {
    const { node, parent } = next;
    const meaning = node.isNew && node.logical ? oldMeaning(node.logical) : undefined;
    if (meaning) rereads.set(node.index, { meaning });
    if (node.logical?.kind === "VARIANT") {
      found.push({ node, note: { from: "VARIANT", reason: "its values are kept as JSON" } });
      continue;
    }
    if (node.physical !== undefined) continue;
    const refuse = (what: string, hint: string): LakeError =>
      new LakeError("invalid", `${label}: column ${columnName(node)} ${what}.`, { hint });
    if (node.children.length === 0)
      throw refuse("is a STRUCT without fields", "Leave the column out, or give it a field.");
    if (node.isKeyValue && parent?.logical?.kind !== "MAP" && node.repetition !== "REPEATED") {
      rereads.set(node.index, { meaning: MAP });
      node.logical = { kind: "MAP" };
      node.isKeyValue = false;
    }
    if (isKeyValue(node, parent)) {
      if (node.repetition !== "REPEATED" || node.children.length > 2) {
        throw refuse("is no MAP: its entries are not repeated pairs", "Write it as a MAP or a list of STRUCTs.");
      }
      if (node.children.length === 1) {
        const map = parent ?? node;
        rereads.set(map.index, { meaning: LIST });
        if (map !== node) rereads.set(node.index, { meaning: "none" });
        map.logical = { kind: "LIST" };
        node.isKeyValue = false;
        found.push({ node: map, note: { from: "MAP without values", reason: "its keys are kept as a list" } });
      }
    }
    nameFields(node, rereads, true);
    for (const child of node.children) todo.push({ node: child, parent: node });
  }
  return found;
}

/**
 * Fields without a name, and columns and fields with a NUL in theirs, which is the end of a statement. DuckDB itself names
 * columns that have none. A LIST's or a MAP's inner groups have names that nobody sees.
 */
function nameFields(node: SchemaNode, rereads: Map<number, Reread>, isEmptyNamed: boolean): void {
  for (const [index, child] of node.children.entries()) {
    if (!child.name.includes("\0") && !(child.name === "" && isEmptyNamed)) continue;
    const taken = new Set(node.children.map(({ name }) => name.toLowerCase()));
    let name = `C${index}`;
    while (taken.has(name.toLowerCase())) name = `${name}_1`;
    rereads.set(child.index, { ...rereads.get(child.index), name });
  }
}
