// Where everything is. All of a graph lies in linear memory from IMAGE on, so that saving it is writing that memory, and
// nothing but a number of bytes has to be known to read it back.

/** Of candidates that wait to be visited; those beyond are dropped, and a search is worse for it. */
export const MAX_WAITING = 1 << 18;
/** Of a vector. */
export const MAX_DIMENSION: usize = 1 << 13;
/** Of hits, and of candidates that a search keeps. */
export const MAX_KEPT = 1 << 14;

/** Pairs of distance and id. */
export const waitingAt: usize = 1 << 16;
export const keptAt: usize = waitingAt + MAX_WAITING * 8;
export const hitsAt: usize = keptAt + (MAX_KEPT + 1) * 8;
export const MAX_LINKS = 64;
/** Numbers of elements that a walk has come to just now. */
export const freshAt: usize = hitsAt + (MAX_KEPT + 1) * 8;
/** Where sums of what was only touched go: nobody reads them, and the compiler cannot know. */
export const touchedAt: usize = freshAt + MAX_LINKS * 4;
/** See vectors.ts: the query, an element, and as many as an element has links at most. */
export const probesAt: usize = (touchedAt + 4 + 15) & ~15;
export const PROBE_BYTES: usize = 16 + MAX_DIMENSION * 6;

/** Fixed: saved images hold addresses. What lies between is never touched, and takes no memory. */
export const IMAGE: usize = 0xad0000;
const MAX_BLOCKS: u32 = 1 << 14;
const BLOCK_BYTES: usize = 1 << 19;
const TABLE: usize = IMAGE + 64;
const FIRST_FREE: usize = TABLE + MAX_BLOCKS * 4;

// The graph's state, in its image.
export const COUNT: usize = IMAGE;
/** Elements before are in the graph. */
export const LINKED: usize = IMAGE + 4;
export const ENTRY: usize = IMAGE + 8;
/** -1 for an empty graph. */
export const TOP_LAYER: usize = IMAGE + 12;
export const SEED: usize = IMAGE + 16;
const FREE: usize = IMAGE + 20;
/** Of the last walk. */
const VISITS: usize = IMAGE + 24;

// How vectors are kept, by the metric.
/** 24 bits a coordinate, next to the largest one, 8 of them apart: of length 1, nothing that counts is lost. */
export const COSINE = 0;
/** float32, and beside it 8 bits a coordinate. */
export const IP = 1;
/** float32 alone: of differences, 8 bits of each side say too little. */
export const L2 = 2;

// What follows from dimension, metric and M.
export let padded: usize = 0;
export let metric: i32 = COSINE;
export let m: i32 = 0;
let headBytes: usize = 0;
let shift: u32 = 0;
let inBlock: u32 = 0;
let codes: usize = 0;
let restBytes: usize = 0;
let rests: usize = 0;
let blockBytes: usize = 0;

// An element: its head, its links on layer 0 and the 8 bits of each coordinate (codes), side by side since a walk reads all
// three; the lower bits, or float32 (rests), are elsewhere in its block. Offsets in a head:
/** The last walk that came by. Four unused bytes follow, in saved images too. */
const VISITED: usize = 0;
/** A coordinate is its code times this, about; under cosine (code << 16 | rest) times this, over 65536. */
export const SCALE: usize = 8;
/** Length of what the codes leave out, and of what they say. */
export const REST_NORM: usize = 12;
export const CODE_NORM: usize = 16;
export const LABEL: usize = 20;
export const REMOVED: usize = 24;
/** Removed, and was not when saving began. */
export const REMOVED_LATE: u32 = 2;
/** Elements that link to it on layer 0. */
export const LINKED_BY: usize = 28;
/** Address of its links on the layers above 0. */
const UPPER: usize = 32;
const LINKS: usize = 36;

/** Tells the layout; the memory may hold a graph of this kind already. */
export function describe(dimension: i32, ofMetric: i32, links: i32): void {
  padded = (<usize>dimension + 31) & ~31;
  metric = ofMetric;
  m = links;
  codes = (LINKS + 4 + <usize>links * 8 + 63) & ~63;
  headBytes = (codes + (metric === L2 ? 0 : padded) + 63) & ~63;
  restBytes = padded * (metric === COSINE ? 2 : 4);
  const bytes = headBytes + restBytes;
  shift = 4;
  while (bytes << (<usize>(shift + 1)) <= BLOCK_BYTES) shift++;
  inBlock = (1 << shift) - 1;
  rests = headBytes << (<usize>shift);
  blockBytes = rests + (restBytes << (<usize>shift));
}

/** An empty graph. False when there is no memory. */
export function clear(seed: u32): bool {
  if (!reach(FIRST_FREE)) return false;
  memory.fill(IMAGE, 0, FIRST_FREE - IMAGE);
  store<i32>(TOP_LAYER, -1);
  store<u32>(SEED, seed | 1);
  store<usize>(FREE, FIRST_FREE);
  return true;
}

/** What is true of a graph that was just read. */
export function restore(): void {
  store<u32>(VISITS, 0);
  for (let id: u32 = 0; id < load<u32>(COUNT); id++) {
    const head = headOf(id);
    store<u32>(head + VISITED, 0);
    if (load<u32>(head + REMOVED) === REMOVED_LATE) store<u32>(head + REMOVED, 0);
  }
}

/** What the next walk marks elements with. */
export function nextVisit(): u32 {
  const visit = load<u32>(VISITS) + 1;
  store<u32>(VISITS, visit);
  if (visit !== 0) return visit;
  // After 2^32 walks.
  for (let id: u32 = 0; id < load<u32>(COUNT); id++) store<u32>(headOf(id) + VISITED, 0);
  store<u32>(VISITS, 1);
  return 1;
}

/** Marks an element. Whether this walk had not been there before. */
export function visits(id: u32, visit: u32): bool {
  const mark = headOf(id) + VISITED;
  if (load<u32>(mark) === visit) return false;
  store<u32>(mark, visit);
  return true;
}

/** End of the image. */
export function imageEnd(): usize {
  return load<usize>(FREE);
}

/** Grows the memory to hold what is before `end`. */
export function reach(end: usize): bool {
  const pages = <i32>((<u64>end + 0xffff) >> 16);
  const more = pages - memory.size();
  return more <= 0 || memory.grow(more) >= 0;
}

/** `bytes` behind the image, until the next allocation. 0 when there is no memory. */
export function transient(bytes: usize): usize {
  const at = (imageEnd() + 63) & ~63;
  return <u64>at + bytes <= 0xffffffff && reach(at + bytes) ? at : 0;
}

function allocate(bytes: usize): usize {
  const at = transient(bytes);
  if (at !== 0) {
    memory.fill(at, 0, bytes);
    store<usize>(FREE, at + bytes);
  }
  return at;
}

/** The number of a new element, or -1 when there is no memory. */
export function addElement(label: u32): i32 {
  const id = load<u32>(COUNT);
  if ((id & inBlock) === 0) {
    const block = id >> shift;
    const at = block < MAX_BLOCKS ? allocate(blockBytes) : 0;
    if (at === 0) return -1;
    store<usize>(TABLE + (block << 2), at);
  }
  // Of an element that came while the graph was being saved something is left.
  memory.fill(headOf(id), 0, codes);
  store<u32>(headOf(id) + LABEL, label);
  store<u32>(COUNT, id + 1);
  return id;
}

/** Room for links on the layers from 1 to `layer`. */
export function addLayers(id: u32, layer: i32): bool {
  const at = allocate(<usize>layer * (4 + <usize>m * 4));
  if (at === 0) return false;
  store<usize>(headOf(id) + UPPER, at);
  return true;
}

function blockOf(id: u32): usize {
  return load<usize>(TABLE + ((id >> shift) << 2));
}

export function headOf(id: u32): usize {
  return blockOf(id) + <usize>(id & inBlock) * headBytes;
}

export function codesOf(id: u32): usize {
  return headOf(id) + codes;
}

export function restsOf(id: u32): usize {
  return blockOf(id) + rests + <usize>(id & inBlock) * restBytes;
}

/** A count, then as many numbers of elements. */
export function linksOf(id: u32, layer: i32): usize {
  const head = headOf(id);
  if (layer === 0) return head + LINKS;
  return load<usize>(head + UPPER) + <usize>(layer - 1) * (4 + <usize>m * 4);
}
