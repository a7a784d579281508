import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { openRemoteDuck } from "../../../src/engine/duckdb/remote.ts";
import { LakeError } from "../../../src/engine/kernel/errors.ts";
import { inScope } from "../../../src/engine/kernel/scope.ts";
import { replyIn } from "../../../src/engine/process/messages.ts";
import { ProcessEnded, takeProcess } from "../../../src/engine/process/processes.ts";

const SETTINGS = {
  memoryBytes: 64 * 2 ** 20,
  threads: 2,
  tempFolder: "/nonexistent",
  maxTempBytes: 2 ** 20,
  folders: ["/nonexistent"],
};
/** Quadratic inside of one function call, which DuckDB does not interrupt. */
const NEVER_ENDS = "SELECT repeat('a', 3000000) ILIKE '%a%a%b'";

function thrown(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => expect.fail("it did not fail"),
    (error: unknown) => error,
  );
}

test("a process has nothing of this one's environment, and no network", async () => {
  process.env.LAKEHOUSE_TEST_SECRET = "do not tell";
  try {
    await inScope(async (scope) => {
      await openRemoteDuck(scope, SETTINGS);
      const worker = await takeProcess("statements");
      await worker.call("duck.close", {});
      const environment = readFileSync(`/proc/${worker.pid}/environ`, "latin1").split("\0");
      expect(environment).toEqual(expect.arrayContaining(["TZ=UTC", "LC_ALL=C"]));
      expect(environment.filter((variable) => /SECRET|HOME|^PATH|USER/.test(variable))).toEqual([]);
      // No interface but its own loopback, where the system has namespaces.
      const interfaces = readFileSync(`/proc/${worker.pid}/net/dev`, "latin1").split("\n").slice(2).filter(Boolean);
      expect(interfaces.map((line) => line.trim().split(":")[0])).toEqual(["lo"]);
      await worker.giveBack();
    });
  } finally {
    delete process.env.LAKEHOUSE_TEST_SECRET;
  }
});

test("a call that does not stop ends its process, and the caller is told why it was stopped", {
  tags: ["slow"],
}, async () => {
  await inScope(async (scope) => {
    const duck = await openRemoteDuck(scope, SETTINGS);
    const connection = await duck.connect();
    const stop = new AbortController();
    const running = thrown(connection.run(NEVER_ENDS, { signal: stop.signal }));
    setTimeout(() => stop.abort(new LakeError("limit", "too long")), 300);
    expect(await running).toMatchObject({ kind: "limit", message: "too long" });
    expect(duck.isAlive()).toBe(false);
    expect(await thrown(connection.rows("SELECT 1"))).toBeInstanceOf(LakeError);
  });
});

test("a call that stops leaves its process as it was", async () => {
  await inScope(async (scope) => {
    const duck = await openRemoteDuck(scope, SETTINGS);
    const connection = await duck.connect();
    const stop = new AbortController();
    const running = thrown(
      connection.run("SELECT count(*) FROM range(10000000000) a, range(10) b", { signal: stop.signal }),
    );
    setTimeout(() => stop.abort(), 100);
    expect(await running).toMatchObject({ kind: "unavailable" });
    expect(duck.isAlive()).toBe(true);
    expect(await connection.rows("SELECT 42::VARCHAR AS n")).toEqual([{ n: "42" }]);
  });
});

test("memory beyond the limit ends the process with an error that names the setting", async () => {
  await inScope(async (scope) => {
    const duck = await openRemoteDuck(scope, SETTINGS);
    const connection = await duck.connect();
    // Lists do not count towards DuckDB's own limit.
    const error = await thrown(connection.rows("SELECT sum(len(range(1000000 + i))) FROM range(2048) t(i)"));
    expect(error).toMatchObject({ kind: "limit", facts: { setting: "query_memory" } });
    expect(duck.isAlive()).toBe(false);
  });
});

test("a process that dies fails the call that it ran, and no other", async () => {
  const [one, other] = [await takeProcess("conversions"), await takeProcess("conversions")];
  const failing = thrown(one.call("duck.open", { settings: SETTINGS, setup: [] }));
  process.kill(one.pid, "SIGSEGV");
  expect(await failing).toBeInstanceOf(ProcessEnded);
  expect(await failing).toMatchObject({ ending: "crash", how: "SIGSEGV" });
  expect([one.isAlive(), other.isAlive()]).toEqual([false, true]);
  await other.call("duck.open", { settings: SETTINGS, setup: [] });
  await other.giveBack();
  const again = await takeProcess("conversions");
  expect(again.pid).toBe(other.pid);
  again.kill("closed");
});

test("signals to the whole group leave it alone", async () => {
  const worker = await takeProcess("conversions");
  await worker.call("duck.open", { settings: SETTINGS, setup: [] });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.kill(worker.pid, signal);
  await worker.call("duck.close", {});
  expect(worker.isAlive()).toBe(true);
  worker.kill("closed");
});

test("a process that dies while a large message is on its way fails the call, and nothing else", async () => {
  const worker = await takeProcess("conversions");
  process.kill(worker.pid, "SIGSTOP");
  const failing = thrown(worker.call("duck.open", { settings: SETTINGS, setup: ["x".repeat(8_000_000)] }));
  process.kill(worker.pid, "SIGKILL");
  // Its end is noticed before the message is taken for sent.
  const until = performance.now() + 50;
  while (performance.now() < until);
  expect(await failing).toBeInstanceOf(ProcessEnded);
});

test("what is no reply is told from one", () => {
  for (const text of ["", "{", "null", "1", '"x"', "[]", "{}", '{"id":"1"}', '{"id":1,"error":null}']) {
    expect(() => replyIn(Buffer.from(text)), text).toThrow();
  }
  expect(replyIn(Buffer.from('{"id":1,"result":null}'))).toEqual({ id: 1, result: null });
});

test("an event that its reader cannot use fails the call", async () => {
  await inScope(async (scope) => {
    const duck = await openRemoteDuck(scope, SETTINGS);
    const connection = await duck.connect();
    const statement = { sql: "SELECT 1 AS one", explain: false };
    const limits = { params: undefined, maxRows: 1, maxBytes: 1000, signal: new AbortController().signal };
    const failed = thrown(
      connection.stream(statement, limits, undefined, () => {
        throw new Error("no use");
      }),
    );
    expect(await failed).toMatchObject({ message: "no use" });
    expect(await connection.rows("SELECT 'on'::VARCHAR AS goes")).toEqual([{ goes: "on" }]);
  });
});

test("an unknown method is an error, not the end", async () => {
  const worker = await takeProcess("conversions");
  expect(await thrown(worker.call("nothing.at.all", {}))).toMatchObject({ kind: "internal" });
  expect(worker.isAlive()).toBe(true);
  worker.kill("closed");
});

test("a process goes back to whom it was given before, and to nobody else", async () => {
  const caller = (name: string | undefined) => takeProcess("conversions", undefined, name);
  const ann = await caller("ann");
  await ann.call("duck.close", {});
  await ann.giveBack();
  const others = [await caller("bob"), await caller(undefined), await caller("ann 2")];
  expect(others.map(({ pid }) => pid)).not.toContain(ann.pid);
  const again = await caller("ann");
  expect(again.pid).toBe(ann.pid);
  for (const one of [...others, again]) one.kill("closed");
});

test("of processes that wait for callers, the oldest ends when there are too many", { tags: ["slow"] }, async () => {
  const taken = [];
  for (const name of ["a", "b", "c", "d", "e"]) taken.push(await takeProcess("conversions", undefined, name));
  for (const one of taken) {
    await one.call("duck.close", {});
    await one.giveBack();
  }
  expect(taken.map((one) => one.isAlive())).toEqual([false, true, true, true, true]);
  for (const one of taken) one.kill("closed");
});
