import type { IncomingHttpHeaders } from "node:http";
import type { Incoming } from "../engine/uploads/upload-receive.ts";
import type { Refusal } from "./gates/refusal.ts";

/** Types that forms and `curl -d` send, whose body is not the file as it was. */
const FORMS = /^(multipart\/|application\/x-www-form-urlencoded)/i;
/** Headers of partial and of resumed uploads (draft-ietf-httpbis-resumable-upload). */
const PARTIAL = ["content-range", "upload-offset", "upload-complete", "upload-incomplete"];

export const SEND_WHOLE =
  "An upload is sent whole and cannot be gone on with: PUT all of the file to /uploads?name=FILE.";

/**
 * Length and digests of the body of a PUT. `Repr-Digest` and `Content-Digest` (RFC 9530) mean the same for a whole file;
 * `Digest` is of RFC 3230. Node has checked `Content-Length`.
 */
export function incomingOf(headers: IncomingHttpHeaders): Pick<Incoming, "length" | "sha256"> | Refusal {
  if (FORMS.test(headers["content-type"] ?? "")) {
    return { status: 415, message: "Send the file itself as the body, not a form: curl -T FILE URL." };
  }
  if ((headers["content-encoding"] ?? "identity").toLowerCase() !== "identity") {
    return { status: 415, message: "Send the file without Content-Encoding; it may be a .gz or .zst itself." };
  }
  // Otherwise a part would silently be taken for a whole file (RFC 9110, 14.5).
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

/** The SHA-256 in hex. A header with other algorithms only is refused, because they would not be checked. */
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
