import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Format } from "../../../../src/engine/ingest/formats.ts";
import { convertJson, convertNdjson } from "../../../../src/engine/ingest/json/json.ts";
import type { ConvertContext } from "../../../../src/engine/ingest/types.ts";
import { type Converting, openConverting } from "../../../support/converting.ts";

let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
const swapped = (text: string): Buffer => Buffer.from(text, "utf16le").swap16();

async function convert(data: Uint8Array, format: Format = "json", overrides: Partial<ConvertContext> = {}) {
  const compression = data[0] === 0x1f ? "gzip" : "none";
  const source = await bench.source("some.json", data, compression);
  const { values, notes } = await bench.convert(format === "ndjson" ? convertNdjson : convertJson, source, overrides);
  return { values, encoding: notes.encoding, skipped: notes.skipped_rows };
}

const refused = (data: Uint8Array, format: Format = "json", overrides: Partial<ConvertContext> = {}) =>
  convert(data, format, overrides).then(
    ({ values }) => expect.fail(`it was accepted: ${JSON.stringify(values)}`),
    (error: unknown) => error,
  );

describe("Windows-1252", () => {
  test.each([
    ["a value", latin1('[{"name":"Jos\xe9"}]'), { name: "José" }],
    ["a key alone", latin1('[{"pr\xe9nom":"x"}]'), { prénom: "x" }],
    ["characters that latin1 does not have", latin1('[{"a":"\x80 \x93q\x94 \x85"}]'), { a: "€ “q” …" }],
    ["inside nested values", latin1('[{"a":{"\xe9t\xe9":["\xfc"]}}]'), { a: { été: ["ü"] } }],
    ["inside gzip", gzipSync(latin1('[{"name":"Jos\xe9"}]')), { name: "José" }],
    [
      "a letter and a quotation mark that look like UTF-8",
      latin1(`[{"a":"${"caf\xe9 ".repeat(20)}CAF\xc9\x94"}]`),
      { a: `${"café ".repeat(20)}CAFÉ”` },
    ],
  ])("%s", async (_name, data, value) => {
    expect(await convert(data)).toEqual({ values: [value], encoding: "windows-1252", skipped: null });
  });

  test("is found out far behind the start, and then holds for all", async () => {
    const lines = `{"a":"${"x".repeat(1000)}"}\n`.repeat(3000);
    const { values, encoding } = await convert(latin1(`{"a":"first"}\n${lines}{"b":"\xe9"}\n`), "ndjson");
    expect([values[0]?.a, encoding]).toEqual(["first", "windows-1252"]);
  });

  test("lines are not skipped for it", async () => {
    const data = latin1('{"a":"\xe9"}\nnope\n{"a":"x"}\n');
    expect(await convert(data, "ndjson", { onBadRows: "skip" })).toEqual({
      values: [{ a: "é" }, { a: "x" }],
      encoding: "windows-1252",
      skipped: { count: 1, lines: [{ line: 2, reason: expect.any(String) }] },
    });
  });
});

describe("a byte that is not UTF-8 is damage", () => {
  test.each([
    [
      "one among letters in UTF-8",
      Buffer.concat([Buffer.from('[{"a":"é"},\n{"a":"'), latin1('\xe9"}]')]),
      "line 2, column 7",
    ],
    [
      "among typographic quotation marks",
      Buffer.concat([Buffer.from('[{"a":"“x”'), latin1('\xff"}]')]),
      "line 1, column 15",
    ],
    ["what Windows-1252 does not define", latin1('[{"a":"\x81\x8d"}]'), "line 1, column 8"],
    [
      "half a file in each",
      Buffer.concat([Buffer.from('[{"a":"éàü"},\n'), latin1('{"a":"\xe9\xe0\xfc"}]')]),
      "line 2, column 7",
    ],
  ])("%s", async (_name, data, where) => {
    expect(await refused(data)).toMatchObject({
      kind: "invalid",
      message: expect.stringContaining(`${where}: a byte that is not UTF-8`),
      hint: "Repair that byte, or save all of the file as UTF-8.",
    });
  });

  test("which NDJSON can skip", async () => {
    const data = Buffer.concat([Buffer.from('{"a":"é"}\n'), latin1('{"a":"\xe9"}\n'), Buffer.from('{"a":"ü"}\n')]);
    expect(await convert(data, "ndjson", { onBadRows: "skip" })).toEqual({
      values: [{ a: "é" }, { a: "ü" }],
      encoding: null,
      skipped: { count: 1, lines: [{ line: 2, reason: "a byte that is not UTF-8" }] },
    });
  });
});

describe("UTF-16", () => {
  test.each([
    ["little-endian, with a mark", Buffer.from('\u{feff}[{"a":"é😀"}]', "utf16le"), "utf-16le", { a: "é😀" }],
    ["big-endian, with a mark", swapped('\u{feff}[{"a":"é😀"}]'), "utf-16be", { a: "é😀" }],
    [
      "without a mark, in Cyrillic letters",
      Buffer.from('[{"имя":"Анна Каренина"}]', "utf16le"),
      "utf-16le",
      { имя: "Анна Каренина" },
    ],
    ["big-endian, without a mark", swapped('{"имя":"Анна Каренина"}'), "utf-16be", { имя: "Анна Каренина" }],
  ])("%s", async (_name, data, encoding, value) => {
    expect(await convert(data)).toMatchObject({ values: [value], encoding });
  });

  test("characters that lie across the parts a file is read in", async () => {
    const text = "😀é".repeat(700_000);
    const { values } = await convert(Buffer.from(`\u{feff}[{"a":"${text}"},{"a":"x"}]`, "utf16le"));
    expect(values.map(({ a }) => a)).toEqual([text, "x"]);
  });

  test.each([
    ["half a character", Buffer.concat([Buffer.from('\u{feff}[{"a":1}]', "utf16le"), Buffer.from("A")])],
    ["half a pair", Buffer.from('\u{feff}[{"a":"\ud800"}]', "utf16le")],
  ])("with %s is refused", async (_name, data) => {
    expect(await refused(data)).toMatchObject({
      kind: "invalid",
      message: "some.json, line 1: bytes that are not utf-16le, as the file seems to be.",
    });
  });
});
