import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Ingesting, openIngesting } from "../../support/ingesting.ts";

let lake: Ingesting;
let names = 0;

beforeAll(async () => {
  lake = await openIngesting();
});
afterAll(() => lake[Symbol.asyncDispose]());

const csv = async (content: Uint8Array, request: Parameters<Ingesting["csv"]>[1] = {}) => {
  const result = await lake.csv(content, { name: `t${names++}`, ...request });
  return { ...result, header: result.columns.map(({ name }) => name), encoding: result.notes.encoding };
};
const refused = async (content: Uint8Array) =>
  lake.refused({ source: { path: await lake.file("bad.csv", content) }, name: `t${names++}` });
const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
const LONG = "a,b\n".repeat(50_000);

describe("windows-1252", () => {
  it.each([
    ["the header", "name;city;Gr\xf6\xdfe\nBo;Rome;1,5\n"],
    ["the header alone", "a;Ann\xe9\nx;0,61\n"],
    ["a header of one column", 'Gr\xf6\xdfe\r\n"66,27"\r\n'],
    ["a header without rows or line end", "name;Ann\xe9"],
    ["one column", "n\na\n\xe9\nb\n"],
    ["a header over two lines", '"Gr\xf6\n\xdfe";n\n1;2\n'],
    ["a title", "Stra\xdfe\n\nid,n,m\n1,2,3\n"],
    ["quoted values", 'n,m\n"a\nb","\xe9, ""\xe8"""\n1,2\n'],
    ["the last line, far from the start", `n,m\n${LONG}z,\xe9\n`],
    ["the last byte", `n,m\n${LONG}z,caf\xe9`],
    ["a column of numbers, far from the start", `n,m\n${"1,2\n".repeat(50_000)}3,\xe9\n`],
  ])("is recognised by %s", async (_, text) => {
    const { header, encoding, values, notes } = await csv(latin1(text));
    expect(encoding).toBe("windows-1252");
    expect(JSON.stringify([header, values, notes])).not.toContain("\ufffd");
    const first = text.includes("Stra") ? ["id", "n", "m"] : text.split(/\r?\n/)[0]?.split(/[;,]/);
    if (!text.startsWith('"')) expect(header).toEqual(first);
    else expect(header).toEqual(["Grö ße", "n"]);
  });

  it("is decoded to the last value", async () => {
    const { notes, rows } = await csv(latin1(`n\n${"1\n".repeat(50_000)}\x80 \x93\xe9\x94\n`));
    expect(rows).toBe(50_001);
    expect(notes.kept_as_text).toMatchObject([{ column: "n", line: 50_002, value: "€ “é”" }]);
    const gz = await csv(gzipSync(latin1("Gr\xf6\xdfe,n\n1,2\n")), { file: "g.csv.gz" });
    expect([gz.header, gz.encoding]).toEqual([["Größe", "n"], "windows-1252"]);
    const bad = await csv(latin1(`n,m\n${LONG}\xe9\n1,\xe8\n`), { onBadRows: "skip" });
    expect([bad.encoding, bad.rows, bad.notes.skipped_rows?.lines[0]?.line]).toEqual(["windows-1252", 50_001, 50_002]);
  });

  it("is not assumed of bytes that it does not have", async () => {
    const { kind, message } = await refused(latin1("n,m\n1,2\n\x81\x8d,b\n"));
    expect([kind, message]).toEqual([
      "invalid",
      "bad.csv, line 3: bytes that are neither UTF-8 nor windows-1252. Nothing was ingested.",
    ]);
  });
});

describe("UTF-8", () => {
  it("may have accents late, and U+FFFD of its own", async () => {
    const late = await csv(Buffer.from(`n,m\n${LONG}z,é\n`));
    expect([late.encoding, late.rows]).toEqual([null, 50_001]);
    expect((await csv(Buffer.from("n😀,m\n😀,\ufffd\n"))).values).toEqual([["😀", "\ufffd"]]);
    // A character that lies across the end of the head.
    const head = `n,m\n${"a,b\n".repeat(16_382)}a,`;
    expect((await csv(Buffer.from(`${head}xé😀\n`))).encoding).toBeNull();
  });

  it("has its byte order mark left out, also before a quoted name", async () => {
    const { header, values, encoding } = await csv(Buffer.from('\ufeff"n\nx","m"\n1,2\n'));
    expect([header, values, encoding]).toEqual([["n x", "m"], [["1", "2"]], null]);
  });

  it.each([
    ["a value", "n,m\né,b\n", "\xe9,2\n", 'line 3, column "n": bytes that are not UTF-8'],
    ["one column", "n\né\n", "\xe9\n", 'line 3, column "n": bytes that are not UTF-8'],
    ["a value after a byte order mark", "\ufeffn,m\n", "\xe9,2\n", 'line 2, column "n": bytes that are not UTF-8'],
    ["a value far from the start", `é,m\n${LONG}`, "\xe9,2\n", 'line 50002, column "é": bytes that are not UTF-8'],
    ["a title", "é\n\n", "Gr\xf6\xdfe,n,m\n1,2,3\n", "line 3: the header has bytes that are not UTF-8"],
  ])("with bad bytes in %s is damaged", async (_, good, bad, expected) => {
    const { kind, message } = await refused(Buffer.concat([Buffer.from(good), latin1(bad)]));
    expect([kind, message]).toEqual(["invalid", `bad.csv, ${expected}. Nothing was ingested.`]);
  });

  it("with bad bytes in its header is damaged, also where bad rows may go", async () => {
    const path = await lake.file("bad.csv", Buffer.concat([latin1("\xe9,m\n"), Buffer.from("é,b\n")]));
    const { message, hint } = await lake.refused({ source: { path }, onBadRows: "skip" });
    expect(message).toBe("bad.csv, line 1: the header has bytes that are not UTF-8. Nothing was ingested.");
    expect(hint).toContain('encoding: "windows-1252"');
  });
});

describe.each(["utf-16le", "utf-16be"] as const)("%s", (encoding) => {
  const utf16 = (text: string): Buffer => {
    const bytes = Buffer.from(text, "utf16le");
    return encoding === "utf-16be" ? bytes.swap16() : bytes;
  };

  it.each([
    ["Latin", "name,n\nJosé,1\n", ["name", "n"]],
    ["Cyrillic", "имя,город\nБоб,Рим\nАнна,Осло\n", ["имя", "город"]],
    ["Chinese", "名字,城市\n上海,北京\n上,一\n李,東京\n", ["名字", "城市"]],
    ["pairs", "n😀,m\n😀,1\n", ["n😀", "m"]],
  ])("reads %s with and without a byte order mark", async (_, text, expected) => {
    for (const mark of ["\ufeff", ""]) {
      const { header, values, encoding: read } = await csv(utf16(mark + text));
      expect([header, read]).toEqual([expected, encoding]);
      expect(values.map((row) => row.join(","))).toEqual(text.trim().split("\n").slice(1));
    }
  });

  it("refuses half a pair and half a character with the line", async () => {
    const half = Buffer.concat([utf16("\ufeffn,m\na,1\n"), Buffer.from("A")]);
    for (const bytes of [utf16("\ufeffn,m\na,1\nb\ud800,2\n"), half]) {
      expect((await refused(bytes)).message).toBe(
        `bad.csv, line 3: bytes that are not ${encoding}, as the file seems to be. Nothing was ingested.`,
      );
    }
  });

  it("joins what chunks cut", async () => {
    const { rows, notes } = await csv(utf16(`\ufeffn\n${"😀\n".repeat(40_000)}`));
    expect([rows, notes.encoding]).toEqual([40_000, encoding]);
  });
});

it("refuses UTF-32 by name", async () => {
  const bytes = Buffer.from([0xff, 0xfe, 0, 0, 0x61, 0, 0, 0, 0x2c, 0, 0, 0]);
  expect((await refused(bytes)).message).toContain("bad.csv is text in UTF-32");
});
