import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { columnTypes } from "../../duckdb/column-types.ts";
import { identifier, type LocalConnection, literalList } from "../../duckdb/duckdb.ts";
import { LakeError } from "../../kernel/errors.ts";
import { next, setting } from "../../kernel/next-step.ts";
import { type ParquetFooter, readFooter } from "../../parquet/parquet-footer.ts";
import { checkPages } from "../../parquet/parquet-pages.ts";
import { type Reread, writeReread } from "../../parquet/parquet-rewrite.ts";
import type { SchemaNode } from "../../parquet/parquet-schema.ts";
import { readEachColumn } from "../each-column.ts";
import type { ConvertContext, Converted, Converter, IngestNotes, Source } from "../types.ts";
import { writeParquet } from "../write.ts";
import { blame, type Suspect, selectAs, unreadable } from "./parquet-blame.ts";
import { keptColumn, type ReadColumn, type RuledLeaf, renamedFields, ruledLeaves } from "./parquet-columns.ts";
import { writersNotes } from "./parquet-notes.ts";
import { type LeafRule, leafRules } from "./parquet-rules.ts";
import { regroup, shapeOf } from "./parquet-shape.ts";

/**
 * Parquet as it is on disk becomes Parquet as the lake wants it: our field ids, compression and row groups. The footer and
 * the page headers are checked before DuckDB opens the file. Values stay exact: those outside of their type are refused by
 * column, and types that DuckDB would cut are read as plain numbers first. Changed names and types are reported. Throws
 * `limit` for more rows than `context.maxRows`, `invalid` for what is damaged, encrypted or cannot be read.
 */
export const convertParquet: Converter = async (source, context) => {
  if (source.compression !== "none") {
    throw new LakeError("invalid", `${source.label} is a compressed Parquet file, which cannot be read in place.`, {
      hint: "Decompress it first; Parquet compresses its own pages.",
    });
  }
  const footer = await checkFile(source, context);
  const rereads = new Map<number, Reread>();
  const regrouped = regroup(footer.root, source.label, rereads);
  const rules = new Map<SchemaNode, LeafRule>();
  for (const [index, rule] of leafRules(footer, source.label).entries()) {
    const leaf = footer.leaves[index];
    if (!rule || !leaf) continue;
    rules.set(leaf, rule);
    if (rule.reread) rereads.set(leaf.index, { ...rereads.get(leaf.index), ...rule.reread });
  }
  const connection = await context.duck.connect();
  try {
    const readable = await openReadable(connection, source, context, { footer, rereads });
    const converted = await reencode(connection, source, context, { ...readable, footer, rules });
    for (const { node, note } of regrouped) {
      const [column = ""] = node.path;
      const to = converted.columns[footer.root.children.findIndex(({ name }) => name === column)]?.type ?? "";
      if (note) converted.notes.converted.push({ column: node.path.join("."), to, ...note });
    }
    return converted;
  } finally {
    connection.close();
    for (const name of COPIES) await rm(join(context.folder, name), { force: true });
  }
};

/** Of the source, with another footer. */
const COPIES = ["source.parquet", "bare.parquet"] as const;

interface Readable {
  /** SQL of what DuckDB reads: the source, or a copy of it. */
  from: string;
  read: ReadColumn[];
}

/** The source as DuckDB can read it, and its columns. */
async function openReadable(
  connection: LocalConnection,
  source: Source,
  { folder, signal }: ConvertContext,
  { footer, rereads }: { footer: ParquetFooter; rereads: ReadonlyMap<number, Reread> },
): Promise<Readable> {
  const [copy, bare] = COPIES.map((name) => join(folder, name)) as [string, string];
  if (rereads.size > 0) await writeReread(source.path, copy, footer, { rereads, signal });
  const readFrom = async (path: string): Promise<Readable> => {
    const from = readParquet([path]);
    return { from, read: await readColumns(connection, source, footer, from) };
  };
  try {
    return await readFrom(rereads.size > 0 ? copy : source.path);
  } catch (error) {
    // DuckDB refuses what older versions of GeoParquet note about columns, which are bytes without it.
    if (!footer.metadata.has("geo")) throw error;
    await writeReread(source.path, bare, footer, { rereads, withoutNotes: true, signal });
    return readFrom(bare);
  }
}

/** What the file says about itself, when it is consistent and within the limits. */
async function checkFile(source: Source, { signal, maxRows }: ConvertContext): Promise<ParquetFooter> {
  const handle = await open(source.path, "r").catch((cause: unknown) => {
    throw new LakeError("conflict", `${source.label} can no longer be opened.`, {
      hint: "Call again when it is no longer moved or written to.",
      cause,
    });
  });
  try {
    const footer = await readFooter(handle, source.label, signal);
    refuseTooManyRows(source, footer.rows, maxRows);
    if (footer.leaves.length === 0) {
      throw new LakeError("invalid", `${source.label} has no columns.`, {
        hint: "A dataset needs at least one column.",
      });
    }
    await checkPages(handle, footer, source.label, signal);
    return footer;
  } finally {
    await handle.close();
  }
}

interface Checked extends Readable {
  footer: ParquetFooter;
  rules: Map<SchemaNode, LeafRule>;
}

async function reencode(
  connection: LocalConnection,
  source: Source,
  context: ConvertContext,
  { from, read, footer, rules }: Checked,
): Promise<Converted> {
  const { signal } = context;
  const ruled = ruledLeaves(read, rules, from);
  const suspects = (): Suspect[] =>
    read.map((column) => ({ select: keptColumn(column, rules) ?? identifier(column.name), node: column.node }));
  if (context.onColumn) {
    const columns = suspects().map(({ select, node }) => ({ select, name: node.name }));
    await readEachColumn(connection, from, columns, context);
  }
  try {
    const converted = await settleFine(connection, context, ruled, rules, read, from);
    converted.push(...(await tellMoments(connection, ruled, footer, from, signal)));
    const kept = suspects().map(({ select }, index) => selectAs(select, read[index]?.name ?? ""));
    const select = `SELECT ${kept.join(", ")} FROM ${from}`;
    const columns = await describe(connection, select, signal);
    const files = await writeParquet(connection, () => select, columns, context, {
      rowBytes: footer.rows > 0 ? footer.uncompressedBytes / footer.rows : 0,
      atMostRows: footer.rows,
    });
    const renamed = read.flatMap(({ name, node }) => (node.name === name ? [] : [{ from: node.name, to: name }]));
    return {
      columns,
      files,
      rows: files.reduce((sum, file) => sum + file.rows, 0),
      notes: {
        ...noNotes(),
        renamed_columns: [...renamed, ...renamedFields(read)],
        converted: [...converted, ...writersNotes(footer, columns)],
      },
    };
  } catch (error) {
    throw await blame(error, { connection, label: source.label, from, suspects: suspects(), ruled, signal });
  }
}

/** The file's columns under the names and types that DuckDB reads them with. */
async function readColumns(
  connection: LocalConnection,
  source: Source,
  { root }: ParquetFooter,
  from: string,
): Promise<ReadColumn[]> {
  const columns = await columnTypes(connection, `FROM ${from}`).catch((error: unknown) => {
    throw unreadable(source.label, error);
  });
  if (columns.length !== root.children.length) {
    throw new LakeError("internal", `DuckDB reads ${columns.length} columns of ${root.children.length}.`);
  }
  return root.children.flatMap((node, index) => {
    const column = columns[index];
    return column ? [{ ...column, node, shape: shapeOf(node) }] : [];
  });
}

/**
 * Decides for each leaf whose finer part DuckDB's usual type has no room for, whether its values have one: then, or where
 * the dataset has the finer type already, its rule becomes the finer one.
 */
async function settleFine(
  connection: LocalConnection,
  { signal, target }: ConvertContext,
  ruled: readonly RuledLeaf[],
  rules: Map<SchemaNode, LeafRule>,
  read: readonly ReadColumn[],
  from: string,
): Promise<IngestNotes["converted"]> {
  const converted: IngestNotes["converted"] = [];
  const open = ruled.filter(({ rule }) => rule.fine);
  const isWhole = await askAll(connection, open, ({ isWhole: ask }, value) => ask?.(value) ?? "true", from, signal);
  for (const [index, leaf] of open.entries()) {
    const { rule, node, path, column } = leaf;
    if (!rule.fine) continue;
    const has = target?.columns.find(({ name }) => name === read[column]?.name)?.type;
    if (isWhole[index] && has !== rule.fine.type) continue;
    leaf.rule = { ...rule, ...rule.fine, type: rule.type };
    rules.set(node, leaf.rule);
    if (rule.fine.reason === undefined) continue;
    converted.push({ column: path, from: rule.type, to: rule.fine.type, reason: rule.fine.reason });
  }
  return converted;
}

/**
 * What the types of Parquet leave open about moments. To other writers, what DuckDB has for infinity is a number like
 * others: only leaves whose statistics leave room for such numbers are asked about. DuckDB means infinity by them, and a
 * type that is not kept by a time in UTC, which others write for any time.
 */
async function tellMoments(
  connection: LocalConnection,
  ruled: readonly RuledLeaf[],
  { writer }: ParquetFooter,
  from: string,
  signal: AbortSignal | undefined,
): Promise<IngestNotes["converted"]> {
  if (/^DuckDB\b/.test(writer)) {
    return ruled.flatMap(({ node: { logical }, path }) =>
      logical?.kind === "TIME" && logical.utc
        ? [{ column: path, from: "TIME WITH TIME ZONE", to: "TIME", reason: "DuckDB wrote the times in UTC" }]
        : [],
    );
  }
  const doubtful = ruled.filter(({ rule }) => rule.infinite);
  const ask = ({ infinite }: LeafRule, value: string): string => `NOT ${infinite?.is(value) ?? "false"}`;
  const areFinite = await askAll(connection, doubtful, ask, from, signal);
  return doubtful.flatMap(({ rule, path }, index) => {
    if (areFinite[index] || !rule.infinite) return [];
    const reason = "the least and the greatest number are -infinity and infinity";
    return [{ column: path, from: rule.type, to: rule.infinite.type, reason }];
  });
}

/** Columns that are asked about with one statement. */
const ASKED_AT_ONCE = 64;

/** For each leaf, whether what `ask` makes of its rule is true of all of its values. */
async function askAll(
  connection: LocalConnection,
  leaves: readonly RuledLeaf[],
  ask: (rule: LeafRule, value: string) => string,
  from: string,
  signal: AbortSignal | undefined,
): Promise<boolean[]> {
  const asked: boolean[] = [];
  for (let at = 0; at < leaves.length; at += ASKED_AT_ONCE) {
    const some = leaves.slice(at, at + ASKED_AT_ONCE).map(({ rule, value, values }, index) => {
      const all = `coalesce(bool_and(${ask(rule, value ?? "v")}), true)`;
      return `${value === undefined ? `(SELECT ${all} FROM (${values}))` : all} AS c${index}`;
    });
    const isAll = leaves.slice(at, at + ASKED_AT_ONCE).every(({ value }) => value === undefined);
    const [row] = await connection.rows<Record<string, boolean>>(
      `SELECT ${some.join(", ")}${isAll ? "" : ` FROM ${from}`}`,
      { signal },
    );
    asked.push(...some.map((_, index) => row?.[`c${index}`] === true));
  }
  return asked;
}

/** Throws `limit` when a source says that it has more rows than one ingest may write. */
export function refuseTooManyRows(source: Source, rows: number, maxRows: number): void {
  if (rows <= maxRows) return;
  throw new LakeError("limit", `${source.label} has ${rows} rows; one ingest may write ${maxRows}.`, {
    hint: next`Ingest part of it, or raise ${setting("max_ingest_rows")}.`,
  });
}

/** Columns of Parquet files that have one schema, under the names DuckDB gives them. */
export function describeParquet(
  connection: LocalConnection,
  paths: string[],
  signal: AbortSignal | undefined,
): Promise<{ name: string; type: string }[]> {
  return describe(connection, `FROM ${readParquet(paths)}`, signal);
}

async function describe(
  connection: LocalConnection,
  select: string,
  signal: AbortSignal | undefined,
): Promise<{ name: string; type: string }[]> {
  const described = await connection.rows<{ column_name: string; column_type: string }>(`DESCRIBE ${select}`, {
    signal,
  });
  return described.map(({ column_name, column_type }) => ({ name: column_name, type: column_type }));
}

export function selectParquet(columns: readonly { name: string }[], paths: string[]): string {
  return `SELECT ${columns.map(({ name }) => identifier(name)).join(", ")} FROM ${readParquet(paths)}`;
}

export function noNotes(): IngestNotes {
  return { kept_as_text: [], skipped_rows: null, renamed_columns: [], encoding: null, dialect: null, converted: [] };
}

function readParquet(paths: string[]): string {
  return `read_parquet(${literalList(paths)}, hive_partitioning = false)`;
}
