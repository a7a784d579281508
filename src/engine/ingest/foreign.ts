import { isUtf8 } from "node:buffer";
import { utf16Of } from "./encoding.ts";
import { FORMAT_TITLES } from "./formats.ts";

/** A kind of file that cannot be loaded. */
export interface Foreign {
  /** As a message names it: "a PDF document". */
  what: string;
  hint: string;
}

const SHEET = "Save each sheet as CSV and ingest that.";
const ARCHIVE = "Unpack it and ingest the files inside, one by one.";
const PACKED = "Decompress it, or compress it with gzip or zstd instead.";
const TWICE = "Decompress it once and try again.";
const ENCRYPTED = "Decrypt it and ingest the result.";
const DATA = "Convert it to Parquet or CSV with the program that wrote it, or with Python (pandas, pyarrow).";
const DUMP = "Load it into its database and export the table as CSV or Parquet.";
const NO_TABLE = `Only tables can be ingested: ${FORMAT_TITLES}.`;
const PAGE = "Download the data itself: this may be a login or error page that came in its place.";
const POINTER = "Fetch the file that it stands for (git lfs pull, git annex get) and ingest that.";
const SQLITE = "Export the table: sqlite3 FILE -csv -header 'SELECT * FROM t' > t.csv";
const DUCKDB = "Export the table from DuckDB: COPY t TO 't.parquet'";

/** First bytes as Latin-1, where `□` is any byte. Longer ones come before shorter ones that they begin with. */
const MAGIC: readonly [what: string, hint: string, bytes: string][] = [
  ["a gzip-compressed file", TWICE, "\x1f\x8b\x08"],
  ["a zstd-compressed file", TWICE, "\x28\xb5\x2f\xfd"],
  ["a bzip2-compressed file", PACKED, "BZh□\x17rE8P\x90"],
  ["a DuckDB database", DUCKDB, "□□□□□□□□DUCK□\0\0\0\0\0\0\0"],
  ["a SQLite database", SQLITE, "SQLite format 3\0"],
  ["an Access database", DUMP, "\0\x01\0\0Standard ACE DB"],
  ["an Access database", DUMP, "\0\x01\0\0Standard Jet DB"],
  ["a PostgreSQL dump", DUMP, "PGDMP\x01"],
  ["a PostgreSQL dump", DUMP, "--\n-- PostgreSQL database dump"],
  ["a MySQL dump", DUMP, "-- MySQL dump "],
  ["a MariaDB dump", DUMP, "-- MariaDB dump "],
  ["a MariaDB dump", DUMP, "/*M!999999"],
  ["a SQLite dump", DUMP, "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;"],
  ["a Redis dump", DUMP, "REDIS00"],
  ["a 7z archive", ARCHIVE, "7z\xbc\xaf\x27\x1c"],
  ["a RAR archive", ARCHIVE, "Rar!\x1a\x07"],
  ["a cabinet archive", ARCHIVE, "MSCF\0\0\0\0"],
  ["an ar archive", ARCHIVE, "!<arch>\n"],
  ["an RPM package", ARCHIVE, "\xed\xab\xee\xdb"],
  ["an xz-compressed file", PACKED, "\xfd7zXZ\0"],
  ["an LZ4-compressed file", PACKED, "\x04\x22\x4d\x18"],
  ["an LZ4-compressed file", PACKED, "\x02\x21\x4c\x18"],
  ["a Snappy-compressed file", PACKED, "\xff\x06\0\0sNaPpY"],
  ["an lzip-compressed file", PACKED, "LZIP\x01"],
  ["an LZMA-compressed file", PACKED, "\x5d\0\0\x80\0"],
  ["an LZMA-compressed file", PACKED, "\x5d\0\0\0\x01"],
  ["a file compressed by compress (.Z)", PACKED, "\x1f\x9d"],
  ["an Avro file", DATA, "Obj\x01"],
  ["a Feather V1 file", "Write it as Feather V2 (Arrow IPC) or as Parquet.", "FEA1\0\0\0\0"],
  ["an HDF5 file", DATA, "\x89HDF\r\n\x1a\n"],
  ["a NetCDF file", DATA, "CDF\x01"],
  ["a NetCDF file", DATA, "CDF\x02"],
  ["a NetCDF file", DATA, "CDF\x05"],
  ["a FITS file", DATA, "SIMPLE  =  "],
  ["a MATLAB file", DATA, "MATLAB 5.0 MAT-file"],
  ["a NumPy file", DATA, "\x93NUMPY"],
  ["an R workspace (.RData)", DATA, "RDX2\n"],
  ["an R workspace (.RData)", DATA, "RDX3\n"],
  ["an R workspace (.RData)", DATA, "RDA2\n"],
  ["an R workspace (.RData)", DATA, "RDA3\n"],
  ["an R object (.rds)", DATA, "X\n\0\0\0"],
  ["an SPSS file", DATA, "$FL2@(#)"],
  ["an SPSS file", DATA, "$FL3@(#)"],
  ["a Stata file", DATA, "<stata_dta>"],
  ["a SAS dataset", DATA, "\0\0\0\0\0\0\0\0\0\0\0\0\xc2\xea\x81\x60\xb3\x14\x11\xcf"],
  ["a SAS transport file", DATA, "HEADER RECORD*******"],
  ["a Hadoop sequence file", DATA, "SEQ\x06"],
  ["an RCFile", DATA, "RCF\x01"],
  ["a shapefile", DATA, "\0\0\x27\x0a\0\0\0\0"],
  ["a FlatGeobuf file", DATA, "fgb\x03"],
  ["a Stata file", DATA, "□\x01\x01\0"],
  ["a Stata file", DATA, "□\x02\x01\0"],
  ["a property list", DATA, "bplist0"],
  ["a packet capture", DATA, "\xd4\xc3\xb2\xa1"],
  ["a packet capture", DATA, "\xa1\xb2\xc3\xd4"],
  ["a packet capture", DATA, "\x0a\x0d\x0d\x0a\x1c\0\0\0"],
  ["a PostScript document", NO_TABLE, "%!PS-Adobe"],
  ["an RTF document", NO_TABLE, "{\\rtf"],
  ["a PNG image", NO_TABLE, "\x89PNG\r\n\x1a\n"],
  ["a JPEG image", NO_TABLE, "\xff\xd8\xff"],
  ["a GIF image", NO_TABLE, "GIF87a"],
  ["a GIF image", NO_TABLE, "GIF89a"],
  ["a TIFF image", NO_TABLE, "II*\0"],
  ["a TIFF image", NO_TABLE, "MM\0*"],
  ["an icon", NO_TABLE, "\0\0\x01\0"],
  ["a Photoshop image", NO_TABLE, "8BPS\0\x01"],
  ["a JPEG 2000 image", NO_TABLE, "\0\0\0\x0cjP  \r\n"],
  ["a JPEG XL image", NO_TABLE, "\0\0\0\x0cJXL \r\n"],
  ["an MP3 recording", NO_TABLE, "ID3\x02"],
  ["an MP3 recording", NO_TABLE, "ID3\x03"],
  ["an MP3 recording", NO_TABLE, "ID3\x04"],
  ["a BMP image", NO_TABLE, "BM□□□□\0\0\0\0□□\0\0"],
  ["a HEIC image", NO_TABLE, "\0\0□□ftyphei"],
  ["a HEIC image", NO_TABLE, "\0\0□□ftyphev"],
  ["a HEIC image", NO_TABLE, "\0\0□□ftypmif"],
  ["a HEIC image", NO_TABLE, "\0\0□□ftypmsf"],
  ["an AVIF image", NO_TABLE, "\0\0□□ftypavi"],
  ["an MP4 or QuickTime file", NO_TABLE, "\0\0□□ftyp"],
  ["a font", NO_TABLE, "wOFF\0\x01\0\0"],
  ["a font", NO_TABLE, "wOFFOTTO"],
  ["a font", NO_TABLE, "wOF2\0\x01\0\0"],
  ["a font", NO_TABLE, "wOF2OTTO"],
  ["an Excel workbook (.xls)", SHEET, "\x09\0\x04\0"],
  ["an Excel workbook (.xls)", SHEET, "\x09\x02\x06\0"],
  ["an Excel workbook (.xls)", SHEET, "\x09\x04\x06\0"],
  ["an Excel workbook (.xls)", SHEET, "\x09\x08□\0\0"],
  ["a FLAC recording", NO_TABLE, "fLaC\0"],
  ["an Ogg file", NO_TABLE, "OggS\0"],
  ["a Matroska or WebM video", NO_TABLE, "\x1a\x45\xdf\xa3"],
  ["a Flash video", NO_TABLE, "FLV\x01"],
  ["a font", NO_TABLE, "OTTO\0"],
  ["a font", NO_TABLE, "\0\x01\0\0\0"],
  ["a program (ELF)", NO_TABLE, "\x7fELF"],
  ["a program (Mach-O)", NO_TABLE, "\xcf\xfa\xed\xfe"],
  ["a program (Mach-O)", NO_TABLE, "\xce\xfa\xed\xfe"],
  ["a Java class or Mach-O program", NO_TABLE, "\xca\xfe\xba\xbe"],
  ["a WebAssembly module", NO_TABLE, "\0asm"],
  ["an Outlook mail folder", NO_TABLE, "!BDN"],
  ["a macOS folder file (.DS_Store)", NO_TABLE, "\0\0\0\x01Bud1"],
  ["an OpenSSL-encrypted file", ENCRYPTED, "Salted__"],
  ["an age-encrypted file", ENCRYPTED, "age-encryption.org/v1"],
  ["a PGP-encrypted file", ENCRYPTED, "-----BEGIN PGP MESSAGE-----"],
  ["a key or certificate", NO_TABLE, "-----BEGIN "],
  ["a Git LFS pointer", POINTER, "version https://git-lfs"],
  ["a git-annex pointer", POINTER, "/annex/objects/"],
];

/** Kinds that one string does not tell from others, or not from a table that begins with the same letters. */
const TESTED: readonly [what: string, hint: string, test: (head: Buffer) => boolean][] = [
  ["a tar archive", ARCHIVE, isTar],
  ["a bzip2-compressed file", PACKED, (head) => /^BZh[1-9]1AY&SY/.test(latin1(head, 10))],
  ["a PDF document", "Save its tables as CSV and ingest that.", (head) => /^(?:ï»¿)?\s*%PDF-\d/.test(latin1(head, 64))],
  ["an R object (.rds)", DATA, (head) => /^A\n[23]\n\d+\n(?:131840|197888)\n/.test(latin1(head, 32))],
  ["an SPSS portable file", DATA, (head) => latin1(head, 240).indexOf("ASCII SPSS PORT FILE") >= 40],
  ["an ORC file", DATA, (head) => latin1(head, 3) === "ORC" && (!isPrintable(head[3]) || isBinary(head))],
  ["a Python pickle", DATA, (head) => head[0] === 0x80 && [2, 3, 4, 5].includes(head[1] ?? 0)],
  ["a WebP image", NO_TABLE, (head) => isRiff(head, "WEBP")],
  ["a WAV recording", NO_TABLE, (head) => isRiff(head, "WAVE")],
  ["an AVI video", NO_TABLE, (head) => isRiff(head, "AVI ")],
  ["a dBASE file", DATA, isDbase],
  ["an encrypted Parquet file", "Write it without encryption.", (head) => latin1(head, 4) === "PARE" && isBinary(head)],
  ["an MP3 recording", NO_TABLE, (head) => head[0] === 0xff && ((head[1] ?? 0) & 0xe6) === 0xe2 && isBinary(head)],
  ["a Windows program", NO_TABLE, (head) => latin1(head, 2) === "MZ" && head.subarray(0, 64).includes(0)],
];

/** Kinds of ZIP archives, by a name of a file inside. */
const ZIPPED: readonly [what: string, hint: string, name: RegExp][] = [
  ["an Excel workbook (.xlsb)", SHEET, /^xl\/workbook\.bin$/],
  ["an Excel workbook (.xlsx)", SHEET, /^xl\//],
  ["a Word document (.docx)", NO_TABLE, /^word\//],
  ["a PowerPoint presentation (.pptx)", NO_TABLE, /^ppt\//],
  ["a Numbers, Pages or Keynote document", "Export it as CSV and ingest that.", /^Index\/.*\.iwa$|^Index\.zip$/],
  ["a Tableau workbook", DATA, /\.(?:twb|hyper|tde)$/],
  ["a NumPy archive (.npz)", DATA, /\.npy$/],
  ["a Java archive", NO_TABLE, /^META-INF\/MANIFEST\.MF$|\.class$/],
  ["a KMZ map", DATA, /\.kml$/],
  ["an Office file", SHEET, /^\[Content_Types\]\.xml$/],
];

/** Kinds of compound files, by an entry of their directory. */
const COMPOUND: readonly [what: string, hint: string, entry: string][] = [
  ["a password-protected Office file", "Save it without a password, as CSV.", "EncryptedPackage"],
  ["an Excel workbook (.xls)", SHEET, "Workbook"],
  ["a Word document (.doc)", NO_TABLE, "WordDocument"],
  ["a PowerPoint presentation (.ppt)", NO_TABLE, "PowerPoint Document"],
  ["an Excel workbook (.xls)", SHEET, "Book"],
];

/**
 * The kind of a file that cannot be loaded, from its first bytes; `isWhole`: they are all bytes. Undefined for text and
 * for binary data of no known kind. Pure.
 */
export function foreignFormat(head: Buffer, isWhole: boolean): Foreign | undefined {
  if (latin1(head, 4) === "\xff\xfe\0\0" || latin1(head, 4) === "\0\0\xfe\xff") {
    return { what: "text in UTF-32", hint: "Save it as UTF-8." };
  }
  if (["PK\x03\x04", "PK\x05\x06", "PK\x07\x08"].includes(latin1(head, 4))) return zipFormat(head);
  if (latin1(head, 8) === "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") return compoundFormat(head);
  const [what, hint] =
    MAGIC.find(([, , bytes]) => beginsWith(head, bytes)) ?? TESTED.find(([, , test]) => test(head)) ?? [];
  if (what !== undefined && hint !== undefined) return { what, hint };
  return markupFormat(textOf(head), isWhole);
}

/** Whether bytes are not text: they have control characters, which text in any 8-bit encoding and UTF-16 hardly has. */
export function isBinary(head: Buffer): boolean {
  if (head.length === 0 || utf16Of(head)) return false;
  let controls = 0;
  // Not counted, because text files have them: tab, line ends, ^Z, escape, and the separators 0x01 and 0x1c to 0x1f.
  for (const byte of head) if (byte === 0 || (byte > 1 && byte < 9) || (byte > 13 && byte < 26)) controls += 1;
  // The last character may be cut.
  const isText = [0, 1, 2, 3].some((cut) => isUtf8(head.subarray(0, head.length - cut)));
  return isText ? controls > 3 && controls > head.length * 0.05 : controls > head.length * 0.01;
}

/** The start as text, without byte order mark and leading white space. Text that is not UTF-8 or UTF-16 is garbled. */
export function textOf(head: Buffer): string {
  const encoding = utf16Of(head) ?? "utf-8";
  return new TextDecoder(encoding).decode(head).trimStart();
}

/** Web pages and other XML documents. A table may have `<` in its header too: `<DATE>,<OPEN>`. */
function markupFormat(text: string, isWhole: boolean): Foreign | undefined {
  if (text[0] !== "<") return undefined;
  const start = text.replace(/^(?:<!--[\s\S]*?-->\s*)+/, "");
  const root = start.replace(/^<\?xml\s[\s\S]*?\?>\s*/i, "").replace(/^(?:<!--[\s\S]*?-->\s*|<\?[\s\S]*?\?>\s*)+/, "");
  if (/^<!doctype\s+html/i.test(root) || /^<(?:html|head|body|script|meta)\b[^<>,;|]*>(?! *[,;|\t])/i.test(root)) {
    return { what: "a web page (HTML)", hint: PAGE };
  }
  if (/^<table\b[^<>]*>\s*<(?:tr|thead|tbody|caption|colgroup)\b/i.test(root)) {
    return { what: "an HTML table", hint: "Open it in a spreadsheet program and save it as CSV." };
  }
  if (/^<svg\s[^<>]*>/i.test(root) || /^<!doctype\s+svg/i.test(root)) return { what: "an SVG image", hint: NO_TABLE };
  if (!/^<(?:\?xml|!doctype)\s/i.test(start) && !isElement(root, isWhole)) return undefined;
  return { what: "an XML document", hint: "Convert it to CSV or JSON and ingest that." };
}

/** Whether the text is one element with elements inside, and not lines that each have one. */
function isElement(text: string, isWhole: boolean): boolean {
  const start = /^<([A-Za-z_][\w:.-]*)(?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*>\s*(?=<[A-Za-z_])/.exec(text);
  if (!start) return false;
  const [first = "", ...others] = text.trimEnd().split(/\r?\n/);
  const end = `</${start[1]}>`;
  if (first.endsWith(end) && others.length > 0) return false;
  return isWhole ? text.trimEnd().endsWith(end) : text.includes("</");
}

function zipFormat(head: Buffer): Foreign {
  const names = zippedNames(head);
  const mime =
    /^PK[\s\S]{28}mimetypeapplication\/(vnd\.oasis\.opendocument\.(spreadsheet|text|presentation|graphics)|vnd\.|epub)/.exec(
      latin1(head, 120),
    );
  if (mime?.[2] === "spreadsheet") return { what: "an OpenDocument spreadsheet (.ods)", hint: SHEET };
  if (mime?.[1] === "epub" || mime?.[2])
    return { what: mime[2] ? `an OpenDocument ${mime[2]} file` : "an e-book (EPUB)", hint: NO_TABLE };
  const found = ZIPPED.find(([, , pattern]) => names.some((name) => pattern.test(name)));
  return found ? { what: found[0], hint: found[1] } : { what: "a ZIP archive", hint: ARCHIVE };
}

/** Names in the local headers and in the central directory, as far as `head` has them. */
function zippedNames(head: Buffer): string[] {
  const names: string[] = [];
  for (let at = head.indexOf("PK"); at !== -1; at = head.indexOf("PK", at + 2)) {
    const isLocal = latin1(head, 4, at) === "PK\x03\x04";
    const isEntry = latin1(head, 4, at) === "PK\x01\x02";
    const [lengthAt, nameAt] = isLocal ? [at + 26, at + 30] : [at + 28, at + 46];
    if ((isLocal || isEntry) && nameAt <= head.length) names.push(latin1(head, head.readUInt16LE(lengthAt), nameAt));
  }
  return names;
}

/** A compound file is a file system, whose directory has names in UTF-16. */
function compoundFormat(head: Buffer): Foreign {
  const found = COMPOUND.find(([, , entry]) => head.includes(Buffer.from(`${entry}\0`, "utf16le")));
  return found ? { what: found[0], hint: found[1] } : { what: "an old Office file (.xls, .doc, .ppt)", hint: SHEET };
}

/** By its checksum: the oldest kind has no magic bytes. */
function isTar(head: Buffer): boolean {
  if (head.length < 512) return false;
  const stored = Number.parseInt(latin1(head, 8, 148), 8);
  let sum = 8 * 32;
  for (const [index, byte] of head.subarray(0, 512).entries()) if (index < 148 || index >= 156) sum += byte;
  return head[0] !== 0 && stored === sum;
}

/** A text that begins with RIFF has a letter where a file below 512 MiB has the last byte of its size. */
function isRiff(head: Buffer, kind: string): boolean {
  return latin1(head, 4) === "RIFF" && latin1(head, 4, 8) === kind && !isPrintable(head[7]);
}

/** By version, month and day of the last change, and the length of the header. */
function isDbase(head: Buffer): boolean {
  if (head.length < 33 || ![0x02, 0x03, 0x30, 0x31, 0x32, 0x43, 0x83, 0x8b, 0xf5].includes(head[0] as number))
    return false;
  const [month, day, header] = [head[2] as number, head[3] as number, head.readUInt16LE(8)];
  return month >= 1 && month <= 12 && day >= 1 && day <= 31 && header >= 65 && head.readUInt16LE(12) === 0;
}

function beginsWith(head: Buffer, bytes: string): boolean {
  if (head.length < bytes.length) return false;
  for (let at = 0; at < bytes.length; at += 1) if (bytes[at] !== "□" && bytes.charCodeAt(at) !== head[at]) return false;
  return true;
}

function isPrintable(byte: number | undefined): boolean {
  return byte === undefined || (byte > 31 && byte < 127) || byte === 9 || byte === 10 || byte === 13;
}

function latin1(head: Buffer, length: number, at = 0): string {
  return head.toString("latin1", at, at + length);
}
