import { expect, test } from "vitest";
import { giveBack } from "../../../src/engine/ann/give-back.ts";

test("vectors that are given back are empty at once, those that threads share are left alone", () => {
  const own = new Float32Array(1000).fill(1);
  giveBack(own);
  expect(own.byteLength).toBe(0);
  expect(own.buffer.byteLength).toBe(0);
  giveBack(own);
  const shared = new Float32Array(new SharedArrayBuffer(16)).fill(1);
  giveBack(shared);
  expect([...shared]).toEqual([1, 1, 1, 1]);
});
