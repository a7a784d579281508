import { LakeError } from "../kernel/errors.ts";

/** Which element of a graph each slot of a shard is. */
export interface Places {
  readonly bytes: number;
  /** Undefined where there is no vector, or none any more. */
  elementOf(slot: number): number | undefined;
  /** Makes memory for new slots. Throws `internal` for one that is or was here. */
  reserve(slots: Uint32Array): void;
  put(slot: number, element: number): void;
  remove(slot: number): void;
  /** Takes over the slots of a loaded graph, by element; returns how many there are. */
  load(labels: readonly (number | undefined)[]): number;
  /** Calls `visit` with every element that is in the graph and allowed. */
  eachAllowed(graph: { linked: number }): (allowed: Uint8Array, visit: (element: number) => void) => void;
  clear(): void;
}

/** Where a slot's vector is: from `FIRST` on, an element of the graph. */
const [NEVER, REMOVED, FIRST] = [0, 1, 2];

export function openPlaces(): Places {
  let places = new Uint32Array(1_024);

  return {
    get bytes() {
      return places.byteLength;
    },
    elementOf: (slot) => {
      const place = places[slot] ?? NEVER;
      return place < FIRST ? undefined : place - FIRST;
    },
    reserve: (slots) => {
      const highest = slots.reduce((most, slot) => Math.max(most, slot), 0);
      if (highest >= places.length) {
        const grown = new Uint32Array(2 ** Math.ceil(Math.log2(highest + 1)));
        grown.set(places);
        places = grown;
      }
      const used = slots.find((slot) => places[slot] !== NEVER);
      if (used !== undefined) throw new LakeError("internal", `Slot ${used} was used before.`);
    },
    put: (slot, element) => {
      places[slot] = FIRST + element;
    },
    remove: (slot) => {
      places[slot] = REMOVED;
    },
    load: (labels) => {
      const highest = labels.reduce<number>((most, label) => Math.max(most, label ?? 0), 0);
      places = new Uint32Array(2 ** Math.ceil(Math.log2(highest + 2)));
      let count = 0;
      labels.forEach((label, element) => {
        if (label === undefined) return;
        places[label] = FIRST + element;
        count += 1;
      });
      return count;
    },
    eachAllowed:
      ({ linked }) =>
      (allowed, visit) => {
        const end = Math.min(places.length, allowed.length * 8);
        for (let slot = 0; slot < end; slot += 1) {
          // Most filters let little through: whole bytes at a time.
          if ((slot & 7) === 0 && allowed[slot >>> 3] === 0) slot += 7;
          else {
            const place = places[slot] as number;
            if (place >= FIRST && place - FIRST < linked && isAllowed(allowed, slot)) visit(place - FIRST);
          }
        }
      },
    clear: () => {
      places = new Uint32Array(0);
    },
  };
}

function isAllowed(allowed: Uint8Array, slot: number): boolean {
  return ((allowed[slot >>> 3] ?? 0) & (1 << (slot & 7))) !== 0;
}
