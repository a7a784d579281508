import type { IncomingHttpHeaders } from "node:http";
import type { Incoming } from "../engine/uploads/upload-receive.ts";
import type { Refusal } from "./gates/refusal.ts";

/** Types that a form or `curl -d` sends: what is in them is not the file, or no longer. */
const FORMS = /^(multipart\/|application\/x-www-form-urlencoded)/i;
/** A part of a file, or how to go on with one (draft-ietf-httpbis-resumable-upload). */
const PARTIAL = ["content-range", "upload-offset", "upload-complete", "upload-incomplete"];

export const SEND_WHOLE =
  "An upload is sent whole and cannot be gone on with: PUT all of the file to /uploads?name=FILE.";

/**
 * What the headers of a PUT say of its body: RFC 9530 for `Repr-Digest` and `Content-Digest`, which are the same for a
 * whole file, RFC 3230 for `Digest`. Node has checked `Content-Length`.
 */
export function incomingOf(headers: IncomingHttpHeaders): Pick<Incoming, "length" | "sha256"> | Refusal {
  if (FORMS.test(headers["content-type"] ?? "")) {
    return { status: 415, message: "Send the file itself as the body, not a form: curl -T FILE URL." };
  }
  if ((headers["content-encoding"] ?? "identity").toLowerCase() !== "identity") {
    return { status: 415, message: "Send the file without Content-Encoding; it may be a .gz or .zst itself." };
  }
  // Taken for a whole file, a part would be one in silence (RFC 9110, 14.5).
  const partial = PARTIAL.find((name) => headers[name] !== undefined);
  if (partial !== undefined) return { status: 400, message: `${SEND_WHOLE} Send it without ${partial}.` };
  const sha256: string[] = [];
  for (const name of ["Repr-Digest", "Digest", "Content-Digest"]) {
    const digest = digestIn(headers, name);
    if (typeof digest === "object") return digest;
    if (digest !== undefined) sha256.push(digest);
  }
  const length = headers["content-length"];
  return { length: length === undefined ? undefined : Number(length), sha256 };
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
