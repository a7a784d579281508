import { type Connection, identifier } from "../../duckdb/duckdb.ts";
import { LakeError } from "../../kernel/errors.ts";
import { columnName, type SchemaNode } from "../../parquet/parquet-schema.ts";
import type { RuledLeaf } from "./parquet-columns.ts";

export interface Suspect {
  /** SQL of the column as it is kept. */
  select: string;
  node: SchemaNode;
}

interface Trial {
  connection: Connection;
  label: string;
  from: string;
  suspects: readonly Suspect[];
  ruled: readonly RuledLeaf[];
  signal: AbortSignal | undefined;
}

/**
 * What stopped a conversion, as an error that names the file and, by reading columns one by one, the column: DuckDB's own
 * words name neither. Errors that are not DuckDB's, and those about memory, stay.
 */
export async function blame(error: unknown, trial: Trial): Promise<unknown> {
  if (!isDuckError(error)) return error;
  const { label, signal } = trial;
  const outside = await findOutside(trial);
  if (outside) return outside;
  if (signal?.aborted) return error;
  const found = await findColumn(trial);
  // A disk that fails is nothing that the file did.
  if (!found && error.kind === "unavailable") return error;
  return unreadable(label, found?.error ?? error, found?.node);
}

/** DuckDB's words about the file, or the column `node` of it, as an error about the caller's file. */
export function unreadable(label: string, error: unknown, node?: SchemaNode): unknown {
  if (!isDuckError(error)) return error;
  const text = error.cause.message;
  const reason = JSON.stringify(firstLine(text).slice(0, MAX_REASON));
  const where = node ? `${label}: column ${columnName(node)}` : label;
  if (/^Conversion Error/.test(text)) {
    return new LakeError("invalid", `${where} has a value that DuckDB cannot read. It says: ${reason}`, {
      hint: "Write it as NULL where it stands for a missing value, or the column as text or a plain number.",
      cause: error,
    });
  }
  return /Not implemented|unsupported|only supported|not supported/i.test(text)
    ? new LakeError("invalid", `${where} holds something that DuckDB cannot read. It says: ${reason}`, {
        hint: "Write it with plainer types or encodings.",
        cause: error,
      })
    : new LakeError(
        "invalid",
        `${label} is damaged${node ? ` in column ${columnName(node)}` : ""}. DuckDB says: ${reason}`,
        {
          hint: "Write the file again and retry.",
          cause: error,
        },
      );
}

const MAX_REASON = 300;

function firstLine(text: string): string {
  const line = (text.split("\n", 1)[0] ?? "").replace(/'[^']*\/[^']*'|"[^"]*\/[^"]*"/g, "the file");
  return line.replace(/^(?:[A-Z][A-Za-z]* )+Error: /i, "").trim();
}

/** Errors of DuckDB have its own as their cause. */
function isDuckError(error: unknown): error is LakeError & { cause: Error } {
  const isOurs = !(error instanceof LakeError) || !(error.cause instanceof Error) || error.cause instanceof LakeError;
  return !isOurs && error.kind !== "limit" && error.kind !== "denied";
}

/** The first value that a rule refuses. */
async function findOutside({ connection, label, ruled, signal }: Trial): Promise<LakeError | undefined> {
  for (const { path, rule, values } of ruled) {
    const [row] = await connection
      .rows<{ shown: string }>(
        `SELECT ${rule.show("v")} AS shown FROM (${values}) WHERE v IS NOT NULL AND (${rule.check("v")}) IS NOT TRUE LIMIT 1`,
        { signal },
      )
      .catch(() => []);
    if (!row) continue;
    return new LakeError(
      "invalid",
      `${label}: column ${columnName({ path: [path] })} has a value that no ${rule.type} has: ${JSON.stringify(row.shown)}. Allowed: ${rule.allowed}.`,
      { hint: "Write it as NULL where it stands for a missing value, or the column as a plain number." },
    );
  }
  return undefined;
}

const AT_ONCE = 64;

/** The first column that cannot be read on its own. */
async function findColumn({
  connection,
  from,
  suspects,
  signal,
}: Trial): Promise<{ node: SchemaNode; error: unknown } | undefined> {
  const failure = async (some: readonly Suspect[]): Promise<unknown> => {
    const hashes = some.map(({ select }) => `max(hash(${select}))`).join(", ");
    try {
      await connection.run(`SELECT ${hashes} FROM ${from}`, { signal });
      return undefined;
    } catch (error) {
      return error;
    }
  };
  // After some failures DuckDB answers nothing any more.
  if (await connection.run("SELECT 1").catch(() => true)) return undefined;
  for (let at = 0; at < suspects.length; at += AT_ONCE) {
    const some = suspects.slice(at, at + AT_ONCE);
    if ((await failure(some)) === undefined) continue;
    for (const suspect of some) {
      const error = await failure([suspect]);
      if (error !== undefined) return { node: suspect.node, error };
    }
  }
  return undefined;
}

/** As SQL: the column under the name that it keeps. */
export function selectAs(select: string, name: string): string {
  return select === identifier(name) ? select : `${select} AS ${identifier(name)}`;
}
