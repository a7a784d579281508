import { parseReference } from "../catalog/identity.ts";
import type { Catalog, DatasetKind, Manifest } from "../catalog/types.ts";
import { LakeError } from "../kernel/errors.ts";
import { action, next } from "../kernel/next-step.ts";

export interface Restored {
  name: string;
  kind: DatasetKind;
  /** The newest version now. */
  version: number;
  /** The version that was brought back. */
  from: number;
  rows: number;
  /** The newest version was the same already. */
  unchanged: boolean;
}

/** Commits the content of an old version as the newest; see `Upkeep.restore`. */
export async function restore(catalog: Catalog, reference: string): Promise<Restored> {
  const { name, version: from } = parseReference(reference);
  if (from === undefined) {
    throw new LakeError("invalid", `${JSON.stringify(reference.slice(0, 100))} names no version.`, {
      hint: next`Name the version to bring back, as in workers@3; ${action("describe")} and the table lakehouse_versions list them.`,
    });
  }
  const { manifest, committed } = await catalog.commit(name, async (current) => {
    // Looked up right before the commit: a version that is there keeps its files for longer than that takes.
    const old = await catalog.load(name, from);
    if (current && !current.dropped && current.kind !== old.kind) throw otherKind(current, old);
    if (current && !current.dropped && isSame(current, old)) return undefined;
    return {
      kind: old.kind,
      dropped: false,
      // With the field ids they had: the same columns as then.
      columns: old.columns,
      files: old.files,
      ...(old.index && { index: old.index }),
      // No hash: of an append it would stand for a part only.
      provenance: { operation: "restore", source: `${name}@${from}`, sourceHash: "", options: { version: from } },
    };
  });
  if (!manifest) throw new LakeError("internal", "The catalog has no version after a restore.");
  const { kind, version, index, rows } = manifest;
  return { name, kind, version, from, rows: index?.count ?? rows, unchanged: !committed };
}

function isSame(current: Manifest, old: Manifest): boolean {
  const content = ({ columns, files, index }: Manifest): string =>
    JSON.stringify([columns, files.map(({ key }) => key), index ?? null]);
  return content(current) === content(old);
}

function otherKind(current: Manifest, old: Manifest): LakeError {
  const words = { table: "a table", vectors: "a vector index" };
  return new LakeError(
    "conflict",
    `${old.name} is ${words[current.kind]} now, and was ${words[old.kind]} at version ${old.version}.`,
    { hint: next`Drop it with ${action("drop")} first; its versions stay.` },
  );
}
