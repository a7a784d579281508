import { randomUUID } from "node:crypto";
import type { ErrorFacts } from "../engine/kernel/errors.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import { inWords, type NextStep } from "../engine/kernel/next-step.ts";
import type { Log } from "../engine/settings.ts";
import { TOOL_WORDS } from "../tools/words.ts";

/** What we do not know is told as a reference; the details go to the log. */
export function known(thrown: unknown, log: Log): LakeError {
  if (thrown instanceof LakeError && thrown.kind !== "internal") return thrown;
  const reference = randomUUID().slice(0, 8);
  const cause = thrown instanceof LakeError ? (thrown.cause ?? thrown) : thrown;
  log("error", "internal error", { reference, error: cause instanceof Error ? cause.stack : String(cause) });
  return new LakeError("internal", `Something went wrong inside the lakehouse (reference ${reference}).`, {
    hint: "Nothing was changed. Tell the user the reference; the details are in the server's log.",
  });
}

/** An error for who sent no message of the protocol. */
export function sentences({ message, hint }: LakeError): string {
  return hint === undefined ? message : `${message} ${inWords(hint, TOOL_WORDS)}`;
}

/** Where programs find what kind of error it is: `ERROR_CODES`. */
const ERROR_META = "lakehouse/error";

/** The result of a tool that ended with `error`, written for a model. */
export function errorResult({
  kind,
  code = kind,
  message,
  hint,
  facts,
}: {
  kind: string;
  code?: string | undefined;
  message: string;
  hint?: NextStep | null | undefined;
  facts?: ErrorFacts | undefined;
}) {
  const text = hint ? `${message}\nNext: ${inWords(hint, TOOL_WORDS)}` : message;
  return {
    content: [{ type: "text" as const, text: `${kind}: ${text}` }],
    isError: true,
    _meta: { [ERROR_META]: { kind, code, ...facts } },
  };
}
