import type { Hits } from "./distances.ts";
import type { Graph, GraphReader } from "./graph.ts";

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

/** Elements a walk looks at for each candidate, per share of the elements that may be one. Measured: 10 to 16. */
const LOOKS = 12;
/** What comparing costs of what looking costs, which jumps about in memory. Measured: 0.5 to 0.7. */
const COMPARING = 0.6;
/** Of what a filter lets through on average, what it does near a query that is like what is let through: 0.78 and more. */
const USUAL_SHARE = 0.8;
/** Candidates for each hit, where many are wanted. */
const BEYOND = 1.5;
/** Recall@10 is 0.85 at the usual width for filters on other clusters than the query's, and 0.97 at this. */
const WIDER = 8;

/** Finds the nearest in the graph: by its links, or one by one where that is cheaper. Whether it compared with all. */
export function nearestIn(part: Part, { k, ef }: { k: number; ef: number }): boolean {
  const { graph, inGraph, allowed } = part;
  let matching = allowed ? 0 : inGraph;
  if (allowed) part.eachAllowed(allowed, () => void matching++);
  const wanted = Math.min(k, matching);
  if (wanted === 0) return true;
  const share = matching / inGraph;
  const comparing = matching * COMPARING;
  const narrow = widthOf({ k, ef });
  for (const width of [narrow, narrow * WIDER]) {
    if (comparing <= (width * LOOKS) / share) break;
    const walked = graph.walk(width, comparing);
    const found = walked.found >= wanted && walked.looked <= comparing;
    if (found && (!allowed || width > narrow || walked.allowed >= walked.looked * share * USUAL_SHARE)) return false;
    // It has seen all it can reach, or too much already.
    if (!found && walked.found >= 0) break;
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

/** Of vectors that are looked at: 1 to 3 ms. */
const MOST_COORDINATES = 3_000_000;

/** Whether all parts can be searched in a time that the event loop can be kept waiting. */
export function isShort(parts: readonly StillPart[], asked: { k: number; ef: number }): boolean {
  const most = parts.reduce(
    (sum, { reader, inGraph }) => sum + Math.min(inGraph, lookedAtBy(widthOf(asked))) * reader.dimension,
    0,
  );
  return most <= MOST_COORDINATES;
}

/** A graph that nothing changes. */
export interface StillPart {
  reader: GraphReader;
  /** Elements that are not removed. */
  inGraph: number;
}

// The hits have to be told from what was not kept, by estimates: the last of many need some that come after them.
const widthOf = ({ k, ef }: { k: number; ef: number }): number => Math.max(ef, Math.ceil(k * BEYOND));
/** Fewer elements than this are rather compared. */
const lookedAtBy = (width: number): number => (width * LOOKS) / COMPARING;

/** As `nearestIn` for all elements. Undefined when it takes longer than that to tell them. */
export function nearestAtOnce({ reader, inGraph }: StillPart, asked: { k: number; ef: number }): boolean | undefined {
  const width = widthOf(asked);
  if (inGraph <= lookedAtBy(width)) {
    reader.scan(0, reader.linked);
    return true;
  }
  const walked = reader.walk(width, inGraph * COMPARING);
  const found = walked.found >= Math.min(asked.k, inGraph) && walked.looked <= inGraph * COMPARING;
  return found ? false : undefined;
}
