// Limits that callers see, in one place. Those that an operator may change are settings.

/** Rows of a result, when the caller does not say, and at most. */
export const DEFAULT_ROWS = 100;
export const MAX_ROWS = 10_000;
/** Characters of a statement. */
export const MAX_SQL_CHARS = 256 * 1024;
/** Longest `timeout_ms`, whatever the setting allows. */
export const MAX_STATEMENT_MS = 3_600_000;

/** Characters of data that is sent inside of a call. */
export const MAX_INLINE_CHARS = 16 * 2 ** 20;

/** Datasets of a page, when the caller does not say, and at most. */
export const DEFAULT_PAGE = 100;
export const MAX_PAGE = 1_000;

/** Hits of a vector search, when the caller does not say, and at most. */
export const DEFAULT_K = 10;
export const MAX_K = 10_000;
/** Candidates that a search keeps (`efSearch` of HNSW). */
export const MAX_EF = 10_000;
/** Characters of a condition in SQL. */
export const MAX_CONDITION_CHARS = 16_384;

/** Items of one upsert or delete. */
export const MAX_ITEMS = 10_000;
export const MAX_ID_BYTES = 1_024;
/** Of an item, as JSON. */
export const MAX_METADATA_BYTES = 64 * 1024;
/** Characters of the template that makes a text of a row. */
export const MAX_TEMPLATE = 4_096;
export const MAX_METADATA_COLUMNS = 100;

/** Texts that are embedded at once, and of a call of the tool, whose answer holds their vectors. */
export const MAX_TEXTS = 10_000;
export const MAX_TEXTS_OF_CALL = 64;
/** About as many tokens as the largest models read, and quick enough to hash without blocking. */
export const MAX_TEXT_CHARS = 32_768;

/** Longest that a call waits for the end of a job. */
export const MAX_WAIT_MS = 60_000;
