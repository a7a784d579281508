// How vectors are kept and compared. A walk goes by 8 bits of each coordinate: a quarter of what float32 takes to read, and
// most of a walk is reading. How far that may be off is known for each element, and what decides is compared exactly.

import {
  CODE_NORM,
  COSINE,
  codesOf,
  headOf,
  L2,
  metric,
  PROBE_BYTES,
  padded,
  probesAt,
  REST_NORM,
  restsOf,
  SCALE,
} from "./memory";

// A probe is what elements are compared with: the query, or an element.
const PROBE_HEAD: usize = 16;

const STEPS: f32 = 127;
const FINE: f32 = 65536;
/** Steps of a probe's coordinates. */
const PROBE_STEPS: f32 = 2047;
/** Of a cache. */
const LINE: usize = 64;
/** Smaller than this nothing can be divided by: the estimate is 0, and its error all there is. */
const LEAST: f32 = 1e-30;

// Offsets in a probe: its floats follow, then 16-bit integers.
const P_SCALE: usize = 0;
const P_NORM: usize = 4;
/** Length of what the integers leave out. */
const P_REST_NORM: usize = 8;

export function query(): usize {
  return probesAt;
}

export function point(): usize {
  return probesAt + PROBE_BYTES;
}

/** One of those beside the query and the point. */
export function probeAt(at: i32): usize {
  return point() + <usize>(at + 1) * PROBE_BYTES;
}

function floatsOf(probe: usize): usize {
  return probe + PROBE_HEAD;
}

function integersOf(probe: usize): usize {
  return probe + PROBE_HEAD + padded * 4;
}

/** Where the caller writes the query. */
export function queryFloats(): usize {
  return floatsOf(query());
}

/** Makes the floats written to the query ready to compare. */
export function setQuery(): void {
  const floats = floatsOf(query());
  setIntegers(query(), floats, largest(floats) / PROBE_STEPS);
  let norm: f32 = 0;
  let rest: f32 = 0;
  const scale = load<f32>(query() + P_SCALE);
  for (let i: usize = 0; i < padded; i++) {
    const value = load<f32>(floats + (i << 2));
    const left = value - <f32>load<i16>(integersOf(query()) + (i << 1)) * scale;
    norm += value * value;
    rest += left * left;
  }
  store<f32>(query() + P_NORM, sqrt(norm));
  store<f32>(query() + P_REST_NORM, sqrt(rest));
}

/** Stores the floats written to the query as an element's vector. */
export function setVector(id: u32): void {
  const floats = floatsOf(query());
  const head = headOf(id);
  if (metric !== COSINE) memory.copy(restsOf(id), floats, padded * 4);
  if (metric === L2) return;
  const most = largest(floats);
  const scale: f32 = most < LEAST ? 0 : most / STEPS;
  const factor = f32x4.splat(most < LEAST ? 0 : (STEPS / most) * FINE);
  const scales = f32x4.splat(scale);
  const half = i32x4.splat(0x8000);
  const codes = codesOf(id);
  const rests = restsOf(id);
  let codeNorm: f32 = 0;
  let restNorm: f32 = 0;
  for (let i: usize = 0; i < padded; i += 8) {
    const at = floats + (i << 2);
    const low = steps(v128.load(at), factor);
    const high = steps(v128.load(at, 16), factor);
    const lowCode = i32x4.shr_s(i32x4.add(low, half), 16);
    const highCode = i32x4.shr_s(i32x4.add(high, half), 16);
    const code = i16x8.narrow_i32x4_s(lowCode, highCode);
    v128.store64_lane(codes + i, i8x16.narrow_i16x8_s(code, code), 0);
    if (metric === COSINE) {
      const lowRest = i32x4.sub(low, i32x4.shl(lowCode, 16));
      const highRest = i32x4.sub(high, i32x4.shl(highCode, 16));
      v128.store(rests + (i << 1), i16x8.narrow_i32x4_s(lowRest, highRest));
    }
    const lowSaid = f32x4.mul(f32x4.convert_i32x4_s(lowCode), scales);
    const highSaid = f32x4.mul(f32x4.convert_i32x4_s(highCode), scales);
    codeNorm += squares(lowSaid) + squares(highSaid);
    restNorm += squares(f32x4.sub(v128.load(at), lowSaid)) + squares(f32x4.sub(v128.load(at, 16), highSaid));
  }
  store<f32>(head + SCALE, scale);
  store<f32>(head + CODE_NORM, sqrt(codeNorm));
  store<f32>(head + REST_NORM, sqrt(restNorm));
}

/** Writes an element's vector to the query's floats. */
export function readVector(id: u32): void {
  toFloats(id, floatsOf(query()));
}

/** Makes an element the probe, as far as estimates need it. */
export function setProbe(probe: usize, id: u32): void {
  if (metric === L2) {
    toFloats(id, floatsOf(probe));
    return;
  }
  const scale = load<f32>(headOf(id) + SCALE) / 16;
  if (metric !== COSINE) {
    setIntegers(probe, restsOf(id), scale);
    return;
  }
  const codes = codesOf(id);
  const rests = restsOf(id);
  const integers = integersOf(probe);
  for (let i: usize = 0; i < padded; i += 8) {
    const code = i16x8.shl(v128.load_ext<i8>(codes + i), 4);
    const rest = i16x8.shr_s(v128.load(rests + (i << 1)), 12);
    v128.store(integers + (i << 1), i16x8.add(code, rest));
  }
  store<f32>(probe + P_SCALE, scale);
}

function setIntegers(probe: usize, floats: usize, wanted: f32): void {
  const scale: f32 = wanted < LEAST ? 0 : wanted;
  const factor = f32x4.splat(wanted < LEAST ? 0 : 1 / wanted);
  const integers = integersOf(probe);
  for (let i: usize = 0; i < padded; i += 8) {
    const at = floats + (i << 2);
    const both = i16x8.narrow_i32x4_s(steps(v128.load(at), factor), steps(v128.load(at, 16), factor));
    v128.store(integers + (i << 1), both);
  }
  store<f32>(probe + P_SCALE, scale);
}

/** What a search goes by: -dot from 8 bits a coordinate; under l2 the distance, squared. */
export function estimate(probe: usize, id: u32): f32 {
  if (metric === L2) return exact(probe, id);
  const scale = load<f32>(probe + P_SCALE) * load<f32>(headOf(id) + SCALE);
  return -scale * <f32>dotOfCodes(integersOf(probe), codesOf(id));
}

/**
 * Reads a word of each cache line that `estimate` will read. A walk is mostly waiting for memory, and what is asked for in a
 * row is waited for at the same time: touching all neighbours of an element before the first is compared takes two fifths
 * off a walk. Store the sum it returns, or the compiler may read nothing.
 */
export function touch(id: u32): u32 {
  const codes = metric === L2 ? touchLines(restsOf(id), padded * 4) : touchLines(codesOf(id), padded);
  return codes + load<u32>(headOf(id));
}

/** As `touch`, for what `exact` reads beside it. */
export function touchRests(id: u32): u32 {
  return metric === L2 ? 0 : touchLines(restsOf(id), padded * (metric === COSINE ? 2 : 4));
}

function touchLines(from: usize, bytes: usize): u32 {
  let sum: u32 = 0;
  const end = from + bytes;
  for (; end - from >= 4 * LINE; from += 4 * LINE) {
    sum += load<u32>(from) + load<u32>(from, LINE) + load<u32>(from, 2 * LINE) + load<u32>(from, 3 * LINE);
  }
  for (; from < end; from += LINE) sum += load<u32>(from);
  return sum;
}

/** How far the estimate for the query may be from the exact value: Cauchy and Schwarz, for what either side leaves out. */
export function errorOf(id: u32): f32 {
  if (metric === L2) return 0;
  const head = headOf(id);
  const ofElement = load<f32>(query() + P_NORM) * load<f32>(head + REST_NORM);
  return ofElement + load<f32>(query() + P_REST_NORM) * load<f32>(head + CODE_NORM);
}

/** -dot, or under l2 the distance squared, of all that is kept, to a probe with floats. */
export function exact(probe: usize, id: u32): f32 {
  let a = floatsOf(probe);
  let r = restsOf(id);
  let one = f32x4.splat(0);
  let other = f32x4.splat(0);
  if (metric === COSINE) {
    let c = codesOf(id);
    for (const end = c + padded; c < end; c += 8, r += 16, a += 32) {
      const code = v128.load_ext<i8>(c);
      const rest = v128.load(r);
      one = f32x4.add(one, f32x4.mul(v128.load(a), lowOf(code, rest)));
      other = f32x4.add(other, f32x4.mul(v128.load(a, 16), highOf(code, rest)));
    }
    return (-load<f32>(headOf(id) + SCALE) / FINE) * sumOf(f32x4.add(one, other));
  }
  const end = r + padded * 4;
  if (metric === L2) {
    for (; r < end; r += 32, a += 32) {
      const low = f32x4.sub(v128.load(a), v128.load(r));
      const high = f32x4.sub(v128.load(a, 16), v128.load(r, 16));
      one = f32x4.add(one, f32x4.mul(low, low));
      other = f32x4.add(other, f32x4.mul(high, high));
    }
    return sumOf(f32x4.add(one, other));
  }
  for (; r < end; r += 32, a += 32) {
    one = f32x4.add(one, f32x4.mul(v128.load(a), v128.load(r)));
    other = f32x4.add(other, f32x4.mul(v128.load(a, 16), v128.load(r, 16)));
  }
  return -sumOf(f32x4.add(one, other));
}

function toFloats(id: u32, floats: usize): void {
  if (metric !== COSINE) {
    memory.copy(floats, restsOf(id), padded * 4);
    return;
  }
  const scales = f32x4.splat(load<f32>(headOf(id) + SCALE) / FINE);
  let c = codesOf(id);
  let r = restsOf(id);
  for (const end = c + padded; c < end; c += 8, r += 16, floats += 32) {
    const code = v128.load_ext<i8>(c);
    const rest = v128.load(r);
    v128.store(floats, f32x4.mul(lowOf(code, rest), scales));
    v128.store(floats, f32x4.mul(highOf(code, rest), scales), 16);
  }
}

function lowOf(code: v128, rest: v128): v128 {
  const upper = i32x4.shl(i32x4.extend_low_i16x8_s(code), 16);
  return f32x4.convert_i32x4_s(i32x4.add(upper, i32x4.extend_low_i16x8_s(rest)));
}

function highOf(code: v128, rest: v128): v128 {
  const upper = i32x4.shl(i32x4.extend_high_i16x8_s(code), 16);
  return f32x4.convert_i32x4_s(i32x4.add(upper, i32x4.extend_high_i16x8_s(rest)));
}

function dotOfCodes(integers: usize, codes: usize): i32 {
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let c = i32x4.splat(0);
  let d = i32x4.splat(0);
  for (const end = codes + padded; codes < end; codes += 32, integers += 64) {
    a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load(integers), v128.load_ext<i8>(codes)));
    b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load(integers, 16), v128.load_ext<i8>(codes, 8)));
    c = i32x4.add(c, i32x4.dot_i16x8_s(v128.load(integers, 32), v128.load_ext<i8>(codes, 16)));
    d = i32x4.add(d, i32x4.dot_i16x8_s(v128.load(integers, 48), v128.load_ext<i8>(codes, 24)));
  }
  const sum = i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
  return (
    i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) + i32x4.extract_lane(sum, 2) + i32x4.extract_lane(sum, 3)
  );
}

function steps(floats: v128, factor: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(floats, factor)));
}

function squares(floats: v128): f32 {
  return sumOf(f32x4.mul(floats, floats));
}

function sumOf(lanes: v128): f32 {
  return (
    f32x4.extract_lane(lanes, 0) +
    f32x4.extract_lane(lanes, 1) +
    f32x4.extract_lane(lanes, 2) +
    f32x4.extract_lane(lanes, 3)
  );
}

function largest(floats: usize): f32 {
  let most = f32x4.splat(0);
  for (let i: usize = 0; i < padded; i += 4) most = f32x4.max(most, f32x4.abs(v128.load(floats + (i << 2))));
  const two = max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1));
  return max(two, max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)));
}
