import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { incomingOf } from "../../src/transport/upload-headers.ts";

const digest = createHash("sha256").update("x").digest();
const other = createHash("sha256").update("y").digest("base64");
const [hex, base64] = [digest.toString("hex"), digest.toString("base64")];

test.each([
  [{}, { length: undefined, sha256: [] }],
  [{ "content-length": "7" }, { length: 7 }],
  [{ "content-length": "0" }, { length: 0 }],
  [{ "content-type": "text/csv", "content-length": "7" }, { length: 7 }],
  [{ "repr-digest": `sha-256=:${base64}:` }, { sha256: [hex] }],
  [{ "repr-digest": `sha-512=:AAAA:, sha-256=:${base64}:` }, { sha256: [hex] }],
  [{ digest: `SHA-256=${base64}` }, { sha256: [hex] }],
  [{ digest: `md5=AAAA,sha-256=${base64}` }, { sha256: [hex] }],
  [{ "content-digest": `sha-256=:${base64}:` }, { sha256: [hex] }],
  [
    { "repr-digest": `sha-256=:${base64}:`, digest: `sha-256=${other}` },
    { sha256: [hex, Buffer.from(other, "base64").toString("hex")] },
  ],
  [{ "content-encoding": "Identity" }, { length: undefined }],
])("%j says %j", (headers, part) => {
  expect(incomingOf(headers)).toMatchObject(part);
});

test.each([
  [{ "content-type": "multipart/form-data; boundary=x" }, 415, "curl -T"],
  [{ "content-type": "application/x-www-form-urlencoded" }, 415, "curl -T"],
  [{ "content-encoding": "gzip" }, 415, ".gz"],
  [{ "content-range": "bytes 5-9/10" }, 400, "sent whole"],
  [{ "content-range": "bytes 0-9/10", "content-length": "10" }, 400, "content-range"],
  [{ "content-range": "" }, 400, "content-range"],
  [{ "upload-offset": "5" }, 400, "upload-offset"],
  [{ "upload-complete": "?0" }, 400, "upload-complete"],
  [{ "upload-incomplete": "?1" }, 400, "upload-incomplete"],
  [{ "repr-digest": `sha-512=:${base64}:` }, 400, "Repr-Digest"],
  [{ "repr-digest": `sha-256=${base64}` }, 400, "Repr-Digest"],
  [{ "repr-digest": `sha-256=:${base64.slice(4)}:` }, 400, "Repr-Digest"],
  [{ "repr-digest": "" }, 400, "Repr-Digest"],
  [{ "content-digest": "sha-256=:AAAA:" }, 400, "Content-Digest"],
  [{ digest: `sha-256=:${base64}:` }, 400, "Digest"],
])("%j is refused with %i: %s", (headers, status, message) => {
  expect(incomingOf(headers)).toMatchObject({ status, message: expect.stringContaining(message) });
});
