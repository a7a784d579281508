import type { ErrorKind } from "../engine/kernel/error-codes.ts";

/** Documented in docs/cli.md. 0 is success. */
export const EXIT_CODES: Readonly<Record<ErrorKind, number>> = {
  internal: 1,
  invalid: 2,
  not_found: 3,
  denied: 4,
  limit: 5,
  conflict: 6,
  unavailable: 7,
  corrupt: 8,
  closed: 9,
};

export const EXIT_SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;
