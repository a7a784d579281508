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
  condition: of("A condition, such as the filter of a vector search, is wrong."),
  csv_damaged: of("A row of a CSV file cannot be read."),
  csv_line_too_long: of("A row of a CSV file is too long."),
  dataset_dropped: of("Another writer dropped or recreated the dataset during the call.", true),
  disk_full: of("The disk is full.", true),
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

export type ErrorKind = (typeof ERROR_KINDS)[number];
