import type { ErrorKind } from "../errors.ts";

/** What is not Arrow, or contradicts itself. */
export class ArrowFormatError extends Error {}

/** A sound file that cannot be taken. `message` follows the name of the source. */
export class Refusal extends Error {
  readonly kind: ErrorKind;
  readonly hint: string;

  constructor(kind: ErrorKind, message: string, hint: string) {
    super(message);
    this.kind = kind;
    this.hint = hint;
  }
}
