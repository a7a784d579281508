import type { JobError } from "../engine/jobs/types.ts";
import { inWords, type NextStep } from "../engine/kernel/next-step.ts";
import { TOOL_WORDS } from "./words.ts";

interface ShownError {
  kind: string;
  message: string;
  hint?: NextStep | null | undefined;
}

/** An error as a model reads it: kind and message, and the next step on a line of its own. */
export function errorText({ kind, message, hint }: ShownError): string {
  return hint ? `${kind}: ${message}\nNext: ${inWords(hint, TOOL_WORDS)}` : `${kind}: ${message}`;
}

/** Message and next step as sentences, for formats that have the kind elsewhere. */
export function sentences({ message, hint }: Omit<ShownError, "kind">): string {
  return hint ? `${message} ${inWords(hint, TOOL_WORDS)}` : message;
}

/** The error of a job, with its hint in the words of tools. */
export function viewOfJobError({ kind, message, hint, next }: JobError) {
  return { kind, message, hint: next === undefined ? hint : inWords(next, TOOL_WORDS) };
}
