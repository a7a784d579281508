import type { Hits } from "./distances.ts";
import type { Graph } from "./graph.ts";

export interface ShardHits extends Hits {
  /** Every vector that may be a hit was compared. */
  exact: boolean;
}

/** A graph in which a search has begun, and what is known of its elements. */
export interface Part {
  graph: Graph;
  /** Elements in the graph that are not removed. */
  inGraph: number;
  /** Those that may be hits, undefined for all. */
  allowed: Uint8Array | undefined;
  eachAllowed(allowed: Uint8Array, visit: (element: number) => void): void;
}

// A filter only decides what may be a hit: a walk visits elements until it has as many candidates as it is wide, or has
// seen all it can reach. The fewer may be hits the longer it takes, until comparing with just those is cheaper.

/** Elements a walk looks at for each candidate, per share of the elements that may be one. Measured: 9 to 15; filtered 2 to 7. */
const LOOKS = 12;
/** What comparing costs of what looking costs, which jumps about in memory. Measured: 0.4 to 0.7. */
const COMPARING = 0.6;
/** `MAX_KEPT` in `src/engine/ann/assembly/memory.ts`: a wider walk is the same. */
const MOST_CANDIDATES = 16_384;
/** How much wider the next walk is. */
const WIDER = 4;
/** Candidates for each hit, where many are wanted. */
const BEYOND = 1.5;

/** Finds the nearest in the graph: by its links, or one by one where that is cheaper. Whether it compared with all. */
export function nearestIn(part: Part, { k, ef }: { k: number; ef: number }): boolean {
  const { graph, inGraph, allowed } = part;
  let matching = allowed ? 0 : inGraph;
  if (allowed) part.eachAllowed(allowed, () => void matching++);
  const wanted = Math.min(k, matching);
  if (wanted === 0) return true;
  const share = matching / inGraph;
  const comparing = matching * COMPARING;
  // The hits have to be told from the rest by estimates: the last of many need some that come after them.
  const narrow = Math.min(Math.max(ef, Math.ceil(k * BEYOND)), MOST_CANDIDATES);
  for (let width = narrow; (width * LOOKS) / share < comparing; width = Math.min(width * WIDER, MOST_CANDIDATES)) {
    const most = allowed ? mostSteps(width, share, width === narrow) : Number.POSITIVE_INFINITY;
    const { found, looked, expanded } = graph.walk(width, comparing, most);
    if (looked <= comparing && expanded <= most && found >= wanted) return false;
    // A wider one may be usual, and may tell the hits when this one found -1. Else it has seen all it can reach.
    const mayBeWider = expanded > most || found < 0;
    if (looked > comparing || !mayBeWider || width === MOST_CANDIDATES) break;
  }
  if (!allowed) graph.scan(0, graph.linked);
  else {
    const elements = new Uint32Array(matching);
    let at = 0;
    part.eachAllowed(allowed, (element) => {
      elements[at++] = element;
    });
    graph.compare(elements);
  }
  return true;
}

/**
 * How many elements a walk may go on from for its hits to be trusted. It goes on from each that is nearer than the last of
 * its candidates. If a filter has nothing to do with the query, these are `width / share`, give or take chance, and 2.5
 * deviations of that are allowed. Where they are more, few of the elements near the query may be hits, and it has come to
 * where the graph was not made to lead: with filters on other clusters than the query's they were 3 to 10 times as many, and
 * recall@10 fell to 0.85. A wider walk sees more of what is there, and may have more of them: recall@10 stays at 0.97.
 */
function mostSteps(width: number, share: number, isFirst: boolean): number {
  return (width / share) * (isFirst ? Math.max(1.25, 1 + 2.5 / Math.sqrt(width)) : 1.5);
}
