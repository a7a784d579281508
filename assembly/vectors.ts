// Vectors are kept in 24 bits a coordinate, which is what float32 has next to the largest one: 8 to compare with, 16 more
// to compare exactly with. The estimate reads a quarter of what float32 would, and most of a search is reading.

import { CODE_NORM, codesOf, headOf, l2, MAX_DIMENSION, PROBES, padded, REST_NORM, restsOf, SCALE } from "./memory";

// A probe is what elements are compared with: the query, or an element.
const PROBE: usize = 16;
export const QUERY: usize = PROBES;
export const POINT: usize = PROBES + PROBE + MAX_DIMENSION * 6;

const STEPS: f32 = 127;
const FINE: f32 = 65536;
/** Steps of a probe's coordinates. */
const PROBE_STEPS: f32 = 2047;

// Offsets in a probe: its floats follow, then 16-bit integers.
const P_SCALE: usize = 0;
const P_NORM: usize = 4;
/** Length of what the integers leave out. */
const P_REST_NORM: usize = 8;

function floatsOf(probe: usize): usize {
  return probe + PROBE;
}

function integersOf(probe: usize): usize {
  return probe + PROBE + padded * 4;
}

/** Where the caller writes the query. */
export function queryFloats(): usize {
  return floatsOf(QUERY);
}

/** Makes the floats written to the query ready to compare. */
export function setQuery(): void {
  const floats = floatsOf(QUERY);
  const integers = integersOf(QUERY);
  const most = largest(floats);
  const scale = most / PROBE_STEPS;
  const factor: f32 = most > 0 ? PROBE_STEPS / most : 0;
  let norm: f32 = 0;
  let rest: f32 = 0;
  for (let i: usize = 0; i < padded; i++) {
    const value = load<f32>(floats + (i << 2));
    const integer = <i32>nearest(value * factor);
    store<i16>(integers + (i << 1), <i16>integer);
    const left = value - <f32>integer * scale;
    norm += value * value;
    rest += left * left;
  }
  store<f32>(QUERY + P_SCALE, scale);
  store<f32>(QUERY + P_NORM, sqrt(norm));
  store<f32>(QUERY + P_REST_NORM, sqrt(rest));
}

/** Stores the floats written to the query as an element's vector. */
export function setVector(id: u32): void {
  const most = largest(floatsOf(QUERY));
  const scale = most / STEPS;
  const factor = f32x4.splat(most > 0 ? (STEPS / most) * FINE : 0);
  const half = i32x4.splat(0x8000);
  const codes = codesOf(id);
  const rests = restsOf(id);
  let codeNorm: f32 = 0;
  let restNorm: f32 = 0;
  for (let i: usize = 0; i < padded; i += 8) {
    const floats = floatsOf(QUERY) + (i << 2);
    const low = steps(v128.load(floats), factor);
    const high = steps(v128.load(floats, 16), factor);
    const lowCode = i32x4.shr_s(i32x4.add(low, half), 16);
    const highCode = i32x4.shr_s(i32x4.add(high, half), 16);
    const code = i16x8.narrow_i32x4_s(lowCode, highCode);
    const rest = i16x8.narrow_i32x4_s(i32x4.sub(low, i32x4.shl(lowCode, 16)), i32x4.sub(high, i32x4.shl(highCode, 16)));
    v128.store64_lane(codes + i, i8x16.narrow_i16x8_s(code, code), 0);
    v128.store(rests + (i << 1), rest);
    codeNorm += squares(lowCode) + squares(highCode);
    restNorm += squares(i32x4.extend_low_i16x8_s(rest)) + squares(i32x4.extend_high_i16x8_s(rest));
  }
  const head = headOf(id);
  store<f32>(head + SCALE, scale);
  store<f32>(head + CODE_NORM, sqrt(codeNorm) * scale);
  store<f32>(head + REST_NORM, (sqrt(restNorm) / FINE) * scale);
}

function steps(floats: v128, factor: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(floats, factor)));
}

function squares(integers: v128): f32 {
  const floats = f32x4.convert_i32x4_s(integers);
  return sumOf(f32x4.mul(floats, floats));
}

/** Writes an element's vector to the query's floats. */
export function readVector(id: u32): void {
  toFloats(id, floatsOf(QUERY));
}

/** Makes an element the probe. */
export function setProbe(probe: usize, id: u32): void {
  if (l2) {
    toFloats(id, floatsOf(probe));
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
  store<f32>(probe + P_SCALE, load<f32>(headOf(id) + SCALE) / 16);
}

/** What a search goes by: -dot from 8 bits a coordinate; under l2 the distance, squared. */
export function estimate(probe: usize, id: u32): f32 {
  if (l2) return exact(probe, id);
  const scale = load<f32>(probe + P_SCALE) * load<f32>(headOf(id) + SCALE);
  return -scale * <f32>dotOfCodes(integersOf(probe), codesOf(id));
}

/** How far the estimate may be from the exact value: Cauchy and Schwarz, for what either side leaves out. */
export function errorOf(probe: usize, id: u32): f32 {
  if (l2) return 0;
  const head = headOf(id);
  return (
    load<f32>(probe + P_NORM) * load<f32>(head + REST_NORM) +
    load<f32>(probe + P_REST_NORM) * load<f32>(head + CODE_NORM)
  );
}

/** -dot, or under l2 the distance squared, of all that is kept. The probe is the query. */
export function exact(probe: usize, id: u32): f32 {
  const scale = load<f32>(headOf(id) + SCALE) / FINE;
  let a = floatsOf(probe);
  let c = codesOf(id);
  let r = restsOf(id);
  const end = c + padded;
  let one = f32x4.splat(0);
  let other = f32x4.splat(0);
  if (l2) {
    const scales = f32x4.splat(scale);
    for (; c < end; c += 8, r += 16, a += 32) {
      const code = v128.load_ext<i8>(c);
      const rest = v128.load(r);
      const low = f32x4.sub(v128.load(a), f32x4.mul(lowOf(code, rest), scales));
      const high = f32x4.sub(v128.load(a, 16), f32x4.mul(highOf(code, rest), scales));
      one = f32x4.add(one, f32x4.mul(low, low));
      other = f32x4.add(other, f32x4.mul(high, high));
    }
    return sumOf(f32x4.add(one, other));
  }
  for (; c < end; c += 8, r += 16, a += 32) {
    const code = v128.load_ext<i8>(c);
    const rest = v128.load(r);
    one = f32x4.add(one, f32x4.mul(v128.load(a), lowOf(code, rest)));
    other = f32x4.add(other, f32x4.mul(v128.load(a, 16), highOf(code, rest)));
  }
  return -scale * sumOf(f32x4.add(one, other));
}

function lowOf(code: v128, rest: v128): v128 {
  const upper = i32x4.shl(i32x4.extend_low_i16x8_s(code), 16);
  return f32x4.convert_i32x4_s(i32x4.add(upper, i32x4.extend_low_i16x8_s(rest)));
}

function highOf(code: v128, rest: v128): v128 {
  const upper = i32x4.shl(i32x4.extend_high_i16x8_s(code), 16);
  return f32x4.convert_i32x4_s(i32x4.add(upper, i32x4.extend_high_i16x8_s(rest)));
}

function sumOf(lanes: v128): f32 {
  return (
    f32x4.extract_lane(lanes, 0) +
    f32x4.extract_lane(lanes, 1) +
    f32x4.extract_lane(lanes, 2) +
    f32x4.extract_lane(lanes, 3)
  );
}

function toFloats(id: u32, floats: usize): void {
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

function largest(floats: usize): f32 {
  let most: f32 = 0;
  for (let i: usize = 0; i < padded; i++) most = max(most, abs(load<f32>(floats + (i << 2))));
  return most;
}
