import { expect, test } from "vitest";
import { LakeError } from "../../src/engine/errors.ts";
import { openTurns } from "../../src/engine/turns.ts";

const never = new AbortController().signal;
const open = (maxRunning: number, maxWaiting: number) =>
  openTurns({ maxRunning, maxWaiting, busy: () => new LakeError("unavailable", "busy") });

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
