/**
 * Runs work one after the other, in the order of the calls; work with different keys may overlap. A failure is that of
 * its own call only.
 */
export function openSequence(): <Result>(work: () => Promise<Result>, key?: string) => Promise<Result> {
  const last = new Map<string, Promise<unknown>>();
  return (work, key = "") => {
    const result = (last.get(key) ?? Promise.resolve()).then(work);
    const settled = result
      .catch(() => undefined)
      .finally(() => {
        if (last.get(key) === settled) last.delete(key);
      });
    last.set(key, settled);
    return result;
  };
}
