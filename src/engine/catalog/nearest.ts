/**
 * The names most similar to `wanted`, best first, at most three. A name is similar when at most a third of it differs, or
 * when one contains the other.
 */
export function nearest(wanted: string, names: Iterable<string>): string[] {
  const from = wanted.toLowerCase().slice(0, 64);
  if (from === "") return [];
  const scored: { name: string; distance: number }[] = [];
  for (const name of names) {
    const to = name.toLowerCase().slice(0, 64);
    const allowed = Math.max(1, Math.floor(Math.max(from.length, to.length) / 3));
    const within = from.length > 2 && to.length > 2 && (to.includes(from) || from.includes(to));
    const longer = Math.abs(from.length - to.length);
    const distance = within ? longer / 64 : longer > allowed ? Infinity : editDistance(from, to);
    if (distance <= allowed) scored.push({ name, distance });
  }
  scored.sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1));
  return scored.slice(0, 3).map(({ name }) => name);
}

/** Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (previous[j - 1] ?? 0) + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, (before[j - 2] ?? 0) + 1);
      row.push(best);
    }
    before = previous;
    previous = row;
  }
  return previous[b.length] ?? 0;
}

/** ` Did you mean workers or worker_pay?`, or nothing. */
export function didYouMean(wanted: string, names: Iterable<string>): string {
  const found = nearest(wanted, names);
  return found.length === 0 ? "" : ` Did you mean ${found.map(shown).join(" or ")}?`;
}

/** A name from data, for a message: as it is if it looks like a name, else quoted and shortened. */
export function shown(name: string): string {
  return /^[\p{L}\p{N}_@][\p{L}\p{N}_@-]{0,59}$/u.test(name) ? name : JSON.stringify(name.slice(0, 60));
}

/** The same, always quoted. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name);
}
