import { expect, test } from "vitest";
import { mapInSlices, openTimeSlice } from "../../../src/engine/kernel/time-slice.ts";

test("timers run between pieces of work that are all ready at once", async () => {
  const inSlices = openTimeSlice(2);
  let timers = 0;
  const timer = setInterval(() => timers++, 0);
  const results = await Promise.all(
    Array.from({ length: 30 }, (_, i) =>
      inSlices(() => {
        for (const end = performance.now() + 1; performance.now() < end; );
        return i;
      }),
    ),
  );
  clearInterval(timer);
  expect(timers).toBeGreaterThan(3);
  expect(results).toEqual(Array.from({ length: 30 }, (_, i) => i));
});

test("work that throws fails its own caller only", async () => {
  const inSlices = openTimeSlice(1000);
  const failing = inSlices(() => {
    throw new Error("boom");
  });
  const fine = inSlices(() => "fine");
  await expect(failing).rejects.toThrow("boom");
  expect(await fine).toBe("fine");
});

test("a list is mapped in order, and timers run meanwhile only where that takes long", async () => {
  let timers = 0;
  const timer = setInterval(() => timers++, 0);
  const long = await mapInSlices(Array(30).keys(), 2, (n) => {
    for (const end = performance.now() + 1; performance.now() < end; );
    return n * 2;
  });
  clearInterval(timer);
  expect(long).toEqual(Array.from({ length: 30 }, (_, n) => n * 2));
  expect(timers).toBeGreaterThan(3);
  const order: string[] = [];
  setImmediate(() => order.push("immediate"));
  await mapInSlices(["a", "b"], 1000, (text) => order.push(text));
  expect(order).toEqual(["a", "b"]);
  const failing = mapInSlices([1], 1000, () => {
    throw new Error("boom");
  });
  await expect(failing).rejects.toThrow("boom");
});
