const VERSION_DIGITS = 20;

export function snapshotKey(name: string, version: number): string {
  return `${snapshotPrefix(name)}${String(version).padStart(VERSION_DIGITS, "0")}.lhv1`;
}

/** The inverse of `snapshotKey`; undefined for keys that are none. */
export function parseSnapshotKey(key: string): { name: string; version: number } | undefined {
  const [, name, digits] = /^vectors\/([^/]+)\/(\d{20})\.lhv1$/.exec(key) ?? [];
  return name === undefined ? undefined : { name, version: Number(digits) };
}

export function snapshotPrefix(name: string): string {
  return `vectors/${name}/`;
}
