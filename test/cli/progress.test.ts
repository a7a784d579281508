import stringWidth from "string-width";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openProgress } from "../../src/cli/progress.ts";
import { openTicker } from "../../src/cli/ticker.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => void vi.useRealTimers());

const later = (ms: number) => vi.advanceTimersByTime(ms);
const REST_OF_LINE = "\u001b[K";
const CLEARED = `\r${REST_OF_LINE}`;

function output(columns: number, isTTY = true) {
  const written: string[] = [];
  const err = { isTTY, columns, write: async (text: string) => void written.push(text) };
  return { written, err, last: () => written.at(-1) };
}

/** What is seen of a line that is drawn over. */
function lineOf(written = ""): string {
  const [first, rest] = [written.slice(0, 1), written.slice(-REST_OF_LINE.length)];
  expect([first, rest]).toEqual(["\r", REST_OF_LINE]);
  return written.slice(1, -REST_OF_LINE.length);
}

test("a bar grows from empty to full and is taken away", async () => {
  const { err, written, last } = output(80);
  const progress = await openProgress("people.csv", { err });
  progress.update(0, "reading");
  expect(lineOf(last())).toBe(`${"░".repeat(24)}   0 %  people.csv: reading`);
  later(100);
  progress.update(0.5, "converting");
  expect(lineOf(last())).toBe(`${"█".repeat(12)}${"░".repeat(12)}  50 %  people.csv: converting`);
  later(100);
  progress.update(0.999, "writing");
  expect(lineOf(last())).toBe(`${"█".repeat(24)}  99 %  people.csv: writing`);
  later(100);
  progress.update(1, "done");
  expect(lineOf(last())).toBe(`${"█".repeat(24)} 100 %  people.csv: done`);
  await progress.end();
  expect(written).toHaveLength(5);
  expect(last()).toBe(CLEARED);
});

test("a bar is drawn ten times a second at most", async () => {
  const { err, written } = output(80);
  const progress = await openProgress("a", { err });
  for (let ms = 0; ms < 1_000; ms += 10) {
    progress.update(ms / 1_000, "reading");
    later(10);
  }
  expect(written).toHaveLength(10);
});

test("what was not drawn is not taken away", async () => {
  const { err, written } = output(80);
  await (await openProgress("a", { err })).end();
  await (await openTicker({ err })).end();
  expect(written).toEqual([]);
});

test("where nothing can be drawn over, a bar is a line every ten seconds, and nothing for short work", async () => {
  const { err, written } = output(80, false);
  const progress = await openProgress("people.csv", { err });
  for (let s = 0; s < 25; s++) {
    progress.update(s / 25, "reading");
    later(1_000);
  }
  await progress.end();
  expect(written).toEqual(["people.csv: reading, 40 %\n", "people.csv: reading, 80 %\n"]);
});

test("a ticker draws its line over, ten times a second at most, and takes it away", async () => {
  const { err, written } = output(80);
  const ticker = await openTicker({ err });
  ticker.update("1 dataset looked at");
  ticker.update("2 datasets looked at");
  later(100);
  ticker.update("3 datasets looked at");
  await ticker.end();
  expect(written.slice(0, -1).map(lineOf)).toEqual(["1 dataset looked at", "3 datasets looked at"]);
  expect(written.at(-1)).toBe(CLEARED);
});

test("a ticker says nothing where nothing can be drawn over", async () => {
  const { err, written } = output(80, false);
  const ticker = await openTicker({ err });
  for (let s = 0; s < 60; s++) {
    ticker.update("looking");
    later(1_000);
  }
  await ticker.end();
  expect(written).toEqual([]);
});

test.each(["people.csv", "a".repeat(300), "数据".repeat(50), "👩‍👩‍👧‍👦".repeat(40)])(
  "no line is as wide as its terminal, nor moves the cursor: %s",
  async (name) => {
    for (let columns = 2; columns <= 130; columns++) {
      const { err, written } = output(columns);
      (await openProgress(`${name}\u001b[2J\n`, { err })).update(0.7, name);
      (await openTicker({ err })).update(name);
      expect(written).toHaveLength(2);
      for (const line of written.map(lineOf)) {
        expect(stringWidth(line), `${columns}: ${line}`).toBeLessThan(columns);
        expect(line).not.toMatch(/\p{Cc}/u);
      }
    }
  },
);
