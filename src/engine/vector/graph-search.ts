import type { Metric } from "../catalog/types.ts";
import { fromHnsw, type Hits, mergeHits } from "./distances.ts";
import type { Graph } from "./hnsw.ts";

export interface ShardHits extends Hits {
  /** Every vector that may be a hit was compared. */
  exact: boolean;
}

/** A graph, and what is known of the slots in it. */
export interface GraphPart {
  graph: Graph;
  metric: Metric;
  dimension: number;
  /** Slots in the graph that may be hits. */
  matching: number;
  /** Not all of them may. */
  filtered: boolean;
  /** The nearest of all that may be hits, compared one by one. */
  compareAll(except: ReadonlySet<number>): Hits;
}

export interface GraphQuery {
  k: number;
  ef: number;
  /** Whether a slot may be a hit; undefined for all. */
  filter: ((slot: number) => boolean) | undefined;
}

// A filter only decides what may be a hit: the search visits elements until it has as many candidates as it is wide, or
// has seen all. The fewer may be hits the longer it takes, until reading just those out of the graph is cheaper.

/** Microseconds, measured: reading a vector out of the graph and comparing it, and visiting an element in a search. */
const READ_US = (dimension: number): number => 1.5 + dimension * 0.062;
const VISIT_US = (dimension: number): number => 0.3 + dimension * 0.0004;
/** Elements visited for each candidate, per share of the elements that may be one. Measured: 7 to 11. */
const VISITS = 8;
/** The filter is asked 1.4 to 3 times for each candidate, per share, where what it allows is spread evenly. */
const MOST_ASKED = 4;
/** What it lets through there, of what it would on average: 0.78 and more. */
const USUAL_SHARE = 0.8;
/** Recall@10 is 0.85 at the usual width for filters on other clusters than the query's, and 0.97 at this. */
const WIDER = 8;

const EMPTY: Hits = { slots: new Uint32Array(0), distances: new Float32Array(0) };
const NONE: ReadonlySet<number> = new Set();

/** The nearest in a graph: by its links, or one by one where that is cheaper. */
export function nearestInGraph(part: GraphPart, query: Float32Array, { k, ef, filter }: GraphQuery): ShardHits {
  const { graph, dimension, matching, filtered, compareAll } = part;
  const wanted = Math.min(k, matching);
  if (wanted === 0) return { ...EMPTY, exact: true };
  const width = Math.max(ef, k);
  const readCost = matching * READ_US(dimension);
  const visitCost = VISIT_US(dimension);
  const visits = Math.min(graph.count, (width / matching) * graph.count * VISITS);
  if (readCost < visits * visitCost) return { ...compareAll(NONE), exact: true };
  let found = filtered
    ? tryGraph(part, query, { wanted, width, filter })
    : walk(part, query, { wanted, width, filter });
  if (!found) {
    if (readCost < graph.count * visitCost) return { ...compareAll(NONE), exact: true };
    found = walk(part, query, { wanted, width: width * WIDER, filter });
  }
  if (found.slots.length >= wanted) return { ...found, exact: false };
  // Fewer than there are: the search has seen all it can reach. No link leads to the rest.
  return { ...mergeHits([found, compareAll(new Set(found.slots))], k), exact: true };
}

interface Walk {
  wanted: number;
  width: number;
  filter: GraphQuery["filter"];
}

function walk({ graph, metric }: GraphPart, query: Float32Array, { wanted, width, filter }: Walk): Hits {
  const { labels, distances } = graph.search(query, wanted, width, filter);
  return {
    slots: Uint32Array.from(labels),
    distances: Float32Array.from(distances, (value) => fromHnsw(metric, value)),
  };
}

/**
 * A filter of a share of all elements usually lets that share through around the query, too. Where it lets through much
 * less, what is allowed lies farther away, as when it selects other clusters: links lead there by chance, and a search of
 * this width misses some. Undefined then.
 */
function tryGraph(part: GraphPart, query: Float32Array, { wanted, width, filter }: Walk): Hits | undefined {
  if (!filter) return walk(part, query, { wanted, width, filter });
  const share = part.matching / part.graph.count;
  const most = (width / share) * MOST_ASKED;
  let [asked, passed] = [0, 0];
  const counting = (slot: number): boolean => {
    asked += 1;
    // A filter cannot stop a search; one that lets everything through ends it soon.
    if (asked > most) return true;
    const passes = filter(slot);
    if (passes) passed += 1;
    return passes;
  };
  const hits = walk(part, query, { wanted, width, filter: counting });
  return asked > most || passed < asked * share * USUAL_SHARE ? undefined : hits;
}
