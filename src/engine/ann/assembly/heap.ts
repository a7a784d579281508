// Pairs of a distance and the number of an element, the greatest distance first; of equals, the greatest number.

export function distanceAt(heap: usize, at: i32): f32 {
  return load<f32>(heap + ((<usize>at) << 3));
}

export function idAt(heap: usize, at: i32): u32 {
  return load<u32>(heap + ((<usize>at) << 3), 4);
}

export function put(heap: usize, at: i32, distance: f32, id: u32): void {
  store<f32>(heap + ((<usize>at) << 3), distance);
  store<u32>(heap + ((<usize>at) << 3), id, 4);
}

/** Whether a pair comes after another that is in the heap. */
function isAfter(distance: f32, id: u32, heap: usize, at: i32): bool {
  const other = distanceAt(heap, at);
  return distance > other || (distance === other && id > idAt(heap, at));
}

/** Adds to a heap of `size`. */
export function push(heap: usize, size: i32, distance: f32, id: u32): void {
  let at = size;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isAfter(distance, id, heap, parent)) break;
    store<u64>(heap + ((<usize>at) << 3), load<u64>(heap + ((<usize>parent) << 3)));
    at = parent;
  }
  put(heap, at, distance, id);
}

/** Puts a pair in the place of the first. */
export function replaceFirst(heap: usize, size: i32, distance: f32, id: u32): void {
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= size) break;
    if (child + 1 < size && isAfter(distanceAt(heap, child + 1), idAt(heap, child + 1), heap, child)) child++;
    if (isAfter(distance, id, heap, child)) break;
    store<u64>(heap + ((<usize>at) << 3), load<u64>(heap + ((<usize>child) << 3)));
    at = child;
  }
  put(heap, at, distance, id);
}

/** Removes the first from a heap of `size`. */
export function pop(heap: usize, size: i32): void {
  const last = size - 1;
  if (last > 0) replaceFirst(heap, last, distanceAt(heap, last), idAt(heap, last));
}

/** Makes a heap of `size` a list, the least distance first. */
export function sort(heap: usize, size: i32): void {
  for (let left = size; left > 1; left--) {
    const distance = distanceAt(heap, 0);
    const id = idAt(heap, 0);
    pop(heap, left);
    put(heap, left - 1, distance, id);
  }
}
