import { LakeError } from "../kernel/errors.ts";
import { action, next } from "../kernel/next-step.ts";
import type { Store } from "../store/store.ts";
import { manifestKey } from "./identity.ts";
import { didYouMean, nearest } from "./nearest.ts";
import type { Head } from "./types.ts";

export function unknownDataset(name: string, live: readonly Head[]): LakeError {
  const names = live.map((head) => head.name);
  const shown = JSON.stringify(name.slice(0, 100));
  return new LakeError("not_found", `Unknown dataset ${shown}.${didYouMean(name, names)}`, {
    hint: next`${action("list")} shows every dataset.`,
    facts: { nearest: nearest(name, names) },
  });
}

/** `removed`: the version is older than all of `versions`, so gc has removed it. */
export function unknownVersion(
  name: string,
  version: number,
  versions: readonly number[],
  removed: boolean,
): LakeError {
  const message = removed
    ? `Version ${version} of dataset "${name}" was removed by gc.`
    : `Dataset "${name}" has no version ${version}.`;
  return new LakeError("not_found", message, { hint: `It has versions ${versions[0]} to ${versions.at(-1)}.` });
}

/** The error for a dataset of which `tombstone` is the newest version. */
export async function droppedDataset(store: Store, { name, kind, version, parent }: Head): Promise<LakeError> {
  const last = `${name}@${parent ?? version}`;
  const isKept = parent !== null && (await store.has(manifestKey(name, parent)));
  const restore =
    kind === "table" ? action("ingest", { name, sql: `SELECT * FROM "${last}"` }) : next`${action("restore")} ${last}`;
  return new LakeError("not_found", `Dataset "${name}" was dropped at version ${version}.`, {
    hint: isKept
      ? next`"${last}" can still be read, and brought back: ${restore}`
      : "Its versions were removed by gc; ingest it again.",
  });
}
