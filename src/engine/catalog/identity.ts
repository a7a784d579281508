import { createHash } from "node:crypto";
import { LakeError } from "../kernel/errors.ts";
import type { Column } from "./types.ts";

/** Valid unquoted in SQL, in a key and in a URI, on every file system. */
export const DATASET_NAME = /^[a-z][a-z0-9_]{0,62}$/;

/** Prefix of the tables that show the catalog itself. */
const RESERVED = "lakehouse_";

const NAMESPACE = Buffer.from("a8f3c1d24e5b5a6c9d8e7f0a1b2c3d4e", "hex");
const CATALOG = "catalog/";
const VERSION_DIGITS = 20;
const MANIFEST_KEY = /^catalog\/([a-z][a-z0-9_]{0,62})\/(\d{20})\.parquet$/;
const DATA_KEY = /^data\/([a-z][a-z0-9_]{0,62})\/[0-9a-f]{64}\/[0-9a-f]{64}\.parquet$/;

/** Throws `invalid` with the nearest allowed name. */
export function assertDatasetName(name: string): void {
  if (name.startsWith(RESERVED)) {
    throw new LakeError(
      "invalid",
      `${JSON.stringify(name.slice(0, 100))}: names that begin with ${RESERVED} are reserved.`,
      {
        hint: `Use another name, for example ${correctedName(name.slice(RESERVED.length))}.`,
      },
    );
  }
  if (DATASET_NAME.test(name)) return;
  throw new LakeError("invalid", `${JSON.stringify(name.slice(0, 100))} is not a dataset name.`, {
    hint: `Use lower-case letters, digits and _, starting with a letter, at most 63: for example ${correctedName(name)}.`,
  });
}

/** The valid name most like this one. */
export function correctedName(name: string): string {
  const plain = name
    .slice(0, 200)
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .replace(/^_+|_+$/g, "");
  if (plain === "") return "dataset";
  return (/^[a-z]/.test(plain) ? plain : `t_${plain}`).slice(0, 63).replace(/_+$/, "");
}

/**
 * Splits `workers@3`. The name is not checked: for an unknown one, the error with the nearest names is better. Throws
 * `invalid` for a version that is no positive number, and for any version if `unversioned` names what is expected.
 */
export function parseReference(reference: string, unversioned?: string): { name: string; version?: number } {
  const at = reference.indexOf("@");
  if (at < 0) return { name: reference };
  const name = reference.slice(0, at);
  const digits = reference.slice(at + 1);
  const version = /^[1-9]\d{0,15}$/.test(digits) ? Number(digits) : Number.NaN;
  if (!Number.isSafeInteger(version)) {
    throw new LakeError("invalid", `${JSON.stringify(reference.slice(0, 100))} does not name a version.`, {
      hint: "A version is a whole number from 1 on, as in workers@3; without it the newest is meant.",
    });
  }
  if (unversioned !== undefined) {
    throw new LakeError("invalid", `"${reference}" names one version; expected ${unversioned}.`, {
      hint: `Use ${JSON.stringify(name)}.`,
    });
  }
  return { name, version };
}

/** UUIDv5 of the name: the same on every machine. RFC 9562, section 5.5. */
export function datasetId(name: string): string {
  const bytes = createHash("sha1").update(NAMESPACE).update(name, "utf8").digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x50, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** SHA-256 over `name 0x1F type 0x1E` of every column in order. Field ids are not part of it. */
export function schemaFingerprint(columns: readonly Pick<Column, "name" | "type">[]): string {
  const hash = createHash("sha256");
  for (const { name, type } of columns) hash.update(`${name}\x1f${type}\x1e`, "utf8");
  return hash.digest("hex");
}

/** Prefix of the manifests of all datasets, or of one. */
export function manifestPrefix(name?: string): string {
  return name === undefined ? CATALOG : `${CATALOG}${name}/`;
}

export function manifestKey(name: string, version: number): string {
  return `${manifestPrefix(name)}${String(version).padStart(VERSION_DIGITS, "0")}.parquet`;
}

/** The inverse of `manifestKey`; undefined for other keys. */
export function parseManifestKey(key: string): { name: string; version: number } | undefined {
  const [, name, digits] = MANIFEST_KEY.exec(key) ?? [];
  const version = Number(digits);
  return name !== undefined && version >= 1 && Number.isSafeInteger(version) ? { name, version } : undefined;
}

/** Content-addressed: `sha256` is the hash of the Parquet file's bytes, in hex. */
export function dataKey(name: string, fingerprint: string, sha256: string): string {
  return `data/${name}/${fingerprint}/${sha256}.parquet`;
}

/** Whether `key` is one that `dataKey` makes for `name`. */
export function isDataKey(key: string, name: string): boolean {
  const [, owner] = DATA_KEY.exec(key) ?? [];
  return owner === name;
}
