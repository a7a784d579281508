/**
 * `work` over `items`, at most `ahead` of them in flight, results in the order of the items. The first failure ends it;
 * work already started is left to finish unheard.
 */
export async function* mapAhead<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  ahead: number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result, void, undefined> {
  const started: Promise<Result>[] = [];
  for await (const item of items) {
    const result = work(item);
    // Whoever awaits it below hears of a failure; if nobody does any more, it must not end the process.
    result.catch(() => undefined);
    started.push(result);
    if (started.length >= ahead) yield await (started.shift() as Promise<Result>);
  }
  for (const result of started) yield await result;
}
