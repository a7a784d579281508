import { describe, expect, test } from "vitest";
import { unpackLz4Frame } from "../../../src/engine/parquet/lz4.ts";

/** Frames made with `lz4` 1.9. */
const LITERALS = "BCJNGGRApxAAAIAwMTIzNDU2Nzg5YWJjZGVmAAAAAGlbxMI=";
const OVERLAP = "BCJNGGRApwsAAAAfYQEATFBhYWFhYQAAAADUMTT4";
const WORDS = "BCJNGGRApy4AAADERGVyIEZ1Y2hzLCBkCwBGIHVuZA4AFjoLAPADIGZyaXNzdCBkZXIgRnVjaHMuAAAAAMXnYj4=";
/** `-9 -B4 -BD -BX`: blocks that reach back into earlier ones, with checksums. */
const LINKED =
  "BCJNGFRArmYBAAAfYQEA//////////MfYgEA//////////MfYwEA//////////MfZAEA//////////MfZQEA//////////MfZgEA//////////MfZwEA//////////MfaAEA//////////MfaQEA//////////MfagEA//////////MfawEA//////////MfbAEA//////////MfbQEA//////////MfbgEA//////////MfbwEA//////////MfcAEA//////////MfcQEA//////////MfcgEA//////////MfcwEA//////////MfdAEA//////////MfdQEA//////////MfdgEA//////////MfdwEA//////////MPALj///////////////////////////////////////////////////////////////////////////////////////////////8wUGlpaWlp+W6P3BsAAAAPALj//////////////////////2lQbGxsbGzs8ju7AAAAAAe8GA0=";

describe("unpackLz4Frame", () => {
  test.each([
    ["literals", LITERALS, "0123456789abcdef"],
    ["a match that overlaps itself", OVERLAP, "a".repeat(101)],
    ["matches further back", WORDS, "Der Fuchs, der Fuchs und der Fuchs: der Fuchs frisst der Fuchs."],
  ])("%s", (_name, frame, text) => {
    expect(Buffer.from(unpackLz4Frame(Buffer.from(frame, "base64"), text.length)).toString()).toBe(text);
  });

  test("several linked blocks with checksums", () => {
    const expected = Uint8Array.from({ length: 70_000 }, (_, index) => 97 + ((index >> 11) % 23));
    expect(Buffer.from(unpackLz4Frame(Buffer.from(LINKED, "base64"), 70_000)).equals(expected)).toBe(true);
  });

  test("a stored block", () => {
    const frame = Buffer.from("04224d186040820300008061626300000000", "hex");
    expect(Buffer.from(unpackLz4Frame(frame, 3)).toString()).toBe("abc");
  });

  test("whatever is damaged throws, or gives as many bytes as asked for", () => {
    const frame = Buffer.from(WORDS, "base64");
    for (let at = 0; at < frame.length; at += 1) {
      for (const bits of [0x01, 0x80, 0xff]) {
        const damaged = frame.map((byte, index) => (index === at ? byte ^ bits : byte));
        try {
          expect(unpackLz4Frame(damaged, 64)).toHaveLength(64);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }
    }
    for (let length = 0; length < frame.length - 8; length += 1) {
      expect(() => unpackLz4Frame(frame.subarray(0, length), 64)).toThrow(RangeError);
    }
  });
});
