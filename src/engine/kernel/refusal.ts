import type { ErrorKind } from "./error-codes.ts";
import type { ErrorFacts } from "./errors.ts";
import type { NextStep } from "./next-step.ts";

/** A source that cannot be taken, told by a worker that does not know its name. `message` follows the name. */
export class Refusal extends Error {
  readonly kind: ErrorKind;
  readonly hint: NextStep;
  readonly facts: ErrorFacts | undefined;

  constructor(kind: ErrorKind, message: string, hint: NextStep, facts?: ErrorFacts) {
    super(message);
    this.kind = kind;
    this.hint = hint;
    this.facts = facts;
  }
}
