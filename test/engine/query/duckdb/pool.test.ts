import { expect, test } from "vitest";
import { LakeError } from "../../../../src/engine/kernel/errors.ts";
import { openPool } from "../../../../src/engine/query/duckdb/pool.ts";
import type { PooledInstance } from "../../../../src/engine/query/duckdb/pooled-instances.ts";

const never = new AbortController().signal;

function opener() {
  const instances: (PooledInstance & { closed: boolean; full: boolean; renewed: number })[] = [];
  const open = async (): Promise<PooledInstance> => {
    const instance = {
      connection: {} as PooledInstance["connection"],
      shown: new Map(),
      closed: false,
      full: false,
      renewed: 0,
      isAlive: () => !instance.closed,
      isFull: () => instance.full,
      renew: async () => {
        instance.renewed++;
      },
      close: async () => {
        instance.closed = true;
      },
    };
    instances.push(instance);
    return instance;
  };
  return { instances, open };
}

const isBroken = (error: unknown): boolean => error instanceof Error && error.message === "broken";

test("one after the other they use one instance", async () => {
  const { instances, open } = opener();
  const pool = openPool({ maxRunning: 4, maxWaiting: 8 }, open, isBroken);
  for (let n = 0; n < 5; n++) await pool.run(never, undefined, async () => n);
  expect(instances).toHaveLength(1);
  await pool.close();
  expect(instances[0]?.closed).toBe(true);
});

test("an instance in which statements have left too much is closed, and the next one is new", async () => {
  const { instances, open } = opener();
  const pool = openPool({ maxRunning: 1, maxWaiting: 8 }, open, isBroken);
  await pool.run(never, undefined, async () => {
    if (instances[0]) instances[0].full = true;
  });
  expect(await pool.run(never, undefined, async () => "next")).toBe("next");
  expect(instances.map(({ closed }) => closed)).toEqual([true, false]);
  await pool.close();
});

test("an error that breaks an instance ends its process, a refusal changes nothing, anything else renews", async () => {
  const { instances, open } = opener();
  const pool = openPool({ maxRunning: 1, maxWaiting: 8 }, open, isBroken);
  const fail = (error: Error): Promise<unknown> =>
    pool
      .run(never, undefined, async () => {
        throw error;
      })
      .catch((thrown: unknown) => thrown);
  await fail(new LakeError("invalid", "wrong"));
  expect(instances.map(({ closed, renewed }) => [closed, renewed])).toEqual([[false, 0]]);
  await fail(new LakeError("limit", "much"));
  expect(instances.map(({ closed, renewed }) => [closed, renewed])).toEqual([[false, 1]]);
  await fail(new Error("broken"));
  expect(instances[0]?.closed).toBe(true);
  expect(await pool.run(never, undefined, async () => "next")).toBe("next");
  expect(instances).toHaveLength(2);
  await pool.close();
});

test("a caller with a name never has all instances, and others pass it in the queue", async () => {
  const { open } = opener();
  const pool = openPool({ maxRunning: 2, maxWaiting: 8 }, open, isBroken);
  const ends: (() => void)[] = [];
  const hold = (caller: string) =>
    pool.run(never, caller, () => new Promise<string>((resolve) => ends.push(() => resolve(caller))));
  const greedy = [hold("greedy"), hold("greedy"), hold("greedy")];
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(pool.occupancy()).toEqual({ running: 1, waiting: 2 });
  expect(await pool.run(never, "other", async () => "served")).toBe("served");
  while (ends.length > 0 || pool.occupancy().running > 0) {
    ends.shift()?.();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  expect(await Promise.all(greedy)).toEqual(["greedy", "greedy", "greedy"]);
  await pool.close();
});

test("who waits for an instance is answered when its time is over, and the instance is for the next", async () => {
  const { open } = opener();
  let opened = (): void => undefined;
  const slowly = (): Promise<PooledInstance> =>
    new Promise((resolve) => {
      opened = () => void open().then(resolve);
    });
  const pool = openPool({ maxRunning: 1, maxWaiting: 8 }, slowly, isBroken);
  const stop = new AbortController();
  const waiting = pool.run(stop.signal, undefined, async () => "never").catch((error: unknown) => error);
  await new Promise((resolve) => setTimeout(resolve, 10));
  stop.abort(new LakeError("limit", "too long"));
  expect(await waiting).toMatchObject({ kind: "limit" });
  const next = pool.run(never, undefined, async () => "next");
  opened();
  expect(await next).toBe("next");
  await pool.close();
});

test("closing answers who waits", async () => {
  const { open } = opener();
  const pool = openPool({ maxRunning: 1, maxWaiting: 8 }, open, isBroken);
  const running = pool.run(never, undefined, () => new Promise(() => {})).catch((error: unknown) => error);
  const waiting = pool.run(never, undefined, async () => "never").catch((error: unknown) => error);
  await new Promise((resolve) => setTimeout(resolve, 10));
  await pool.close();
  expect(await waiting).toMatchObject({ kind: "closed" });
  void running;
});
