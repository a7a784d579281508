import { expect, test } from "vitest";
import { LakeError } from "../../../src/engine/kernel/errors.ts";
import { type FullQueue, openLimiter } from "../../../src/engine/kernel/limiter.ts";

const never = new AbortController().signal;
const open = (maxRunning: number, maxWaiting: number) =>
  openLimiter({ maxRunning, maxWaiting, busy: () => new LakeError("unavailable", "busy") });

test("who is refused learns which limit it was, and whose", async () => {
  const busy = ({ waiting, own }: FullQueue): LakeError => new LakeError("unavailable", `${waiting} ${own}`);
  const turns = openLimiter({ maxRunning: 1, maxWaiting: 4, busy });
  await turns.enter(never, "greedy");
  const waiting = [turns.enter(never, "greedy"), turns.enter(never, "greedy")];
  await expect(turns.enter(never, "greedy")).rejects.toMatchObject({ message: "2 true" });
  waiting.push(turns.enter(never, "b"), turns.enter(never, "c"));
  await expect(turns.enter(never, "d")).rejects.toMatchObject({ message: "4 false" });
  turns.close(new LakeError("closed", "closed"));
  expect((await Promise.allSettled(waiting)).every(({ status }) => status === "rejected")).toBe(true);
});

test("places are given in the order of the calls", async () => {
  const turns = open(1, 10);
  const order: number[] = [];
  const leave = await turns.enter(never);
  const waiting = [1, 2, 3].map(async (n) => {
    const done = await turns.enter(never);
    order.push(n);
    done();
  });
  expect(order).toEqual([]);
  leave();
  leave();
  await Promise.all(waiting);
  expect(order).toEqual([1, 2, 3]);
});

test("a full queue refuses, a cancelled wait frees its place, closing refuses everybody", async () => {
  const turns = open(1, 1);
  const leave = await turns.enter(never);
  const abort = new AbortController();
  const waiting = turns.enter(abort.signal);
  await expect(turns.enter(never)).rejects.toMatchObject({ message: "busy" });
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ kind: "unavailable" });
  const next = turns.enter(never);
  leave();
  (await next)();
  const held = await turns.enter(never);
  const last = turns.enter(never);
  turns.close(new LakeError("closed", "closed"));
  await expect(last).rejects.toMatchObject({ kind: "closed" });
  await expect(turns.enter(never)).rejects.toMatchObject({ kind: "closed" });
  held();
});

test("a caller with a name has all places but one, and half of the queue", async () => {
  const turns = open(3, 4);
  const greedy = [await turns.enter(never, "greedy"), await turns.enter(never, "greedy")];
  const third = turns.enter(never, "greedy");
  const fourth = turns.enter(never, "greedy");
  await expect(turns.enter(never, "greedy")).rejects.toMatchObject({ message: "busy" });
  expect(turns.occupancy()).toEqual({ running: 2, waiting: 2 });
  // Somebody else passes those who wait.
  const other = await turns.enter(never, "other");
  const next = turns.enter(never, "other");
  greedy[0]?.();
  // Of those who wait, the one whose caller has less: both have one place, and `greedy` came first.
  (await third)();
  other();
  (await next)();
  (await fourth)();
  greedy[1]?.();
  expect(turns.occupancy()).toEqual({ running: 0, waiting: 0 });
});

test("callers without a name may have all places", async () => {
  const turns = open(2, 1);
  const leave = [await turns.enter(never), await turns.enter(never)];
  expect(turns.occupancy()).toEqual({ running: 2, waiting: 0 });
  for (const one of leave) one();
});
