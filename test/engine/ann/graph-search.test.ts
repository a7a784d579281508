import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { normalise } from "../../../src/engine/ann/distances.ts";
import { type Graph, openGraph, type Walked } from "../../../src/engine/ann/graph.ts";
import { nearestIn } from "../../../src/engine/ann/graph-search.ts";
import { openRandom } from "../../support/vectors.ts";

const DIMENSION = 32;
const COUNT = 8_000;
const CLUSTERS = 40;
const random = openRandom(11);
const normal = (): number => Math.sqrt(-2 * Math.log(random() + 1e-9)) * Math.cos(2 * Math.PI * random());
const centres = Array.from({ length: CLUSTERS }, () => Array.from({ length: DIMENSION }, normal));
const near = (cluster: number): Float32Array => {
  const vector = Float32Array.from(centres[cluster % CLUSTERS] ?? [], (value) => value + 0.6 * normal());
  normalise(vector, DIMENSION);
  return vector;
};
let graph: Graph;
/** Widths of the walks of the last search. */
let widths: number[] = [];

beforeAll(() => {
  graph = openGraph({ dimension: DIMENSION, metric: "cosine", m: 16, efConstruction: 200, seed: 100 });
  for (let element = 0; element < COUNT; element++) {
    graph.append(element, near(element));
    graph.link();
  }
});
afterAll(() => graph.free());

/** `first` is what the first walk says of itself, in the place of what it found. */
function search(query: Float32Array, isAllowed: (element: number) => boolean, first?: Partial<Walked>) {
  const [k, ef] = [10, 16];
  widths = [];
  const watched: Graph = Object.create(graph, {
    walk: {
      value: (...asked: Parameters<Graph["walk"]>) => {
        widths.push(asked[0]);
        return { ...graph.walk(...asked), ...(widths.length === 1 && first) };
      },
    },
  });
  const allowed = new Uint8Array(COUNT / 8);
  const elements = Array.from({ length: COUNT }, (_, element) => element).filter(isAllowed);
  for (const element of elements) allowed[element >> 3] = (allowed[element >> 3] ?? 0) | (1 << (element & 7));
  graph.begin(query, k, allowed);
  const eachAllowed = (_: Uint8Array, visit: (element: number) => void): void => elements.forEach(visit);
  const exact = nearestIn({ graph: watched, inGraph: COUNT, allowed, eachAllowed }, { k, ef });
  return { exact, slots: [...graph.finish().slots] };
}

const everything = Array.from({ length: COUNT }, (_, element) => element);
const queries = Array.from({ length: 20 }, (_, at) => near(at));

/** All elements, the nearest first, by comparing. */
function ranked(query: Float32Array): number[] {
  graph.begin(query, COUNT);
  graph.compare(Uint32Array.from(everything));
  return [...graph.finish().slots];
}

describe("a filtered search", () => {
  it("believes the first walk when the filter has nothing to do with the query", () => {
    const chance = openRandom(3);
    const through = everything.map(() => chance() < 0.6);
    let first = 0;
    for (const query of queries) {
      const { exact } = search(query, (element) => through[element] === true);
      expect(exact).toBe(false);
      if (widths.length === 1) first++;
    }
    // Chance may look like more.
    expect(first).toBeGreaterThan(queries.length * 0.8);
  });

  it("believes a wider walk when the filter keeps out a few that are near", () => {
    let [found, wanted] = [0, 0];
    for (const query of queries) {
      const order = ranked(query);
      const out = new Set(order.slice(0, 25));
      const { exact, slots } = search(query, (element) => !out.has(element));
      expect({ exact, widths }).toEqual({ exact: false, widths: [16, 64] });
      const should = new Set(order.slice(25, 35));
      found += slots.filter((slot) => should.has(slot)).length;
      wanted += 10;
    }
    expect(found / wanted).toBeGreaterThan(0.95);
  });

  it("compares with all that is allowed when the filter keeps out all that is near", () => {
    for (const [at, query] of queries.entries()) {
      const isAllowed = (element: number): boolean => element % CLUSTERS !== at % CLUSTERS;
      const { exact, slots } = search(query, isAllowed);
      expect(exact).toBe(true);
      expect(slots).toEqual(ranked(query).filter(isAllowed).slice(0, 10));
    }
  });

  it.each([
    ["goes wider when a walk cannot tell its hits", { found: -1, expanded: 1 }, { exact: false, widths: [16, 64] }],
    [
      "compares when a walk has seen all it can reach, and too little",
      { found: 3, expanded: 1 },
      { exact: true, widths: [16] },
    ],
    [
      "compares when a walk took longer than that, however far it came",
      { looked: COUNT },
      { exact: true, widths: [16] },
    ],
    [
      "compares when a walk took longer than that, and may have been wider",
      { looked: COUNT, expanded: COUNT },
      { exact: true, widths: [16] },
    ],
  ])("%s", (_, first, expected) => {
    const query = queries[0] ?? near(0);
    const chance = openRandom(5);
    const through = everything.map(() => chance() < 0.8);
    const isAllowed = (element: number): boolean => through[element] === true;
    const { exact, slots } = search(query, isAllowed, first);
    expect({ exact, widths }).toEqual(expected);
    const order = ranked(query).filter(isAllowed).slice(0, 10);
    expect(slots.filter((slot) => order.includes(slot)).length).toBeGreaterThanOrEqual(exact ? 10 : 9);
  });
});
