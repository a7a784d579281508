import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { checkSnapshot, type FilePart, readSnapshot, writeSnapshot } from "../../../src/engine/ann/snapshot.ts";

const fields = z.object({ name: z.string(), version: z.number() });
const given = { name: "résumés", version: 3 };
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "lhv1-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function* bytes(...pieces: Uint8Array[]): AsyncIterable<Uint8Array> {
  yield* pieces;
}

async function small(): Promise<{ path: string; frame: Buffer }> {
  const path = join(folder, "small.lhv1");
  await writeSnapshot(path, given, [bytes(Buffer.from("abc"), Buffer.from("def")), bytes()]);
  return { path, frame: await readFile(path) };
}

/** All of it, by way of the fields as a reader of graphs does, and of the sections. */
const read = async (path: string): Promise<unknown> => {
  const found = await readSnapshot(path, fields);
  await checkSnapshot(path);
  return found;
};
const sectionBytes = async ({ path, start, bytes }: FilePart): Promise<Buffer> =>
  (await readFile(path)).subarray(start, start + bytes);
const corrupt = (message: RegExp): unknown =>
  expect.objectContaining({ kind: "corrupt", message: expect.stringMatching(message) });

describe("a snapshot", () => {
  it("gives back its fields and sections", async () => {
    const file = join(folder, "graph");
    const long = Buffer.alloc(2.5 * 1024 ** 2, "0123456789");
    await writeFile(file, long);
    const path = join(folder, "one.lhv1");
    const { bytes: written } = await writeSnapshot(path, given, [
      bytes(Buffer.from("a"), Buffer.from("bc")),
      { path: file },
      bytes(),
    ]);
    expect((await readFile(path)).length).toBe(written);
    const found = await readSnapshot(path, fields);
    expect(found.fields).toEqual(given);
    const sections = await Promise.all(found.sections.map(sectionBytes));
    expect(sections.map((section) => section.length)).toEqual([3, long.length, 0]);
    expect(sections[0]?.toString()).toBe("abc");
    expect(sections[1]?.equals(long)).toBe(true);
  });

  it("is framed as documented", async () => {
    const { frame } = await small();
    expect(frame.toString("latin1", 0, 4)).toBe("LHV1");
    const length = frame.readUInt32BE(4);
    const envelope = JSON.parse(frame.toString("utf8", 8, 8 + length));
    expect(envelope.body.fields).toEqual(given);
    expect(envelope.body.sections.map((section: { bytes: number }) => section.bytes)).toEqual([6, 0]);
    expect(frame.toString("latin1", 8 + length)).toBe("abcdef");
  });

  it("is refused when any one byte is another", { tags: ["slow"] }, async () => {
    const { path, frame } = await small();
    for (let at = 0; at < frame.length; at += 1) {
      for (const flip of [1, 0x80, 0xff]) {
        const other = Buffer.from(frame);
        other[at] = (other[at] ?? 0) ^ flip;
        await writeFile(path, other);
        await expect(read(path), `byte ${at} ^ ${flip}`).rejects.toMatchObject({ name: "LakeError", kind: "corrupt" });
      }
    }
  });

  it("is refused at every shorter length, and with a byte more", async () => {
    const { path, frame } = await small();
    for (let length = frame.length - 1; length >= 0; length -= 1) {
      await truncate(path, length);
      await expect(read(path), `${length} bytes`).rejects.toEqual(corrupt(/truncated/));
    }
    await writeFile(path, Buffer.concat([frame, Buffer.from([0])]));
    await expect(read(path)).rejects.toEqual(corrupt(/1 bytes follow its end/));
  });

  it("names what is wrong", async () => {
    const { path, frame } = await small();
    const changed = async (change: (frame: Buffer) => void): Promise<unknown> => {
      const other = Buffer.from(frame);
      change(other);
      await writeFile(path, other);
      return read(path);
    };
    await expect(changed((other) => other.write("LHV2"))).rejects.toEqual(corrupt(/does not begin with LHV1/));
    await expect(changed((other) => other.write("B", other.length - 1))).rejects.toEqual(
      corrupt(/checksum of a section/),
    );
    await expect(changed((other) => other.write("x", 40))).rejects.toEqual(corrupt(/envelope's checksum/));
    await expect(changed((other) => other.writeUInt32BE(2 ** 32 - 1, 4))).rejects.toEqual(corrupt(/4294967295 bytes/));
    await expect(read(join(folder, "none"))).rejects.toEqual(corrupt(/ENOENT/));
  });

  it("is refused when its fields are others", async () => {
    const { path } = await small();
    const other = z.object({ name: z.string(), dimension: z.number() });
    await expect(readSnapshot(path, other)).rejects.toEqual(corrupt(/dimension/));
  });
});
