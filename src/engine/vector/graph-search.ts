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
  // The hits have to be told from what was not kept, by estimates: the last of many need some that come after them.
  const narrow = Math.max(ef, Math.ceil(k * BEYOND));
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

/** A width that takes no longer than a message to another thread, a few times over. */
const WIDEST_AT_ONCE = 256;

/**
 * As `nearestIn` for all elements, in a time that the event loop can be kept waiting. Undefined when that is not enough to
 * tell them.
 */
export function nearestAtOnce(
  graph: GraphReader,
  inGraph: number,
  { k, ef }: { k: number; ef: number },
): boolean | undefined {
  const wanted = Math.min(k, inGraph);
  const width = Math.max(ef, Math.ceil(k * BEYOND));
  if (width > WIDEST_AT_ONCE) return undefined;
  const looking = (width * LOOKS) / COMPARING;
  if (graph.linked <= looking) {
    graph.scan(0, graph.linked);
    return true;
  }
  const walked = graph.walk(width, inGraph * COMPARING);
  return walked.found >= wanted && walked.looked <= inGraph * COMPARING ? false : undefined;
}
