import { Buffer } from "node:buffer";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ItemTable, openItemTable } from "../../../src/engine/ann/item-table.ts";

async function* pieces(...all: Uint8Array[]): AsyncIterable<Uint8Array> {
  yield* all;
}

async function saved(table: ItemTable): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of table.save()) parts.push(part);
  return Buffer.concat(parts);
}

async function loaded(bytes: Uint8Array, slots: number, pieceBytes = bytes.length): Promise<ItemTable> {
  const table = openItemTable();
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) parts.push(bytes.subarray(at, at + pieceBytes));
  await table.load(pieces(...parts), slots);
  return table;
}

/** What is there, by id. */
function contents(table: ItemTable, ids: Iterable<string>): Map<string, { slot: number; metadata: string | null }> {
  const found = new Map<string, { slot: number; metadata: string | null }>();
  for (const id of ids) {
    const slot = table.slotOf(id);
    if (slot === undefined) continue;
    expect(table.idOf(slot)).toBe(id);
    found.set(id, { slot, metadata: table.metadataOf(slot) });
  }
  return found;
}

const corrupt = (message: RegExp): unknown =>
  expect.objectContaining({ kind: "corrupt", message: expect.stringMatching(message) });

describe("a table of items", () => {
  it("holds what a map holds, and after it was saved and loaded, whatever is done to it", async () => {
    const id = fc.oneof(
      fc.constantFrom("", "a", "b", "c", "é", "日本"),
      fc.string({ unit: "grapheme", maxLength: 40 }),
    );
    const metadata = fc.option(fc.string({ unit: "grapheme", maxLength: 60 }), { nil: null });
    const step = fc.record({ id, metadata, remove: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 300 }),
        fc.integer({ min: 1, max: 50 }),
        async (steps, pieceBytes) => {
          const table = openItemTable();
          const expected = new Map<string, { slot: number; metadata: string | null }>();
          let slots = 0;
          for (const { id, metadata, remove } of steps) {
            const there = table.slotOf(id);
            expect(there).toBe(expected.get(id)?.slot);
            if (remove) {
              if (there !== undefined) table.remove(there);
              expected.delete(id);
            } else {
              expect(table.add(id, metadata)).toBe(slots);
              expected.set(id, { slot: slots++, metadata });
            }
          }
          const ids = new Set(steps.map((one) => one.id));
          expect([table.slots, table.count]).toEqual([slots, expected.size]);
          expect(contents(table, ids)).toEqual(expected);
          const again = await loaded(await saved(table), slots, pieceBytes);
          expect([again.slots, again.count]).toEqual([slots, expected.size]);
          expect(contents(again, ids)).toEqual(expected);
        },
      ),
    );
  });

  it.each([
    ["numbers", (n: number) => `${n}`],
    ["numbers with a common ending", (n: number) => `https://x.example/${n}/index.html?lang=en-US`],
    ["numbers with a common beginning", (n: number) => `customers/2024/row-${String(n).padStart(9, "0")}`],
  ])("finds each of very many ids: %s", async (_, idOf) => {
    const table = openItemTable();
    const count = 100_000;
    for (let n = 0; n < count; n++) table.add(idOf(n), n % 3 === 0 ? null : `{"n":${n}}`);
    for (let n = 0; n < count; n += 2) table.remove(n);
    const again = await loaded(await saved(table), table.slots);
    for (const one of [table, again]) {
      expect(one.count).toBe(count / 2);
      for (let n = 0; n < count; n++) {
        const slot = one.slotOf(idOf(n));
        if (slot !== (n % 2 === 0 ? undefined : n)) expect.fail(`${idOf(n)} is at ${slot}`);
        if (slot !== undefined && one.metadataOf(slot) !== (n % 3 === 0 ? null : `{"n":${n}}`)) expect.fail(idOf(n));
      }
      expect(one.slotOf(idOf(count))).toBeUndefined();
      // Some 100 bytes besides the texts.
      expect(one.bytes).toBeLessThan(count * (Buffer.byteLength(idOf(count)) + 120));
    }
  });

  it("tells of items that have gone what they were", () => {
    const table = openItemTable();
    table.add("one", "{}");
    table.add("one", null);
    expect(table.slotOf("one")).toBe(1);
    table.remove(1);
    table.remove(1);
    expect([table.slotOf("one"), table.count, table.slots]).toEqual([undefined, 0, 2]);
    expect([table.idOf(0), table.metadataOf(0), table.metadataOf(1)]).toEqual(["one", "{}", null]);
  });

  it("takes texts longer than any buffer of it", async () => {
    const table = openItemTable();
    const long = "é".repeat(150_000);
    const ids = [long, `${long}x`, "short", long.slice(1)];
    for (const id of ids) table.add(id, `"${id}"`);
    const again = await loaded(await saved(table), 4);
    for (const one of [table, again]) {
      expect(ids.map((id) => one.slotOf(id))).toEqual([0, 1, 2, 3]);
      expect(ids.every((id, slot) => one.idOf(slot) === id && one.metadataOf(slot) === `"${id}"`)).toBe(true);
      expect(one.slotOf(`${long}y`)).toBeUndefined();
      expect(one.slotOf(`${long}yy`)).toBeUndefined();
    }
  });

  it("saves the moment at which it was asked, and gives way to others at saving and at loading", async () => {
    const table = openItemTable();
    for (let n = 0; n < 200_000; n++) table.add(`worker-${n}`, `{"role":"forklift driver","n":${n}}`);
    const saving = table.save();
    table.remove(3);
    table.add("worker-4", null);
    table.add("later", null);
    let turns = 0;
    const ticking = setInterval(() => turns++, 1);
    const parts: Uint8Array[] = [];
    for await (const part of saving) parts.push(part);
    // As one piece it would be none.
    expect(turns).toBeGreaterThan(5);
    turns = 0;
    const again = await loaded(Buffer.concat(parts), 200_000, 1024 ** 2);
    clearInterval(ticking);
    expect(turns).toBeGreaterThan(5);
    expect(again.count).toBe(200_000);
    expect([again.slotOf("worker-3"), again.slotOf("worker-4"), again.slotOf("later")]).toEqual([3, 4, undefined]);
  });

  it("refuses what is truncated, too long or out of place, without a large buffer", async () => {
    const table = openItemTable();
    for (const id of ["one", "two"]) table.add(id, "{}");
    const whole = await saved(table);
    const record = whole.length / 2;
    for (let length = 1; length < whole.length; length++) {
      if (length === record) continue;
      await expect(loaded(whole.subarray(0, length), 2), `${length} bytes`).rejects.toEqual(corrupt(/truncated/));
    }
    const changed = (offset: number, value: number): Promise<ItemTable> => {
      const other = Buffer.from(whole);
      other.writeUInt32LE(value, offset);
      return loaded(other, 2);
    };
    await expect(changed(4, 2 ** 32 - 2)).rejects.toEqual(corrupt(/truncated/));
    await expect(changed(8, 2 ** 32 - 2)).rejects.toEqual(corrupt(/truncated/));
    await expect(changed(record, 0)).rejects.toEqual(corrupt(/place is wrong/));
    await expect(changed(record, 2)).rejects.toEqual(corrupt(/place is wrong/));
    await expect(loaded(Buffer.concat([whole, Buffer.from([0])]), 2)).rejects.toEqual(corrupt(/truncated/));
    const endless = Buffer.alloc(2 * 1024 ** 2);
    endless.writeUInt32LE(2 ** 32 - 2, 4);
    await expect(loaded(endless, 2)).rejects.toEqual(corrupt(/too long/));
  });
});
