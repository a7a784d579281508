import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { partOf } from "../../src/transport/upload-headers.ts";

const digest = createHash("sha256").update("x").digest();
const [hex, base64] = [digest.toString("hex"), digest.toString("base64")];

test.each([
  [{}, { from: 0, length: undefined, total: undefined }],
  [{ "content-length": "7" }, { from: 0, length: 7, total: 7 }],
  [{ "content-length": "0" }, { from: 0, length: 0, total: 0 }],
  [
    { "content-type": "text/csv", "content-length": "7" },
    { from: 0, length: 7, total: 7 },
  ],
  [{ "content-range": "bytes 0-4/10" }, { from: 0, length: 5, total: 10 }],
  [
    { "content-range": "Bytes 9-9/10", "content-length": "1" },
    { from: 9, length: 1, total: 10 },
  ],
  [{ "repr-digest": `sha-256=:${base64}:` }, { sha256: hex }],
  [{ "repr-digest": `sha-512=:AAAA:, sha-256=:${base64}:` }, { sha256: hex }],
  [{ digest: `SHA-256=${base64}` }, { sha256: hex }],
  [{ digest: `md5=AAAA,sha-256=${base64}` }, { sha256: hex }],
  [{ "content-digest": `sha-256=:${base64}:` }, { partSha256: hex }],
  [{ "content-encoding": "Identity" }, { from: 0 }],
])("%j says %j", (headers, part) => {
  expect(partOf(headers)).toMatchObject(part);
});

test.each([
  [{ "content-type": "multipart/form-data; boundary=x" }, 415, "curl -T"],
  [{ "content-type": "application/x-www-form-urlencoded" }, 415, "curl -T"],
  [{ "content-encoding": "gzip" }, 415, ".gz"],
  [{ "content-range": "bytes 0-4/*" }, 400, "Content-Range"],
  [{ "content-range": "bytes */10" }, 400, "Content-Range"],
  [{ "content-range": "bytes 5-4/10" }, 400, "Content-Range"],
  [{ "content-range": "bytes 5-10/10" }, 400, "Content-Range"],
  [{ "content-range": "bytes 0-0/0" }, 400, "Content-Range"],
  [{ "content-range": "bytes -1-4/10" }, 400, "Content-Range"],
  [{ "content-range": "bytes 0-4/10, 5-9/10" }, 400, "Content-Range"],
  [{ "content-range": "bytes 0-4/99999999999999999999" }, 400, "Content-Range"],
  [{ "content-range": "rows 0-4/10" }, 400, "Content-Range"],
  [{ "content-range": "" }, 400, "Content-Range"],
  [{ "content-range": "bytes 0-4/10", "content-length": "6" }, 400, "Content-Length"],
  [{ "repr-digest": `sha-512=:${base64}:` }, 400, "Repr-Digest"],
  [{ "repr-digest": `sha-256=${base64}` }, 400, "Repr-Digest"],
  [{ "repr-digest": `sha-256=:${base64.slice(4)}:` }, 400, "Repr-Digest"],
  [{ "repr-digest": "" }, 400, "Repr-Digest"],
  [{ "content-digest": "sha-256=:AAAA:" }, 400, "Content-Digest"],
  [{ digest: `sha-256=:${base64}:` }, 400, "Digest"],
])("%j is refused with %i: %s", (headers, status, message) => {
  expect(partOf(headers)).toMatchObject({ status, message: expect.stringContaining(message) });
});
