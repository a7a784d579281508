import { action, argument, type NextStep, next } from "../../kernel/next-step.ts";
/** What statements may be made of. Only data: `guard.ts` applies it. */

/** Functions that may stand in FROM: their rows follow from their arguments. */
export const TABLE_FUNCTIONS: ReadonlySet<string> = new Set([
  "generate_series",
  "json_each",
  "json_tree",
  "pg_timezone_names",
  "range",
  "repeat",
  "repeat_row",
  "unnest",
  "vector_search",
]);

/** Functions that return another value when they are called again. No argument of `vector_search` may use them. */
export const UNREPEATABLE_FUNCTIONS: ReadonlySet<string> = new Set([
  "age",
  "current_database",
  "current_date",
  "current_localtime",
  "current_localtimestamp",
  "current_schema",
  "gen_random_uuid",
  "get_current_time",
  "get_current_timestamp",
  "now",
  "random",
  "today",
  "transaction_timestamp",
  "unnest",
  "uuid",
  "uuidv4",
  "uuidv7",
]);

/** Macros of DuckDB that consist of functions which return the same when they are called again. */
export const REPEATABLE_MACROS: readonly string[] = [
  "array_append",
  "array_prepend",
  "array_reverse",
  "array_to_string",
  "date_add",
  "days_in_month",
  "fdiv",
  "fmod",
  "geomean",
  "geometric_mean",
  "json",
  "json_group_array",
  "json_group_object",
  "list_any_value",
  "list_append",
  "list_avg",
  "list_bool_and",
  "list_bool_or",
  "list_count",
  "list_first",
  "list_histogram",
  "list_last",
  "list_max",
  "list_median",
  "list_min",
  "list_mode",
  "list_prepend",
  "list_product",
  "list_reverse",
  "list_stddev_pop",
  "list_stddev_samp",
  "list_string_agg",
  "list_sum",
  "list_var_pop",
  "list_var_samp",
  "map_contains_entry",
  "map_contains_value",
  "nullif",
  "pg_typeof",
  "round_even",
  "roundbankers",
  "split_part",
  "wavg",
  "weighted_avg",
];

/** Functions that DuckDB calls consistent, although they depend on a sample, the time, or how a value is stored. */
export const OTHER_UNREPEATABLE: readonly string[] = [
  "pg_timezone_names",
  "reservoir_quantile",
  "stats",
  "vector_search",
  "vector_type",
];

/** Words that are calls of functions where there is no column of this name. */
export const MOMENTS = /^(current|local)_?(local)?(date|time|timestamp)$/;

/** Functions that are allowed although DuckDB lists them as volatile, as table functions, or not at all. */
export const EXTRA_FUNCTIONS: ReadonlySet<string> = new Set([
  "error",
  "gen_random_uuid",
  "grouping",
  "grouping_id",
  "random",
  "row",
  "unnest",
  "uuid",
  "uuidv4",
  "uuidv7",
]);

/** Functions that DuckDB calls pure, although they show state, settings, plans or internals. */
export const DENIED_FUNCTIONS: ReadonlySet<string> = new Set([
  // Casts without a type that can be judged.
  "cast_to_type",
  "get_type",
  "make_type",
  "remap_struct",
  "replace_type",
  "variant_extract",
  "variant_normalize",
  "variant_typeof",
  // Its result grows with the square of the depth.
  "json_pretty",
  "combine",
  "create_sort_key",
  "current_query",
  "current_schemas",
  "current_setting",
  "finalize",
  "format_type",
  "get_block_size",
  "getenv",
  "getvariable",
  "in_search_path",
  "json_group_structure",
  "json_deserialize_sql",
  "json_serialize_plan",
  "json_serialize_sql",
  "parse_duckdb_log_message",
  "sleep_ms",
  "txid_current",
  "variant_bytes_to_variant",
  "variant_to_parquet_variant",
]);

/** How often macros, of DuckDB and of `CELL_LIMITS`, use an argument: it is planned and computed as often. */
export const REPEATED_ARGUMENTS: ReadonlyMap<string, number> = new Map([
  ["array_pop_back", 2],
  ["array_resize", 2],
  ["array_to_string", 2],
  ["array_to_string_comma_default", 2],
  ["bin", 2],
  ["damerau_levenshtein", 2],
  ["editdist3", 2],
  ["flatten", 2],
  ["fmod", 2],
  ["generate_series", 2],
  ["generate_subscripts", 4],
  ["hex", 2],
  ["jaro_similarity", 2],
  ["jaro_winkler_similarity", 2],
  ["json_contains", 3],
  ["json_group_array", 2],
  ["json_group_object", 2],
  ["json_merge_patch", 3],
  ["json_structure", 3],
  ["levenshtein", 2],
  ["list_resize", 2],
  ["lpad", 2],
  ["map_contains_entry", 2],
  ["nullif", 2],
  ["range", 2],
  ["repeat", 3],
  ["replace", 2],
  ["round_even", 3],
  ["roundbankers", 3],
  ["rpad", 2],
  ["split_part", 2],
  ["to_binary", 2],
  ["to_hex", 2],
  ["wavg", 2],
  ["weighted_avg", 2],
]);

/** Further denied functions, by parts of their names. */
export const DENIED_PATTERN =
  /^(__internal_|pg_(?!typeof$|size_pretty$)|has_.*_privilege|inet_|.*obj_description$|col_description$|map_to_pg_oid$)/;

/** Catalogs and schemas of DuckDB: as qualifiers they would reach tables that are no datasets. */
export const SYSTEM_QUALIFIERS: ReadonlySet<string> = new Set([
  "information_schema",
  "memory",
  "pg_catalog",
  "system",
  "temp",
]);

/** Why a function is refused and what to use instead; the first pattern that fits. */
export const FUNCTION_REASONS: readonly { pattern: RegExp; reason: string; hint: NextStep }[] = [
  {
    pattern: /^vector_search$/,
    reason: "it makes rows, not a value",
    hint: "Write it in FROM: SELECT id, score FROM vector_search('index', 'text', 10).",
  },
  {
    pattern: /^json_group_structure$/,
    reason: "deeply nested JSON would end the server",
    hint: "Use SELECT DISTINCT json_structure(doc).",
  },
  {
    pattern: /^(read_|parquet_|.*_scan|scan_|sniff_csv|glob$|st_read|query_parquet)/,
    reason: "statements read datasets, not files",
    hint: next`Make a dataset of the file with ${action("ingest")}, then query it by its name.`,
  },
  {
    pattern: /^(query|query_table|json_execute_serialized_sql|histogram|histogram_values)$/,
    reason: "it runs SQL or opens a table from a string, which cannot be checked",
    hint: "Write the query itself in the statement.",
  },
  {
    pattern:
      /^(duckdb_|pragma_|current_setting$|version$|which_secret|getenv|getvariable|current_schemas|pg_|.*_profiling)/,
    reason: "the server's internals and settings are not readable",
    hint: "Use lakehouse_datasets, lakehouse_versions and lakehouse_files for the catalog, DESCRIBE name for columns.",
  },
  {
    pattern:
      /^(nextval|currval|setseed|write_log|.*checkpoint.*|truncate_.*|enable_.*|disable_.*|set_.*|sleep_ms|pg_sleep)$/,
    reason: "it has side effects, and statements here only read",
    hint: "row_number() OVER () numbers rows; random() and uuid() are available.",
  },
];

const INGEST_SQL = action("ingest", { name: undefined, sql: undefined });
const MATERIALISE = next`To keep a result, use ${INGEST_SQL}.`;
const FILES = next`Files are read with ${action("ingest")}; results are kept with ${INGEST_SQL}.`;
const LIMITS = next`Limits are arguments of the call: ${argument("max_rows")}, ${argument("timeout_ms")}.`;
const PARAMS = next`Pass values with ${argument("params")}.`;
const TRANSACTIONS = "Each statement already sees one consistent version of every dataset.";

/** Statements that are not queries, by their first word. */
export const STATEMENTS: Readonly<Record<string, { reason: string; hint: NextStep }>> = {
  ALTER: {
    reason: "changes a table",
    hint: next`Ingest again with ${argument("schema_change", "allow")}, or rename columns in a SELECT.`,
  },
  ANALYZE: { reason: "changes statistics", hint: "SUMMARIZE name shows statistics of a dataset." },
  ATTACH: { reason: "opens another database", hint: FILES },
  BEGIN: { reason: "controls transactions", hint: TRANSACTIONS },
  CALL: { reason: "runs procedures", hint: "Use SELECT." },
  CHECKPOINT: { reason: "writes", hint: "Nothing has to be flushed: committed data is durable." },
  COMMENT: { reason: "changes the catalog", hint: "Datasets have no comments." },
  COMMIT: { reason: "controls transactions", hint: TRANSACTIONS },
  COPY: { reason: "reads or writes files", hint: FILES },
  CREATE: { reason: "creates something", hint: next`Use WITH for a table inside the statement. ${MATERIALISE}` },
  DEALLOCATE: { reason: "changes the session", hint: PARAMS },
  DELETE: { reason: "deletes rows", hint: next`Leave the rows out with WHERE. ${MATERIALISE}` },
  DETACH: { reason: "closes a database", hint: FILES },
  DROP: { reason: "drops something", hint: next`${action("drop")} drops a dataset.` },
  EXECUTE: { reason: "runs a prepared statement", hint: next`Send the query itself, with ${argument("params")}.` },
  EXPORT: { reason: "writes files", hint: FILES },
  FORCE: { reason: "writes", hint: "Nothing has to be flushed: committed data is durable." },
  IMPORT: { reason: "reads files and writes", hint: FILES },
  INSERT: { reason: "writes rows", hint: next`Add rows with ${action("ingest")} and ${argument("mode", "append")}.` },
  INSTALL: { reason: "downloads code", hint: "Only the built-in functions are available." },
  LOAD: { reason: "loads code", hint: "Only the built-in functions are available." },
  MERGE: { reason: "writes rows", hint: next`Join in a SELECT. ${MATERIALISE}` },
  PRAGMA: { reason: "changes or prints settings", hint: "Use DESCRIBE, SHOW TABLES or lakehouse_datasets." },
  PREPARE: { reason: "changes the session", hint: PARAMS },
  REFRESH: { reason: "writes", hint: MATERIALISE },
  RESET: { reason: "changes settings", hint: LIMITS },
  ROLLBACK: { reason: "controls transactions", hint: TRANSACTIONS },
  SET: { reason: "changes settings", hint: LIMITS },
  START: { reason: "controls transactions", hint: TRANSACTIONS },
  TRUNCATE: {
    reason: "deletes rows",
    hint: next`${action("ingest")} with ${argument("mode", "replace")} puts new rows in place of the old.`,
  },
  UPDATE: { reason: "changes rows", hint: next`Compute the new values in a SELECT. ${MATERIALISE}` },
  UPSERT: { reason: "writes rows", hint: MATERIALISE },
  USE: { reason: "changes the session", hint: "Datasets are addressed by name alone." },
  VACUUM: { reason: "writes", hint: "Nothing has to be vacuumed." },
};

/** Kinds of expressions, tables and queries that are allowed, by their names in DuckDB's serialised tree. */
export const EXPRESSIONS: ReadonlySet<string> = new Set([
  "BETWEEN",
  "CASE",
  "CAST",
  "COLLATE",
  "COLUMN_REF",
  "COMPARISON",
  "CONJUNCTION",
  "CONSTANT",
  "DEFAULT",
  "FUNCTION",
  "LAMBDA",
  "LAMBDA_REF",
  "OPERATOR",
  "PARAMETER",
  "POSITIONAL_REFERENCE",
  "STAR",
  "SUBQUERY",
  "TYPE",
  "WINDOW",
]);

export const NODES: ReadonlySet<string> = new Set([
  "BASE_TABLE",
  "CTE_NODE",
  "DISTINCT_MODIFIER",
  "EMPTY",
  "EMPTY_FROM",
  "EXPRESSION_LIST",
  "JOIN",
  "LIMIT_MODIFIER",
  "LIMIT_PERCENT_MODIFIER",
  "ASCENDING",
  "ORDER_DEFAULT",
  "DESCENDING",
  "ORDER_MODIFIER",
  "PIVOT",
  "RECURSIVE_CTE_NODE",
  "SELECT_NODE",
  "SET_OPERATION_NODE",
  "SHOW_REF",
  "SUBQUERY",
  "TABLE_FUNCTION",
]);
