// A hierarchical navigable small world graph: Malkov and Yashunin, https://arxiv.org/abs/1603.09320. Names of its
// algorithms are given where they are.

import { distanceAt, idAt, pop, push, put, replaceFirst, sort } from "./heap";
import {
  addLayers,
  ENTRY,
  freshAt,
  headOf,
  keptAt,
  LABEL,
  LINKED,
  LINKED_BY,
  linksOf,
  MAX_WAITING,
  m,
  nextVisit,
  REMOVED,
  SEED,
  TOP_LAYER,
  touchedAt,
  visits,
  waitingAt,
} from "./memory";
import { estimate, point, probeAt, query, setProbe, touch } from "./vectors";

const MAX_LAYER = 15;

/** How many candidates the last walk has left in `keptAt`, a heap; how many elements it looked at, and went on from. */
export let kept: i32 = 0;
export let looked: i32 = 0;
export let expanded: i32 = 0;

/** Slot `s` may be a hit if bit `s` of the mask is set; without a mask all may. */
export function allows(mask: usize, bits: u32, id: u32): bool {
  const head = headOf(id);
  if (load<u32>(head + REMOVED) !== 0) return false;
  if (mask === 0) return true;
  const label = load<u32>(head + LABEL);
  return label < bits && (load<u8>(mask + (label >> 3)) & (1 << (label & 7))) !== 0;
}

/** Of the numbers from one address to another. */
export function touchAll(ids: usize, end: usize): void {
  let sum: u32 = 0;
  for (; ids < end; ids += 4) sum += touch(load<u32>(ids));
  store<u32>(touchedAt, sum);
}

/** The element on layer 1 to search from, greedily from the top: the first part of algorithm 5. */
export function descend(layer: i32): u32 {
  let at = load<u32>(ENTRY);
  let best = estimate(query(), at);
  for (let on = load<i32>(TOP_LAYER); on > layer; on--) {
    for (let moved = true; moved; ) {
      moved = false;
      const links = linksOf(at, on);
      const end = links + ((<usize>load<u32>(links)) << 2);
      for (let link = links + 4; link <= end; link += 4) {
        const id = load<u32>(link);
        const distance = estimate(query(), id);
        if (distance < best) {
          best = distance;
          at = id;
          moved = true;
        }
      }
    }
  }
  return at;
}

/**
 * Algorithm 2: the nearest `ef` elements to the query, of those that may be hits, by the links of a layer. Stops when it
 * has looked at `most`, or gone on from `mostExpanded`, that are not removed.
 */
export function walk(from: u32, layer: i32, ef: i32, mask: usize, bits: u32, most: i32, mostExpanded: i32): void {
  const visit = nextVisit();
  let waiting = 1;
  kept = 0;
  looked = 0;
  expanded = 0;
  let bound = estimate(query(), from);
  put(waitingAt, 0, -bound, from);
  visits(from, visit);
  if (allows(mask, bits, from)) put(keptAt, kept++, bound, from);
  else bound = f32.MAX_VALUE;

  while (waiting > 0) {
    if ((-distanceAt(waitingAt, 0) > bound && kept === ef) || looked > most || expanded > mostExpanded) return;
    const next = idAt(waitingAt, 0);
    if (load<u32>(headOf(next) + REMOVED) === 0) expanded++;
    const links = linksOf(next, layer);
    pop(waitingAt, waiting--);
    const end = links + ((<usize>load<u32>(links)) << 2);
    let fresh = freshAt;
    for (let link = links + 4; link <= end; link += 4) {
      const id = load<u32>(link);
      if (!visits(id, visit)) continue;
      store<u32>(fresh, id);
      fresh += 4;
    }
    touchAll(freshAt, fresh);
    for (let link = freshAt; link < fresh; link += 4) {
      const id = load<u32>(link);
      const distance = estimate(query(), id);
      const may = allows(mask, bits, id);
      if (may || load<u32>(headOf(id) + REMOVED) === 0) looked++;
      if (kept === ef && distance >= bound) continue;
      if (waiting < MAX_WAITING) push(waitingAt, waiting++, -distance, id);
      if (!may) continue;
      if (kept < ef) push(keptAt, kept++, distance, id);
      else replaceFirst(keptAt, kept, distance, id);
      bound = distanceAt(keptAt, 0);
    }
  }
}

/** Algorithm 1: puts the next element into the graph. False when there is no memory for its links. */
export function link(efConstruction: i32): bool {
  const id = load<u32>(LINKED);
  if (load<u32>(headOf(id) + REMOVED) !== 0) {
    store<u32>(LINKED, id + 1);
    return true;
  }
  const layer = randomLayer();
  if (layer > 0 && !addLayers(id, layer)) return false;
  const top = load<i32>(TOP_LAYER);
  if (top >= 0) {
    setProbe(query(), id);
    let from = descend(layer);
    for (let on = min(layer, top); on >= 0; on--) {
      walk(from, on, efConstruction, 0, 0, i32.MAX_VALUE, i32.MAX_VALUE);
      // Everything near may be removed; the way in is better than no link.
      if (kept === 0) put(keptAt, kept++, estimate(query(), from), from);
      sort(keptAt, kept);
      from = idAt(keptAt, 0);
      connect(id, on);
    }
  }
  if (layer > top) {
    store<u32>(ENTRY, id);
    store<i32>(TOP_LAYER, layer);
  }
  store<u32>(LINKED, id + 1);
  return true;
}

function randomLayer(): i32 {
  let seed = load<u32>(SEED);
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  store<u32>(SEED, seed);
  const uniform = (<f64>seed + 0.5) / 4294967296;
  return min(MAX_LAYER, <i32>(-Math.log(uniform) / Math.log(m)));
}

/** Links an element with some of what was kept, which are sorted, and these with it. */
function connect(id: u32, layer: i32): void {
  const links = linksOf(id, layer);
  const chosen = choose(m);
  store<u32>(links, chosen);
  for (let at = 0; at < chosen; at++) {
    store<u32>(links + 4 + ((<usize>at) << 2), idAt(keptAt, at));
    countLinkTo(idAt(keptAt, at), layer, 1);
  }
  const most = layer === 0 ? 2 * m : m;
  for (let at = 0; at < chosen; at++) {
    linkBack(load<u32>(links + 4 + ((<usize>at) << 2)), id, layer, most);
  }
}

function linkBack(from: u32, to: u32, layer: i32, most: i32): void {
  const links = linksOf(from, layer);
  const count = load<u32>(links);
  if (<i32>count < most) {
    store<u32>(links, count + 1);
    store<u32>(links + 4 + ((<usize>count) << 2), to);
    countLinkTo(to, layer, 1);
    return;
  }
  touchAll(links + 4, links + 4 + ((<usize>count) << 2));
  setProbe(point(), from);
  put(keptAt, 0, estimate(point(), to), to);
  kept = 1;
  for (let at: usize = 0; at < count; at++) {
    const id = load<u32>(links + 4 + (at << 2));
    push(keptAt, kept, estimate(point(), id), id);
    kept++;
    countLinkTo(id, layer, -1);
  }
  sort(keptAt, kept);
  let chosen = choose(most);
  for (let at = 0; at < chosen; at++) countLinkTo(idAt(keptAt, at), layer, 1);
  if (layer === 0) {
    chosen = keep(to, chosen, most);
    for (let at: usize = 0; at < count; at++) chosen = keep(load<u32>(links + 4 + (at << 2)), chosen, most);
  }
  store<u32>(links, chosen);
  for (let at = 0; at < chosen; at++) store<u32>(links + 4 + ((<usize>at) << 2), idAt(keptAt, at));
}

function countLinkTo(id: u32, layer: i32, by: i32): void {
  if (layer !== 0) return;
  const at = headOf(id) + LINKED_BY;
  store<i32>(at, load<i32>(at) + by);
}

/**
 * Adds an element to the chosen ones when nothing else links to it: among many that are alike, what is not would be found
 * by no walk. Not in the paper. Returns how many are chosen then.
 */
function keep(id: u32, chosen: i32, most: i32): i32 {
  if (load<i32>(headOf(id) + LINKED_BY) > 0) return chosen;
  let at = chosen;
  if (chosen === most) {
    do at--;
    while (at >= 0 && load<i32>(headOf(idAt(keptAt, at)) + LINKED_BY) < 2);
    if (at < 0) return chosen;
    countLinkTo(idAt(keptAt, at), 0, -1);
  }
  put(keptAt, at, 0, id);
  countLinkTo(id, 0, 1);
  return max(chosen, at + 1);
}

/** Algorithm 4: of what was kept, nearest first, those that are nearer to the element than to one chosen before. They come first. */
function choose(most: i32): i32 {
  if (kept <= most) return kept;
  let chosen = 0;
  for (let at = 0; at < kept && chosen < most; at++) {
    const distance = distanceAt(keptAt, at);
    const id = idAt(keptAt, at);
    let good = true;
    // With the chosen one as the probe: what the estimate has wrong about this element is then wrong in both distances.
    for (let other = 0; other < chosen && good; other++) good = estimate(probeAt(other), id) >= distance;
    if (!good) continue;
    setProbe(probeAt(chosen), id);
    put(keptAt, chosen++, distance, id);
  }
  return chosen;
}
