import { expect, test } from "vitest";
import { lazy } from "../../../src/engine/kernel/lazy.ts";

test("calls at the same time share one opening", async () => {
  let opened = 0;
  const part = lazy(async () => ++opened);
  expect(part.value()).toBeUndefined();
  expect(await Promise.all([part.get(), part.get()])).toEqual([1, 1]);
  expect(await part.get()).toBe(1);
  expect(part.value()).toBe(1);
});

test("a failure is told to those who waited, and the next call opens again", async () => {
  let attempts = 0;
  const part = lazy(async () => {
    attempts++;
    if (attempts === 1) throw new Error("the disk is away");
    return attempts;
  });
  const both = await Promise.allSettled([part.get(), part.get()]);
  expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(part.value()).toBeUndefined();
  expect(await part.get()).toBe(2);
});
