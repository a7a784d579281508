import { LakeError } from "../kernel/errors.ts";
import { argument, next } from "../kernel/next-step.ts";
import type { ColumnStats, DatasetKind, Head, Manifest } from "./types.ts";

export interface ListRequest {
  /** Matches names and column names, case-insensitively; every word must match. */
  search?: string | undefined;
  kind?: DatasetKind | undefined;
  /** `nextCursor` of the page before. */
  cursor?: string | undefined;
  limit?: number | undefined;
}

export interface ListPage {
  datasets: Head[];
  /** Opaque; absent on the last page. */
  nextCursor?: string;
  /** Datasets that match, on all pages. */
  total: number;
}

/**
 * One page of `heads`, which are in name order. The cursor contains the last name of the page before, so that pages stay
 * consistent while datasets come and go. Throws `invalid` for a cursor that is foreign or belongs to another search.
 */
export function page(heads: Head[], request: ListRequest): ListPage {
  const words = (request.search ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const matches = heads.filter(
    (head) => (request.kind === undefined || head.kind === request.kind) && words.every((word) => mentions(head, word)),
  );
  const filter = JSON.stringify([words, request.kind ?? null]);
  const after = request.cursor === undefined ? undefined : readCursor(request.cursor, filter);
  const rest = after === undefined ? matches : matches.filter((head) => head.name > after);
  const datasets = rest.slice(0, request.limit ?? 100);
  const last = datasets.at(-1);
  return {
    datasets,
    total: matches.length,
    ...(last !== undefined && rest.length > datasets.length && { nextCursor: writeCursor(last.name, filter) }),
  };
}

/** A dataset as lists show it, with the field names of the wire format. */
export function summary(head: Head) {
  return {
    name: head.name,
    kind: head.kind,
    version: head.version,
    rows: itemCount(head),
    bytes: head.bytes,
    columns: head.columns.length,
    updated_at: head.updatedAt,
  };
}

/** What there is to say of one version of a dataset, in the field names that leave the engine. */
export function details(described: { manifest: Manifest; versions: Head[]; versionsTotal: number }) {
  const { manifest, versions, versionsTotal } = described;
  const stats = columnStats(manifest);
  return {
    dataset_id: manifest.datasetId,
    name: manifest.name,
    kind: manifest.kind,
    version: manifest.version,
    rows: itemCount(manifest),
    bytes: manifest.bytes,
    files: manifest.files.length,
    schema_fingerprint: manifest.schemaFingerprint,
    created_at: manifest.createdAt,
    updated_at: manifest.updatedAt,
    columns: manifest.columns.map(({ name, type }) => ({
      name,
      type,
      ...(stats[name] ?? { min: null, max: null, nulls: 0 }),
    })),
    source: manifest.provenance.source,
    operation: manifest.provenance.operation,
    versions: versions.map((head) => ({
      version: head.version,
      operation: head.provenance.operation,
      rows: itemCount(head),
      source: head.provenance.source,
      created_at: head.updatedAt,
    })),
    versions_total: versionsTotal,
  };
}

/** Rows that a statement sees. The files of an index also contain replaced and deleted items. */
export function itemCount({ index, rows }: Pick<Head, "index" | "rows">): number {
  return index?.count ?? rows;
}

/** Min, max and null count of every column over all files of a version. */
export function columnStats(manifest: Manifest): Record<string, ColumnStats> {
  const merged: Record<string, ColumnStats> = {};
  for (const { name, type } of manifest.columns) {
    const order = ordering(type);
    let min: string | null = null;
    let max: string | null = null;
    let nulls = 0;
    let known = true;
    for (const file of manifest.files) {
      const stats = file.stats[name];
      // A column that was added later is NULL in all rows of earlier files.
      nulls += stats ? stats.nulls : file.rows;
      if (stats && stats.nulls < file.rows && (stats.min === null || stats.max === null)) known = false;
      if (stats?.min != null && (min === null || order(stats.min, min) < 0)) min = stats.min;
      if (stats?.max != null && (max === null || order(stats.max, max) > 0)) max = stats.max;
    }
    // Every item of an index has an id and a vector, which has no order; only rows that delete an item have no vector.
    const item = manifest.index !== undefined && NEVER_NULL.has(name);
    if (item && name === "vector") known = false;
    if (manifest.index) nulls = item ? 0 : Math.min(nulls, manifest.index.count);
    merged[name] = known ? { min: shown(min, type), max: shown(max, type), nulls } : { min: null, max: null, nulls };
  }
  return merged;
}

const NEVER_NULL: ReadonlySet<string> = new Set(["id", "vector"]);

/** Longest minimum or maximum that is shown whole: a value may be a document. */
const SHOWN_CHARS = 80;

function shown(value: string | null, type: string): string | null {
  if (type === "BOOLEAN") return value === "1" ? "true" : value === "0" ? "false" : value;
  return value !== null && value.length > SHOWN_CHARS ? `${value.slice(0, SHOWN_CHARS - 1)}…` : value;
}

function mentions(head: Head, word: string): boolean {
  return head.name.includes(word) || head.columns.some((column) => column.name.toLowerCase().includes(word));
}

function ordering(type: string): (a: string, b: string) => number {
  if (/^U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$/.test(type)) {
    return (a, b) => (BigInt(a) < BigInt(b) ? -1 : BigInt(a) > BigInt(b) ? 1 : 0);
  }
  if (/^(FLOAT|DOUBLE|DECIMAL)/.test(type)) return (a, b) => Number(a) - Number(b);
  return (a, b) => (a < b ? -1 : a > b ? 1 : 0);
}

function writeCursor(name: string, filter: string): string {
  return Buffer.from(JSON.stringify([name, filter])).toString("base64url");
}

function readCursor(cursor: string, filter: string): string {
  try {
    const [name, ofFilter] = JSON.parse(Buffer.from(cursor, "base64url").toString("utf8"));
    if (typeof name === "string" && ofFilter === filter) return name;
  } catch {
    // A foreign cursor is reported below, like one of another search.
  }
  throw new LakeError("invalid", "This cursor does not belong to this search.", {
    hint: next`Use next_cursor of the page before with the same ${argument("search")} and ${argument("kind")}, or leave ${argument("cursor")} out to start again.`,
    facts: { argument: "cursor" },
  });
}
