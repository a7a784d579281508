/** As a `Map` of ids, for very many. */
export interface IdMap<Value> {
  get(id: string): Value | undefined;
  set(id: string, value: Value): void;
  delete(id: string): void;
  readonly size: number;
}

const PARTS = 64;

/** Many small maps: a single one of 100,000 ids holds the event loop up for 15 ms whenever it doubles. */
export function openIdMap<Value>(): IdMap<Value> {
  const parts = Array.from({ length: PARTS }, () => new Map<string, Value>());
  const partOf = (id: string): Map<string, Value> => parts[partNumber(id)] as Map<string, Value>;
  let size = 0;
  return {
    get: (id) => partOf(id).get(id),
    set: (id, value) => {
      const part = partOf(id);
      const before = part.size;
      part.set(id, value);
      size += part.size - before;
    },
    delete: (id) => {
      if (partOf(id).delete(id)) size--;
    },
    get size() {
      return size;
    },
  };
}

/** By FNV-1a, over UTF-16 code units. http://www.isthe.com/chongo/tech/comp/fnv/ */
export function partNumber(id: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < id.length; at++) {
    value = Math.imul(value ^ id.charCodeAt(at), 0x01000193);
  }
  // Its low bits follow the last characters more than the high ones do.
  return ((value ^ (value >>> 15)) >>> 0) % PARTS;
}
