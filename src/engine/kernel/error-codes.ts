interface Code {
  meaning: string;
  /** Whether the same call may succeed later. */
  retry: boolean;
}

const of = (meaning: string, retry = false): Code => ({ meaning, retry });

/**
 * Stable names of errors, for programs; the sentences may change. An error without a code of its own has its kind for one.
 * `docs/errors.md` is generated from this.
 */
export const ERROR_CODES = {
  invalid: of("An argument, a statement or a file is wrong."),
  not_found: of("Nothing has that name or id."),
  denied: of("Not allowed."),
  limit: of("More than is allowed."),
  conflict: of("Another change came first, or something else has the name.", true),
  unavailable: of("Not possible right now.", true),
  corrupt: of("Stored data is damaged."),
  closed: of("The lakehouse is closed."),
  internal: of("Something went wrong inside the lakehouse."),
  cancelled: of("The caller cancelled the call, or has left.", true),
  commit_unknown: of("The store failed during a commit, which may or may not have been made.", true),
  condition: of("A condition, such as the filter of a vector search, is wrong."),
  dataset_exists: of("A dataset of that name exists already."),
  disk_full: of("The disk is full.", true),
  json_damaged: of("A record is not JSON."),
  own_share: of("The caller has as much as one caller may have; others are still served.", true),
  params_mismatch: of("The parameters are not those of the statement."),
  row_too_large: of("One row of a result is larger than a result may be."),
  schema_mismatch: of("The columns of the source are not those of the dataset."),
  source_changed: of("The file changed while it was read.", true),
  syntax_error: of("A statement cannot be parsed."),
  unknown_argument: of("The tool has no argument of that name."),
  unknown_column: of("A statement names a column that none of its tables has."),
  unsupported_format: of("A file of this kind cannot be loaded."),
  csv_damaged: of("A row of a CSV file cannot be read."),
  csv_line_too_long: of("A row of a CSV file is too long."),
  dataset_dropped: of("Another writer dropped or recreated the dataset during the call.", true),
  memory_limit: of("The work needs more memory than it may use."),
  query_timeout: of("The statement took longer than allowed."),
  queue_full: of("Too many calls of this kind are waiting already.", true),
  unknown_setting: of("No setting has that name."),
  value_misfit: of("A value does not fit the type of its column."),
} as const satisfies Record<string, Code> & Record<ErrorKind, Code>;

export type ErrorCode = keyof typeof ERROR_CODES;

/**
 * What the caller should do about an error:
 * `invalid`, `not_found`, `denied`: fix the arguments · `limit`: ask for less · `conflict`, `unavailable`: retry ·
 * `corrupt`, `closed`: tell the user · `internal`: report the reference.
 */
export type ErrorKind = (typeof ERROR_KINDS)[number];

export const ERROR_KINDS = [
  "invalid",
  "not_found",
  "denied",
  "limit",
  "conflict",
  "unavailable",
  "corrupt",
  "closed",
  "internal",
] as const;
