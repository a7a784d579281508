import type { VectorSource } from "../catalog/types.ts";
import type { Connection } from "../duckdb/duckdb.ts";
import { LakeError } from "../kernel/errors.ts";
import { isJson } from "../kernel/json.ts";
import { MAX_ID_BYTES, MAX_METADATA_BYTES, MAX_TEXT_CHARS } from "../kernel/limits.ts";

const ROWS_AT_ONCE = 256;
/** Characters as the embedder counts them: those beyond the basic plane are two. */
const CHARS = "(2 * length(text) - length(regexp_replace(text, '[\\x{10000}-\\x{10FFFF}]', '', 'g')))";

/** Throws `invalid` or `limit` where ids, texts or metadata of the table `source` cannot be those of an index. */
export async function assertIds(
  connection: Connection,
  source: VectorSource,
  signal: AbortSignal | undefined,
): Promise<void> {
  const [nulls] = await connection.rows<{ count: string; empty: string; long: string }>(
    `SELECT count(*) FILTER (id IS NULL) AS count, count(*) FILTER (id = '') AS empty,
      count(*) FILTER (strlen(id) > ${MAX_ID_BYTES}) AS long FROM source`,
    { signal },
  );
  const bad = Object.entries({
    NULL: nulls?.count,
    "the empty text": nulls?.empty,
    [`longer than ${MAX_ID_BYTES} bytes`]: nulls?.long,
  }).find(([, count]) => Number(count) > 0);
  if (bad) {
    throw new LakeError(
      "invalid",
      `id: ${source.id} is ${bad[0]} in ${bad[1]} rows of ${source.dataset}@${source.version}.`,
      {
        hint: `Choose another column, or leave those rows out with where, as in ${source.id} IS NOT NULL.`,
      },
    );
  }
  const twice = await connection.rows<{ id: string; count: string }>(
    "SELECT id, count(*) AS count FROM source GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT 3",
    { signal },
  );
  if (twice.length > 0) {
    const some = twice.map(({ id, count }) => `${JSON.stringify(id.slice(0, 50))} ${count} times`).join(", ");
    throw new LakeError("invalid", `id: ${source.id} is not unique in ${source.dataset}@${source.version}: ${some}.`, {
      hint: "Choose a column that is different in every row, or make one with ingest {name, sql}.",
    });
  }
  const [long] = await connection.rows<{ id: string; chars: string; bytes: string }>(
    `SELECT id, CASE WHEN strlen(text) > ${MAX_TEXT_CHARS} THEN ${CHARS} ELSE 0 END AS chars,
       strlen(coalesce(metadata, '')) AS bytes FROM source
     WHERE (strlen(text) > ${MAX_TEXT_CHARS} AND ${CHARS} > ${MAX_TEXT_CHARS})
       OR strlen(metadata) > ${MAX_METADATA_BYTES} LIMIT 1`,
    { signal },
  );
  if (!long) return assertJson(connection, signal);
  const text = Number(long.chars) > MAX_TEXT_CHARS;
  throw new LakeError(
    "limit",
    `The ${text ? "text" : "metadata"} of id ${JSON.stringify(long.id.slice(0, 50))} has ${text ? `${long.chars} characters, more than ${MAX_TEXT_CHARS}` : `${long.bytes} bytes, more than ${MAX_METADATA_BYTES}`}.`,
    {
      hint: text
        ? "Use left(column, 32000) in a dataset made with ingest {name, sql}."
        : "Keep fewer columns as metadata.",
    },
  );
}

/** DuckDB writes NaN into JSON, and takes that for valid. Only what looks like it is parsed. */
async function assertJson(connection: Connection, signal: AbortSignal | undefined): Promise<void> {
  const like = "regexp_matches(metadata, '[\\[,:]\\s*-?(nan|inf)', 'i')";
  for (let from = 0; ; from += ROWS_AT_ONCE) {
    const rows = await connection.rows<{ id: string; metadata: string }>(
      `SELECT id, metadata FROM source WHERE ${like} ORDER BY id LIMIT ${ROWS_AT_ONCE} OFFSET ${from}`,
      { signal },
    );
    const bad = rows.find(({ metadata }) => !isJson(metadata));
    if (bad) {
      const id = JSON.stringify(bad.id.slice(0, 50));
      throw new LakeError("invalid", `The metadata of id ${id} has NaN or Infinity inside of a list or a struct.`, {
        hint: "JSON has no such numbers: keep other columns as metadata.",
      });
    }
    if (rows.length < ROWS_AT_ONCE) return;
  }
}
