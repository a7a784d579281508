import type { TypeTree } from "../../duckdb/column-types.ts";
import { identifier } from "../../duckdb/duckdb.ts";
import type { SchemaNode } from "../../parquet/parquet-schema.ts";
import type { LeafRule } from "./parquet-rules.ts";
import type { Shape } from "./parquet-shape.ts";

/** A leaf whose values are checked or made into something else, and where they are. */
export interface RuledLeaf {
  node: SchemaNode;
  /** Names from the column down to the leaf, without those that lists and maps have inside. */
  path: string;
  rule: LeafRule;
  /** Place among the top-level columns. */
  column: number;
  /** SQL of one row for each value of the leaf, as `v`. */
  values: string;
  /** SQL of the value in a row, where the leaf is a column. */
  value: string | undefined;
}

/** A top-level column: as the file has it, and as DuckDB does. */
export interface ReadColumn {
  name: string;
  node: SchemaNode;
  shape: Shape;
  type: TypeTree;
}

/** Finds the leaves that have a rule, and the fields that DuckDB renames. `from` is SQL that a query can select from. */
export function ruledLeaves(
  columns: readonly ReadColumn[],
  rules: ReadonlyMap<SchemaNode, LeafRule>,
  from: string,
): RuledLeaf[] {
  return columns.flatMap(({ name, node, shape }, column) => {
    const found: RuledLeaf[] = [];
    const visit = (inner: Shape, path: string, values: string): void => {
      const step = (expression: string): string => `SELECT ${expression} AS v FROM (${values})`;
      if (inner.kind === "leaf") {
        const rule = rules.get(inner.node);
        const value = shape.kind === "leaf" ? identifier(name) : undefined;
        if (rule) found.push({ node: inner.node, path, rule, column, values, value });
      } else if (inner.kind === "struct") {
        for (const [index, field] of inner.fields.entries())
          visit(field, `${path}.${inner.node.children[index]?.name}`, step(`struct_extract_at(v, ${index + 1})`));
      } else if (inner.kind === "list") {
        visit(inner.item, path, step("unnest(v)"));
      } else if (inner.kind === "map") {
        visit(inner.key, path, step("unnest(map_keys(v))"));
        visit(inner.value, path, step("unnest(map_values(v))"));
      }
    };
    visit(shape, node.name, `SELECT ${identifier(name)} AS v FROM ${from}`);
    return found;
  });
}

/** Paths that DuckDB gives to fields of structs because two of them differ at most by case, or one has no name. */
export function renamedFields(columns: readonly ReadColumn[]): { from: string; to: string }[] {
  return columns.flatMap(({ name, node, shape, type }) => {
    const found: { from: string; to: string }[] = [];
    const visit = (inner: Shape, innerType: TypeTree, from: string, to: string): void => {
      if (inner.kind === "struct" && innerType.kind === "struct") {
        for (const [index, field] of inner.fields.entries()) {
          const given = innerType.fields[index]?.name ?? "";
          const own = inner.node.children[index]?.name ?? "";
          const paths = [`${from}.${own}`, `${to}.${given}`] as const;
          if (own !== given) found.push({ from: paths[0], to: paths[1] });
          const fieldType = innerType.fields[index]?.type;
          if (fieldType) visit(field, fieldType, ...paths);
        }
      } else if (inner.kind === "list" && innerType.kind === "list") {
        visit(inner.item, innerType.item, from, to);
      } else if (inner.kind === "map" && innerType.kind === "map") {
        visit(inner.key, innerType.key, from, to);
        visit(inner.value, innerType.value, from, to);
      }
    };
    visit(shape, type, node.name, name);
    return found;
  });
}

/** SQL of the column as it is kept, or undefined where it is kept as it is read. */
export function keptColumn(column: ReadColumn, rules: ReadonlyMap<SchemaNode, LeafRule>): string | undefined {
  return kept(column.shape, column.type, identifier(column.name), rules, 0);
}

function kept(
  shape: Shape,
  type: TypeTree,
  value: string,
  rules: ReadonlyMap<SchemaNode, LeafRule>,
  depth: number,
): string | undefined {
  const inside = (inner: Shape, innerType: TypeTree | undefined, from: string): string | undefined =>
    innerType && kept(inner, innerType, from, rules, depth + 1);
  const item = `x${depth}`;
  switch (shape.kind) {
    case "variant":
      return `CAST(${value} AS JSON)`;
    case "leaf": {
      const rule = rules.get(shape.node);
      if (!rule) return undefined;
      const made = rule.make?.(value) ?? value;
      return `CASE WHEN ${value} IS NULL OR (${rule.check(value)}) THEN ${made} ELSE error('a value is outside of its type') END`;
    }
    case "struct": {
      if (type.kind !== "struct") return undefined;
      const fields = shape.fields.map((field, index) =>
        inside(field, type.fields[index]?.type, `struct_extract_at(${value}, ${index + 1})`),
      );
      if (fields.every((field) => field === undefined)) return undefined;
      const packed = fields.map(
        (field, index) =>
          `${identifier(type.fields[index]?.name ?? "")} := ${field ?? `struct_extract_at(${value}, ${index + 1})`}`,
      );
      return `CASE WHEN ${value} IS NULL THEN NULL ELSE struct_pack(${packed.join(", ")}) END`;
    }
    case "list": {
      if (type.kind !== "list") return undefined;
      const made = inside(shape.item, type.item, item);
      return made && `list_transform(${value}, lambda ${item}: ${made})`;
    }
    case "map": {
      if (type.kind !== "map") return undefined;
      const key = inside(shape.key, type.key, `${item}.key`);
      const held = inside(shape.value, type.value, `${item}.value`);
      if (key === undefined && held === undefined) return undefined;
      const pair = `struct_pack(k := ${key ?? `${item}.key`}, v := ${held ?? `${item}.value`})`;
      return `map_from_entries(list_transform(map_entries(${value}), lambda ${item}: ${pair}))`;
    }
  }
}
