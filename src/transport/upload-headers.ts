import type { IncomingHttpHeaders } from "node:http";
import type { Part } from "../engine/uploads/uploads.ts";
import { isRefusal, type Refusal } from "./gates/refusal.ts";

/** Types that a form or `curl -d` sends: what is in them is not the file, or no longer. */
const FORMS = /^(multipart\/|application\/x-www-form-urlencoded)/i;
const CONTENT_RANGE = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/i;

/**
 * What the headers of a PUT say of its body: RFC 9110 for `Content-Range`, RFC 9530 for `Repr-Digest` and
 * `Content-Digest`, RFC 3230 for `Digest`. Node has checked `Content-Length`.
 */
export function partOf(headers: IncomingHttpHeaders): Omit<Part, "id" | "name"> | Refusal {
  if (FORMS.test(headers["content-type"] ?? "")) {
    return { status: 415, message: "Send the file itself as the body, not a form: curl -T FILE URL." };
  }
  if ((headers["content-encoding"] ?? "identity").toLowerCase() !== "identity") {
    return { status: 415, message: "Send the file without Content-Encoding; it may be a .gz or .zst itself." };
  }
  const range = rangeOf(headers);
  if (isRefusal(range)) return range;
  const whole = digestIn(headers, "Repr-Digest") ?? digestIn(headers, "Digest");
  const part = digestIn(headers, "Content-Digest");
  for (const digest of [whole, part]) if (typeof digest === "object") return digest;
  return {
    ...range,
    ...(typeof whole === "string" && { sha256: whole }),
    ...(typeof part === "string" && { partSha256: part }),
  };
}

function rangeOf(headers: IncomingHttpHeaders): Pick<Part, "from" | "length" | "total"> | Refusal {
  const declared = headers["content-length"] === undefined ? undefined : Number(headers["content-length"]);
  const range = headers["content-range"];
  if (range === undefined) return { from: 0, length: declared, total: declared };
  const [first = 0, last = 0, total = 0] = CONTENT_RANGE.exec(String(range))?.slice(1).map(Number) ?? [];
  if (total === 0 || last < first || last >= total) {
    return { status: 400, message: "Content-Range is not of the form: bytes FIRST-LAST/TOTAL, counted from 0." };
  }
  const length = last - first + 1;
  if (declared !== undefined && declared !== length) {
    return { status: 400, message: `Content-Range says ${length} bytes, Content-Length ${declared}.` };
  }
  return { from: first, length, total };
}

/** The SHA-256 in hex. Other algorithms alone are refused: a digest that nobody checks is one that lies. */
function digestIn(headers: IncomingHttpHeaders, name: string): string | Refusal | undefined {
  const value = headers[name.toLowerCase()];
  if (value === undefined) return undefined;
  const [, wrapped, bare] =
    /(?:^|,)\s*sha-256=(?::([A-Za-z0-9+/]{43}=):|([A-Za-z0-9+/]{43}=))\s*(?:[,;]|$)/i.exec(String(value)) ?? [];
  const base64 = name === "Digest" ? bare : wrapped;
  if (base64 !== undefined) return Buffer.from(base64, "base64").toString("hex");
  const example = name === "Digest" ? "sha-256=BASE64" : "sha-256=:BASE64:";
  return { status: 400, message: `${name} is not of the form: ${example}, of the 32 bytes of a SHA-256.` };
}
