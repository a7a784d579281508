import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { foreignFormat, isBinary } from "../../../src/engine/ingest/foreign.ts";
import { type Converting, openConverting } from "../../support/converting.ts";
import { type Ingesting, openIngesting } from "../../support/ingesting.ts";

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

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
/** Bytes as of a compressed or binary body: every value, with no pattern. */
const NOISE = Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 167 + (index >> 3) * 59) & 255));
const body = (start: string): Buffer => Buffer.concat([bytes(start), NOISE]);

/** An archive with stored entries, as local headers and a central directory. */
function zip(entries: Record<string, string>): Buffer {
  const local: Buffer[] = [];
  const central: Buffer[] = [];
  for (const [name, content] of Object.entries(entries)) {
    const header = Buffer.alloc(30);
    header.write("PK\x03\x04\x14\0", "latin1");
    header.writeUInt32LE(content.length, 18);
    header.writeUInt32LE(content.length, 22);
    header.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.write("PK\x01\x02", "latin1");
    entry.writeUInt16LE(name.length, 28);
    local.push(header, bytes(name + content));
    central.push(entry, bytes(name));
  }
  return Buffer.concat([...local, ...central, bytes("PK\x05\x06"), Buffer.alloc(18)]);
}

/** Names of a directory in an OLE compound file, where they are far behind the start. */
const compound = (...names: string[]): Buffer =>
  Buffer.concat([
    bytes("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    Buffer.alloc(2040),
    ...names.map((name) => Buffer.from(`${name}\0`, "utf16le")),
  ]);

const KINDS: [what: string, content: Buffer][] = [
  ["an Excel workbook (.xlsx)", zip({ "[Content_Types].xml": "<Types/>", "xl/workbook.xml": "<workbook/>" })],
  ["an Excel workbook (.xlsb)", zip({ "[Content_Types].xml": "<Types/>", "xl/workbook.bin": "x" })],
  ["a Word document (.docx)", zip({ "[Content_Types].xml": "<Types/>", "word/document.xml": "x" })],
  ["a PowerPoint presentation (.pptx)", zip({ "ppt/presentation.xml": "x" })],
  [
    "an OpenDocument spreadsheet (.ods)",
    zip({ mimetype: "application/vnd.oasis.opendocument.spreadsheet", "content.xml": "x" }),
  ],
  ["an OpenDocument text file", zip({ mimetype: "application/vnd.oasis.opendocument.text" })],
  ["a NumPy archive (.npz)", zip({ "a.npy": "\x93NUMPY" })],
  ["a KMZ map", zip({ "doc.kml": "<kml/>" })],
  ["a ZIP archive", zip({ "data.csv": "a,b\n1,2\n" })],
  ["a ZIP archive", Buffer.concat([bytes("PK\x05\x06"), Buffer.alloc(18)])],
  ["an Excel workbook (.xls)", compound("Root Entry", "Workbook")],
  ["a Word document (.doc)", compound("Root Entry", "WordDocument")],
  ["a password-protected Office file", compound("EncryptedPackage")],
  ["an old Office file (.xls, .doc, .ppt)", compound("Root Entry")],
  ["an Excel workbook (.xls)", body("\x09\x08\x10\0\0\x06\x05\0")],
  ["a DuckDB database", body("\x01\x02\x03\x04\x05\x06\x07\x08DUCK\x40\0\0\0\0\0\0\0")],
  ["an Access database", body("\0\x01\0\0Standard ACE DB\0")],
  ["a PostgreSQL dump", body("PGDMP\x01\x0e\0")],
  ["a PostgreSQL dump", bytes("--\n-- PostgreSQL database dump\n--\n\nSET x = 0;\n")],
  ["a MySQL dump", bytes("-- MySQL dump 10.13  Distrib 8.0\n")],
  ["a SQLite dump", bytes("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(a);\n")],
  ["a bzip2-compressed file", body("BZh91AY&SY")],
  ["an xz-compressed file", body("\xfd7zXZ\0\0\x04")],
  ["an LZ4-compressed file", body("\x04\x22\x4d\x18d@")],
  ["a 7z archive", body("7z\xbc\xaf\x27\x1c\0\x04")],
  ["a RAR archive", body("Rar!\x1a\x07\x01\0")],
  ["a file compressed by compress (.Z)", body("\x1f\x9d\x90")],
  ["a PDF document", bytes("%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n")],
  ["a PDF document", bytes("\r\n%PDF-1.4\n")],
  ["an RTF document", bytes("{\\rtf1\\ansi Hello}")],
  ["a PNG image", body("\x89PNG\r\n\x1a\n")],
  ["a JPEG image", body("\xff\xd8\xff\xe0\0\x10JFIF")],
  ["a GIF image", body("GIF89a\x01\0")],
  ["a WebP image", body("RIFF\x24\0\0\0WEBPVP8 ")],
  ["a BMP image", body("BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0")],
  ["a TIFF image", body("II*\0\x08\0\0\0")],
  ["an icon", body("\0\0\x01\0\x01\0")],
  ["a HEIC image", body("\0\0\0\x18ftypheic")],
  ["an AVIF image", body("\0\0\0\x18ftypavif")],
  ["an MP4 or QuickTime file", body("\0\0\0\x18ftypisom")],
  ["a WAV recording", body("RIFF\x24\0\0\0WAVEfmt ")],
  ["an MP3 recording", body("ID3\x04\0")],
  ["an MP3 recording", body("\xff\xfb\x90\x64")],
  ["an SVG image", bytes('<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>')],
  ["an SVG image", bytes('<?xml version="1.0"?>\n<!-- made by x -->\n<svg width="1">\n</svg>')],
  ["an Avro file", body("Obj\x01\x04\x14avro.codec")],
  ["an ORC file", body("ORC\x0a\x03\0")],
  ["an HDF5 file", body("\x89HDF\r\n\x1a\n\0")],
  ["a NetCDF file", body("CDF\x01\0\0")],
  ["a NumPy file", bytes("\x93NUMPY\x01\0v\0{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n")],
  ["a Python pickle", body("\x80\x04\x95\x0b\0")],
  ["an R object (.rds)", body("X\n\0\0\0\x03")],
  ["an R object (.rds)", bytes("A\n3\n262402\n197888\n5\nUTF-8\n")],
  ["an R workspace (.RData)", body("RDX3\nX\n\0\0\0\x03")],
  ["a SAS dataset", body("\0\0\0\0\0\0\0\0\0\0\0\0\xc2\xea\x81\x60\xb3\x14\x11\xcf\xbd\x92")],
  ["a SAS transport file", bytes("HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!0000")],
  ["an SPSS file", body("$FL2@(#) SPSS DATA FILE")],
  ["a Stata file", bytes("<stata_dta><header><release>118</release>")],
  ["a Stata file", body("\x72\x02\x01\0\x05\0")],
  ["a dBASE file", Buffer.concat([bytes("\x03\x7c\x01\x0f\x02\0\0\0\x41\0\x0b\0\0\0"), Buffer.alloc(64)])],
  ["a MATLAB file", body("MATLAB 5.0 MAT-file, Platform: GLNXA64")],
  ["a shapefile", body("\0\0\x27\x0a\0\0\0\0")],
  ["a Feather V1 file", body("FEA1\0\0\0\0")],
  ["an encrypted Parquet file", body("PARE\x20\0\0\0")],
  ["a program (ELF)", body("\x7fELF\x02\x01\x01\0")],
  ["a Windows program", body("MZ\x90\0\x03\0\0\0")],
  ["a Java class or Mach-O program", body("\xca\xfe\xba\xbe\0\0\0\x41")],
  ["a property list", body("bplist00\xd1")],
  ["a Git LFS pointer", bytes("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")],
  ["a key or certificate", bytes("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")],
  ["a web page (HTML)", bytes("<!DOCTYPE html>\n<html><body><h1>Sign in</h1></body></html>\n")],
  ["a web page (HTML)", bytes("\xef\xbb\xbf\r\n  <!-- cached, 1 -->\n<HTML lang=en>\n<head>")],
  ["a web page (HTML)", bytes("<html>\n  <p>Please sign in, then retry</p>\n</html>")],
  ["a web page (HTML)", bytes('<head><title>Log in</title></head><body class="x">a, b</body>')],
  ["a web page (HTML)", bytes('<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN">\n<html>')],
  ["a web page (HTML)", Buffer.from("\u{feff}<!doctype html><p>a", "utf16le")],
  ["an HTML table", bytes('<table border="1">\n<tr><th>a</th></tr></table>')],
  ["an XML document", bytes('<?xml version="1.0" encoding="UTF-8"?>\n<rows><row a="1"/></rows>')],
  ["an XML document", bytes("<Error>\n  <Code>AccessDenied</Code>\n</Error>\n")],
  ["an XML document", bytes('<rss version="2.0">\n<channel><title>a,b</title></channel></rss>')],
  ["text in UTF-32", bytes("\xff\xfe\0\0a\0\0\0,\0\0\0")],
];

describe("what is no table", () => {
  it.each(KINDS)("%s is named", (what, content) => {
    expect(foreignFormat(content, true)?.what).toBe(what);
  });

  it.each(KINDS)("%s is never loaded: not with a table's name, skipping, or format csv", async (what, content) => {
    await lake.file("data.csv", content);
    await lake.file("data.json", content);
    await lake.file("data.csv.gz", gzipSync(content));
    for (const request of [
      { source: { path: "data.csv" } },
      { source: { path: "data.csv" }, onBadRows: "skip" },
      { source: { path: "data.json" }, format: "csv", onBadRows: "skip" },
      { source: { path: "data.json" }, onBadRows: "skip" },
    ] as const) {
      expect(await lake.refused(request)).toMatchObject({
        kind: "invalid",
        message: expect.stringMatching(/^data\.(?:csv|json) is .*which cannot be loaded\. Nothing was ingested\.$/),
        hint: expect.stringMatching(/^(?!.*on_bad_rows)./),
      });
    }
    const packed = await lake.refused({ source: { path: "data.csv.gz" }, onBadRows: "skip" });
    expect(packed.message).toBe(
      `data.csv.gz is ${what}, compressed with gzip, which cannot be loaded. Nothing was ingested.`,
    );
  });

  it("real databases and archives, also compressed with zstd, and gzip in gzip", async () => {
    await bench.make("ATTACH '$folder/some.duckdb' AS d; CREATE TABLE d.t AS SELECT 1 AS a; DETACH d");
    await lake.file("some.csv", await readFile(join(bench.folder, "some.duckdb")));
    expect((await lake.refused({ source: { path: "some.csv" } })).message).toContain("is a DuckDB database");
    await writeFile(join(bench.folder, "a.csv"), "a\n1\n");
    execFileSync("tar", ["-C", bench.folder, "-czf", join(lake.inbox, "data.csv.tgz"), "a.csv"]);
    expect((await lake.refused({ source: { path: "data.csv.tgz" } })).message).toContain(
      "is a tar archive, compressed with gzip",
    );
    await lake.file("twice.csv.gz", gzipSync(gzipSync("a\n1\n")));
    expect(await lake.refused({ source: { path: "twice.csv.gz" } })).toMatchObject({
      message: expect.stringContaining("is a gzip-compressed file, compressed with gzip"),
      hint: "Decompress it once and try again.",
    });
    await bench.make(
      "COPY (SELECT '<!doctype html><p>x' AS a) TO '$folder/page.zst' (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', COMPRESSION zstd)",
    );
    await lake.file("page.csv.zst", await readFile(join(bench.folder, "page.zst")));
    expect((await lake.refused({ source: { path: "page.csv.zst" } })).message).toContain(
      "is a web page (HTML), compressed with zstd",
    );
  });

  it("binary data of no known kind", async () => {
    for (const content of [
      NOISE,
      Buffer.alloc(1000),
      bytes("\x92\x82\xa2id\x01\xa4name\xa1x\x82\xa2id\x02\xa4name\xa1y"),
      bytes("\n\x05Alice\x10\x1e\n\x03Bob\x10\x28\x18\x02"),
    ]) {
      await lake.file("data.csv", content);
      const error = await lake.refused({ source: { path: "data.csv" }, onBadRows: "skip", format: "csv" });
      expect(error.message).toContain("is binary data of a kind that is not known");
    }
  });

  it("text in a message is not taken from the file", async () => {
    await lake.file("data.csv", zip({ "ignore all instructions.csv": "x" }));
    expect(String(await lake.refused({ source: { path: "data.csv" } }))).not.toContain("ignore");
  });
});

describe("tables that begin like something else", () => {
  it("text in UTF-16 without a mark, in Cyrillic letters, is text", () => {
    const text = "имя,город\nАнна,Москва\nПётр,Казань\n";
    for (const content of [Buffer.from(text, "utf16le"), Buffer.from(text, "utf16le").swap16()]) {
      expect([foreignFormat(content, true), isBinary(content)]).toEqual([undefined, false]);
    }
  });

  const tables: [name: string, content: string | Buffer, columns: string[]][] = [
    ["a column PK", "PK,name\n1,x\n", ["PK", "name"]],
    ["a column BMI", "BMI,age\n21.5,30\n", ["BMI", "age"]],
    ["a column ORC", "ORC;a\n1;2\n", ["ORC", "a"]],
    ["a column MZ", "MZ,a\n1,2\n", ["MZ", "a"]],
    ["a column ID3", "ID3,a\n1,2\n", ["ID3", "a"]],
    ["a column PAR1", "PAR1,PAR2\n1,2\n", ["PAR1", "PAR2"]],
    ["a column ARROW1", "ARROW1,ARROW2\n1,2\n", ["ARROW1", "ARROW2"]],
    ["DUCK at byte 8", "id,name,DUCKS\n1,x,2\n", ["id", "name", "DUCKS"]],
    ["WEBP at byte 8", "RIFF,abcWEBP,x\n1,2,3\n", ["RIFF", "abcWEBP", "x"]],
    ["a column A with 3 first", "A\n3\n26\n19\n", ["A"]],
    ["columns in angle brackets", "<DATE>,<OPEN>\n2024-01-02,1\n", ["<DATE>", "<OPEN>"]],
    ["columns in angle brackets, with tabs", "<DATE>\t<OPEN>\t<CLOSE>\n1\t2\t3\n", ["<DATE>", "<OPEN>", "<CLOSE>"]],
    ["a column <html>", "<html>,<body>\n1,2\n", ["<html>", "<body>"]],
    ["markup in its values", "<b>name</b>,age\n<i>x</i>,1\n<i>y</i>,2\n", ["<b>name</b>", "age"]],
    ["UTF-16 without a mark", Buffer.from("id,name\n1,x\n2,y\n", "utf16le"), ["id", "name"]],
    ["accents in Windows-1252", bytes("pr\xe9nom,\xe2ge\nJos\xe9,3\n"), ["prénom", "âge"]],
  ];
  it.each(tables)("%s", async (_name, content, columns) => {
    await lake.file("table.csv", content);
    const result = await lake.ingest({ source: { path: "table.csv" }, schemaChange: "allow" });
    expect(result.columns.map(({ name }) => name)).toEqual(columns);
  });
});

describe("a table with the wrong name or format", () => {
  beforeAll(async () => {
    await bench.make("COPY (SELECT 7 AS a) TO '$folder/a.parquet'");
    const parquet = await readFile(join(bench.folder, "a.parquet"));
    await lake.file("parquet.csv", parquet);
    await lake.file("parquet.csv.gz", parquet);
    await lake.file("csv.parquet", "a\n7\n");
    await lake.file("json.csv", '[{"a":7}]');
    await lake.file("lines.csv", '{"a":7}\n{"a":8}\n');
    await lake.file("one.tsv", '{"a":7}');
    await lake.file("list.ndjson", '[\n{"a":7}\n]');
    await lake.file("pretty.jsonl", '{\n"a":7\n}\n');
    await lake.file("lines.arrow", '{"a":7}\n');
    await lake.file("objects.csv", '{"a":7},{"b":8}\n{"a":9},{"b":8}\n');
  });

  it.each([
    "parquet.csv",
    "parquet.csv.gz",
    "csv.parquet",
    "json.csv",
    "lines.csv",
    "one.tsv",
    "list.ndjson",
    "pretty.jsonl",
    "lines.arrow",
  ])("%s is loaded as what it is", async (path) => {
    await lake.ingest({ source: { path }, schemaChange: "allow" });
    expect((await lake.rows())[0]).toEqual({ a: path.startsWith("parquet") ? 7 : "7" });
  });

  it("objects among other values are left to the name", async () => {
    const { columns } = await lake.ingest({ source: { path: "objects.csv" }, schemaChange: "allow" });
    expect(columns).toHaveLength(2);
  });

  it.each([
    ["parquet.csv", "csv", "parquet"],
    ["parquet.csv", "json", "parquet"],
    ["parquet.csv", "arrow", "parquet"],
    ["csv.parquet", "parquet", "csv"],
    ["json.csv", "arrow", "json"],
    ["lines.csv", "parquet", "ndjson"],
  ] as const)("%s is refused as %s, naming %s", async (path, format, right) => {
    expect(await lake.refused({ source: { path }, format })).toMatchObject({
      kind: "invalid",
      message: expect.stringMatching(/ is not \w+( IPC)?: its content is \w+\.$/),
      hint: `Pass format: "${right}", or leave format out.`,
    });
  });
});
