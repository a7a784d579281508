import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeZstd, readFrom } from "../../../../src/engine/ingest/compression/zstd.ts";
import { ZstdFault } from "../../../../src/engine/ingest/compression/zstd-tables.ts";
import { type Converting, openConverting } from "../../../support/converting.ts";
import { type Ingesting, openIngesting } from "../../../support/ingesting.ts";

let lake: Ingesting;
let bench: Converting;
beforeAll(async () => {
  lake = await openIngesting();
  bench = await openConverting();
});
afterAll(async () => {
  await lake[Symbol.asyncDispose]();
  await bench[Symbol.asyncDispose]();
});

const TEXT = `a,b\n${Array.from({ length: 2000 }, (_, index) => `${index},x${(index * 7919) % 1000}\n`).join("")}`;
const MORE = "9999,y\n";
const gzip = gzipSync(TEXT);

/** What DuckDB compresses, a line of text at a time: Node 20 cannot. */
async function zstd(text: string): Promise<Buffer> {
  const lines = text.replace(/\n$/, "").replaceAll("'", "''");
  const raw = "FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '|', COMPRESSION zstd";
  await bench.make(`COPY (SELECT '${lines}') TO '$folder/text.zst' (${raw})`);
  return readFile(join(bench.folder, "text.zst"));
}

/** A frame of one block that is stored as it is: RFC 8878, section 3.1.1. */
const frame = (content: Buffer | string, type = 0): Buffer => {
  const bytes = Buffer.from(content as string);
  const size = type === 1 ? 5 : bytes.length;
  const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32LE(size, 5);
  header.writeUIntLE((size << 3) | (type << 1) | 1, 9, 3);
  return Buffer.concat([header, bytes]);
};
const SKIPPABLE = Buffer.from("502a4d1803000000616263", "hex");
const all = (bytes: Buffer): string =>
  Array.from(decodeZstd(readFrom(bytes), bytes.length), (part) => Buffer.from(part).toString("latin1")).join("");

async function rows(name: string, content: Uint8Array): Promise<number> {
  await lake.file(name, content);
  return (await lake.ingest({ source: { path: name }, schemaChange: "allow" })).rows;
}

async function refused(name: string, content: Uint8Array): Promise<string> {
  await lake.file(name, content);
  const error = await lake.refused({ source: { path: name }, onBadRows: "skip" });
  expect([error.kind, error.message.startsWith(name)]).toEqual(["invalid", true]);
  return error.message;
}

describe("gzip", () => {
  it.each([
    ["one member", gzip, 2000],
    ["two members", Buffer.concat([gzip, gzipSync(MORE)]), 2001],
    ["an empty member first", Buffer.concat([gzipSync(""), gzip]), 2000],
    ["padding of zeros", Buffer.concat([gzip, Buffer.alloc(512)]), 2000],
  ])("%s", async (_name, content, count) => {
    expect(await rows("data.csv.gz", content)).toBe(count);
    expect(await rows("data.csv", content)).toBe(count);
  });

  const flipped = Buffer.from(gzip);
  flipped.writeUInt8(flipped.readUInt8(gzip.length - 6) ^ 1, gzip.length - 6);
  it.each([
    ["cut in its data", gzip.subarray(0, -300)],
    ["cut in its checksum", gzip.subarray(0, -8)],
    ["cut in its header", gzip.subarray(0, 5)],
    ["cut in a second member's header", Buffer.concat([gzip, gzipSync(MORE).subarray(0, 5)])],
    ["followed by something else", Buffer.concat([gzip, Buffer.from("garbage")])],
    ["another checksum", flipped],
  ])("damage is named: %s", { tags: ["slow"] }, async (_name, content) => {
    expect(await refused("data.csv.gz", content)).toContain("is a damaged gzip file");
  });

  it("a name that ends in .gz on plain text", async () => {
    expect(await rows("data.csv.gz", Buffer.from(TEXT))).toBe(2000);
    expect(await rows("data.json.zst", Buffer.from('[{"a":1}]'))).toBe(1);
  });

  it("of nothing is empty", async () => {
    expect(await refused("data.csv.gz", gzipSync(""))).toContain("it is an empty file, compressed with gzip");
    expect(await refused("data.csv.zst", frame(""))).toContain("it is an empty file, compressed with zstd");
  });

  it("of very much stops at max_temp_bytes", { tags: ["slow"] }, async () => {
    await using small = await openIngesting({ maxTempBytes: 2 ** 20 });
    await small.file("bomb.csv.gz", gzipSync(Buffer.alloc(200_000_000, "1\n")));
    await small.file("bomb.json.gz", gzipSync(Buffer.alloc(200_000_000, '{"a":1}\n')));
    for (const path of ["bomb.csv.gz", "bomb.json.gz"]) {
      expect(await small.refused({ source: { path } })).toMatchObject({
        kind: "limit",
        hint: expect.stringContaining("max_temp_bytes"),
      });
    }
  });
});

describe("zstd", () => {
  it("frames, and frames to skip, follow each other", async () => {
    const packed = await zstd(TEXT);
    const more = await zstd(MORE);
    expect(await rows("data.csv.zst", packed)).toBe(2000);
    expect(await rows("data.csv.zst", Buffer.concat([SKIPPABLE, packed, SKIPPABLE, more]))).toBe(2001);
    expect(await rows("data", packed)).toBe(2000);
  });

  it("keeps every byte: line ends, and encodings other than UTF-8", async () => {
    await lake.file("data.csv.zst", frame('a,b\r\n1,"x\r\ny"\r\n2,z\r\n'));
    await lake.ingest({ source: { path: "data.csv.zst" }, schemaChange: "allow" });
    expect(await lake.rows()).toEqual([
      { a: "1", b: "x\r\ny" },
      { a: "2", b: "z" },
    ]);
    for (const [encoding, content] of [
      ["windows-1252", Buffer.from('[{"a":"José"}]', "latin1")],
      ["utf-16le", Buffer.from('[{"a":"José"}]', "utf16le")],
    ] as const) {
      await lake.file("data.json.zst", frame(content));
      const { notes } = await lake.ingest({ source: { path: "data.json.zst" }, schemaChange: "allow" });
      expect([notes.encoding, await lake.rows()]).toEqual([encoding, [{ a: "José" }]]);
    }
  });

  it("damage is named", async () => {
    const packed = await zstd(TEXT);
    expect(await refused("data.csv.zst", packed.subarray(0, -10))).toContain("it ends in the middle of a frame");
    expect(await refused("data.csv.zst", Buffer.concat([packed, Buffer.from("garbage!")]))).toContain("is not zstd");
    const dictionary = Buffer.from("28b52ffd2107051900006869", "hex");
    expect(await refused("data.csv.zst", dictionary)).toContain("compressed with a dictionary");
    const window = Buffer.from("28b52ffd00900900006869", "hex");
    expect(await refused("data.csv.zst", window)).toContain(
      "a zstd file that cannot be read: it needs a window of 268435456 bytes",
    );
    // The content "ab" with the checksum of something else.
    expect(await refused("data.csv.zst", Buffer.from("28b52ffd240211000061620a0a0a0a", "hex"))).toContain("checksum");
  });

  it("stored and repeated blocks", () => {
    expect([all(frame("hello")), all(frame("x", 1)), all(SKIPPABLE)]).toEqual(["hello", "xxxxx", ""]);
  });

  it("any text comes back", { tags: ["slow"] }, async () => {
    const words = fc.array(fc.oneof(fc.string(), fc.constantFrom("name", "2024-01-01", "0.5", ",")), {
      maxLength: 2000,
    });
    await fc.assert(
      fc.asyncProperty(words, fc.nat(300), async (parts, times) => {
        const text = `x${parts
          .join(" ")
          .replace(/[\0\r\n|]/g, "_")
          .repeat(1 + times)}`.slice(0, 400_000);
        expect(Buffer.from(all(await zstd(text)), "latin1").toString()).toBe(`${text}\n`);
      }),
      { numRuns: 25 },
    );
  });

  it("any damage is a fault, and nothing else", { tags: ["slow"] }, async () => {
    const packed = await zstd(TEXT);
    fc.assert(
      fc.property(
        fc.nat(packed.length - 1),
        fc.integer({ min: 1, max: 255 }),
        fc.nat(packed.length),
        (at, bits, cut) => {
          const damaged = Buffer.from(packed);
          damaged.writeUInt8(damaged.readUInt8(at) ^ bits, at);
          for (const bytes of [damaged, packed.subarray(0, cut)]) {
            try {
              all(bytes);
            } catch (error) {
              expect(error).toBeInstanceOf(ZstdFault);
            }
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
