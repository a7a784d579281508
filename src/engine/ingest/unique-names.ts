/**
 * Makes names that SQL tells apart, which ignores case and has no empty names. `clean` removes characters that SQL does
 * not allow. An original name that can stay takes precedence over a made one.
 */
export function uniqueNames(
  originals: readonly string[],
  clean: (name: string) => string,
): { names: string[]; renamed: { from: string; to: string }[] } {
  const reserved = new Set(originals.map((name) => name.toLowerCase()));
  const taken = new Set<string>();
  /** The first suffix that may be free. */
  const next = new Map<string, number>();
  const renamed: { from: string; to: string }[] = [];
  const names = originals.map((from, index) => {
    const base = clean(from) || `column${index}`;
    const key = base.toLowerCase();
    let name = base;
    let suffix = next.get(key) ?? 1;
    while (taken.has(name.toLowerCase()) || (name !== from && reserved.has(name.toLowerCase()))) {
      name = `${base}_${suffix++}`;
    }
    next.set(key, suffix);
    taken.add(name.toLowerCase());
    if (name !== from) renamed.push({ from, to: name });
    return name;
  });
  return { names, renamed };
}
