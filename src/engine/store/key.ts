import { LakeError } from "../kernel/errors.ts";

const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;
const MAX_KEY_LENGTH = 1024;

/** Whether `segment` can be one part of a key. Files with other names are foreign to the lake, and are left alone. */
export function isKeySegment(segment: string): boolean {
  return SEGMENT.test(segment);
}

/** Throws `invalid`. Keys are made of names that were checked before, so this one may be an attempt to leave the lake. */
export function assertKey(key: string): void {
  if (key.split("/").every(isKeySegment) && key.length <= MAX_KEY_LENGTH) return;
  throw new LakeError("invalid", `${JSON.stringify(key.slice(0, 200))} is not a key of the lake.`, {
    hint: "Keys are relative, with / between parts made of letters, digits, and . _ - inside.",
  });
}

/** A prefix is the beginning of a key, cut anywhere. Throws `invalid`. */
export function assertPrefix(prefix: string): void {
  if (prefix !== "") assertKey(prefix.endsWith("/") ? prefix.slice(0, -1) : prefix);
}

/** The order in which every store lists keys. */
export function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The error of a store that is used after it was closed. */
export function storeClosed(label: string): LakeError {
  return new LakeError("closed", `The lake ${label} is closed.`, { hint: "Open it again." });
}

/** The error for an object that a manifest refers to and the store does not have. */
export function missingObject(key: string, label: string): LakeError {
  return new LakeError("corrupt", `The lake ${label} has lost ${key}.`, {
    hint: "Restore that file from a backup, or ingest the dataset again.",
  });
}
