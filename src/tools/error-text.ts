import type { JobError } from "../engine/jobs/types.ts";
import { inWords, type NextStep } from "../engine/kernel/next-step.ts";
import { TOOL_WORDS } from "./words.ts";

interface ShownError {
  kind: string;
  message: string;
  hint?: NextStep | null | undefined;
}

/** An error as a model reads it: its kind, what is wrong, and on a line of its own what to do. */
export function errorText({ kind, message, hint }: ShownError): string {
  return hint ? `${kind}: ${message}\nNext: ${inWords(hint, TOOL_WORDS)}` : `${kind}: ${message}`;
}

/** An error as sentences, where there is a field for its kind, or none. */
export function sentences({ message, hint }: Omit<ShownError, "kind">): string {
  return hint ? `${message} ${inWords(hint, TOOL_WORDS)}` : message;
}

/** The error that a job ended with, its hint in the words of tools. */
export function viewOfJobError({ kind, message, hint, next }: JobError) {
  return { kind, message, hint: next === undefined ? hint : inWords(next, TOOL_WORDS) };
}
