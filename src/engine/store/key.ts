import { LakeError } from "../kernel/errors.ts";

const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;
const MAX_KEY_LENGTH = 1024;

/** Whether `segment` can be one part of a key. Everything else found in a lake is foreign, and is left alone. */
export function isKeySegment(segment: string): boolean {
  return SEGMENT.test(segment);
}

/** Keys come from names that were checked before, so a wrong one is refused as an attempt to leave the lake. */
export function assertKey(key: string): void {
  if (key.split("/").every(isKeySegment) && key.length <= MAX_KEY_LENGTH) return;
  throw new LakeError("invalid", `${JSON.stringify(key.slice(0, 200))} is not a key of the lake.`, {
    hint: "Keys are relative, with / between parts made of letters, digits, and . _ - inside.",
  });
}

/** A prefix is the beginning of a key, cut anywhere. */
export function assertPrefix(prefix: string): void {
  if (prefix !== "") assertKey(prefix.endsWith("/") ? prefix.slice(0, -1) : prefix);
}

/** The order of keys, in which every store lists. */
export function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The error of a store that was used after its scope was closed. */
export function storeClosed(label: string): LakeError {
  return new LakeError("closed", `The lake ${label} is closed.`, { hint: "Open it again." });
}

/** The error for an object that a manifest refers to and the store does not have. */
export function missingObject(key: string, label: string): LakeError {
  return new LakeError("corrupt", `The lake ${label} has lost ${key}.`, {
    hint: "Restore that file from a backup, or ingest the dataset again.",
  });
}
