import { LakeError } from "../kernel/errors.ts";
import type { LeftOut } from "./types.ts";

/** Rows that a build leaves out at most: more of them are no exceptions. */
const MAX_LEFT_OUT = 1_000;
/** Of those, as many are named. */
const NAMED = 20;

/** Throws `unavailable` when so many are left out that they are no exceptions. */
export function leaveOut(leftOut: LeftOut, id: string, reason: string): void {
  leftOut.count++;
  if (leftOut.items.length < NAMED) leftOut.items.push({ id, reason });
  if (leftOut.count <= MAX_LEFT_OUT) return;
  const [first] = leftOut.items;
  throw new LakeError(
    "unavailable",
    `There is no vector for the texts of more than ${MAX_LEFT_OUT} rows, first for that of id ${JSON.stringify(first?.id.slice(0, 50))}: ${first?.reason}`,
    { hint: "See what these texts have in common, and leave them out with where, or use another model." },
  );
}
