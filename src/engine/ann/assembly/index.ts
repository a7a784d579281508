// What JavaScript calls. Addresses and sizes are unsigned 32-bit numbers of bytes.

import { allows, descend, expanded, kept, link, looked, touchAll, walk } from "./graph";
import { distanceAt, idAt, push, replaceFirst, sort } from "./heap";
import {
  addElement,
  COUNT,
  clear,
  describe,
  headOf,
  hitsAt as hitsStart,
  IMAGE,
  imageEnd,
  keptAt,
  LABEL,
  LINKED,
  MAX_KEPT,
  REMOVED,
  REMOVED_LATE,
  reach,
  restore,
  TOP_LAYER,
  touchedAt,
  transient,
} from "./memory";
import { errorOf, estimate, exact, query, queryFloats, readVector, setQuery, setVector, touchRests } from "./vectors";

/** Rounding, of distances around 1. */
const ROUNDING: f32 = 1e-6;

/** Candidates that are touched before they are compared exactly. */
const AT_ONCE = 8;

let efConstruction: i32 = 0;
let wanted: i32 = 0;
let hits: i32 = 0;

/** An empty graph. False: no memory. */
export function open(dimension: i32, metric: i32, m: i32, ef: i32, seed: u32): bool {
  describe(dimension, metric, m);
  efConstruction = ef;
  return clear(seed);
}

export function imageAt(): usize {
  return IMAGE;
}

export function imageBytes(): usize {
  return imageEnd() - IMAGE;
}

/** Makes room for an image of `bytes`, to be written to `imageAt()`; `imageRead` follows. False: no memory. */
export function expectImage(bytes: usize): bool {
  return reach(IMAGE + bytes);
}

export function imageRead(): void {
  restore();
}

/** Elements, removed ones included. Those before `linked()` are in the graph. */
export function count(): u32 {
  return load<u32>(COUNT);
}

export function linked(): u32 {
  return load<u32>(LINKED);
}

/** Where a vector is written, and read, as float32. */
export function vectorAt(): usize {
  return queryFloats();
}

/** Adds the vector; the number of its element, or -1: no memory. */
export function append(label: u32): i32 {
  const id = addElement(label);
  if (id >= 0) setVector(id);
  return id;
}

export function read(id: u32): void {
  readVector(id);
}

/** `late`: in an image that is being written just now it stays. */
export function remove(id: u32, late: bool): void {
  store<u32>(headOf(id) + REMOVED, late ? REMOVED_LATE : 1);
}

export function isRemoved(id: u32): bool {
  return load<u32>(headOf(id) + REMOVED) !== 0;
}

export function labelOf(id: u32): u32 {
  return load<u32>(headOf(id) + LABEL);
}

/** Puts the next element into the graph. False: no memory. */
export function linkNext(): bool {
  return link(efConstruction);
}

/** Room for `bytes` of a mask or of numbers, for the next search. 0: no memory. */
export function scratch(bytes: usize): usize {
  return transient(bytes);
}

/** Begins a search for the vector: the nearest `k` of all that is walked and compared until `finish`. */
export function begin(k: i32): void {
  wanted = min(k, MAX_KEPT);
  hits = 0;
  setQuery();
}

/**
 * Walks the graph with `ef` candidates, as `walk`. How many candidates it came back with; -1, and no
 * hits, when what it went by is too rough to tell the hits from what it did not keep.
 */
export function walkGraph(ef: i32, mask: usize, bits: u32, most: i32, mostExpanded: i32): i32 {
  hits = 0;
  if (load<i32>(TOP_LAYER) < 0) return 0;
  const width = min(max(ef, wanted), MAX_KEPT);
  walk(descend(0), 0, width, mask, bits, most, mostExpanded);
  const found = kept;
  sort(keptAt, found);
  let off: f32 = 0;
  for (let at = 0; at < found; at++) {
    const id = idAt(keptAt, at);
    const estimated = distanceAt(keptAt, at);
    if (hits === wanted && estimated - errorOf(id) > distanceAt(hitsStart, 0)) break;
    if (at % AT_ONCE === 0) touchRestsOf(at, min(found, at + AT_ONCE));
    const distance = exact(query(), id);
    off = max(off, abs(distance - estimated));
    offer(distance, id);
  }
  if (found < width || hits < wanted) return found;
  // What was not kept has an estimate beyond all that was. If that may be as far off as those that were compared, it may
  // still belong to the hits.
  const farthest = distanceAt(keptAt, found - 1);
  const worst = distanceAt(hitsStart, 0);
  if (worst <= farthest - off + ROUNDING * max(abs(farthest), abs(worst))) return found;
  hits = 0;
  return -1;
}

function touchRestsOf(from: i32, to: i32): void {
  let sum: u32 = 0;
  for (; from < to; from++) sum += touchRests(idAt(keptAt, from));
  store<u32>(touchedAt, sum);
}

/** Elements the last walk looked at, and those it went on from. */
export function lookedAt(): i32 {
  return looked;
}

export function expandedBy(): i32 {
  return expanded;
}

/** Compares with all elements of a range that may be hits. From 0 on: whatever a walk has found. */
export function scan(from: u32, to: u32, mask: usize, bits: u32): void {
  if (from === 0) hits = 0;
  for (let id = from; id < to; id++) {
    if (allows(mask, bits, id)) compare(id);
  }
}

/** Compares with these elements, whatever a walk has found. */
export function scanIds(ids: usize, count: usize): void {
  hits = 0;
  for (let left = count; left > 0; ) {
    const some = min(left, <usize>AT_ONCE);
    touchAll(ids, ids + (some << 2));
    for (let at: usize = 0; at < some; at++) {
      const id = load<u32>(ids + (at << 2));
      if (allows(0, 0, id)) compare(id);
    }
    ids += some << 2;
    left -= some;
  }
}

/** Exact: what the estimate rules out is farther than all hits. */
function compare(id: u32): void {
  if (hits === wanted && estimate(query(), id) - errorOf(id) > distanceAt(hitsStart, 0)) return;
  offer(exact(query(), id), id);
}

function offer(distance: f32, id: u32): void {
  if (hits < wanted) push(hitsStart, hits++, distance, id);
  else if (distance < distanceAt(hitsStart, 0) || (distance === distanceAt(hitsStart, 0) && id < idAt(hitsStart, 0))) {
    replaceFirst(hitsStart, hits, distance, id);
  }
}

/** Sorts the hits: pairs of a distance and a label at `hitsAt()`, nearest first. Their number. */
export function finish(): i32 {
  sort(hitsStart, hits);
  for (let at = 0; at < hits; at++) store<u32>(hitsStart + ((<usize>at) << 3), labelOf(idAt(hitsStart, at)), 4);
  return hits;
}

export function hitsAt(): usize {
  return hitsStart;
}
