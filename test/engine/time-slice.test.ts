import { expect, test } from "vitest";
import { openTimeSlice } from "../../src/engine/time-slice.ts";

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
