import { quoted } from "../../engine/catalog/nearest.ts";
import { LakeError } from "../../engine/kernel/errors.ts";
import { normalHost, parseAuthority } from "./authority.ts";

const EVERY_INTERFACE = "::";
const LOOPBACK = "127.0.0.1";
const FORMS_HINT =
  'Set http to a port ("3110", on this machine only), an address with a port ("127.0.0.1:3110", "[::1]:3110", ' +
  '"localhost:3110"), or, for other machines, "0.0.0.0:3110" or ":3110".';

/**
 * Reads the setting `http`. A port alone is on loopback; `:3110` is every interface, of IPv4 and IPv6; port 0 is any
 * free one. `host` is ready for `listen`: without brackets, with its zone. Throws `invalid` for everything else.
 */
export function parseBind(text: string): { host: string; port: number } {
  const trimmed = text.trim();
  if (/^\d+$/.test(trimmed)) return { host: LOOPBACK, port: checkedPort(trimmed, text) };
  const [, host, digits] = /^(.*):(\d+)$/.exec(trimmed) ?? [];
  if (host === undefined || digits === undefined) throw refused(text, "has no port");
  const port = checkedPort(digits, text);
  if (host === "") return { host: EVERY_INTERFACE, port };
  if (/^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(host)) throw refused(text, "has an IPv6 address without brackets");
  const authority = parseAuthority(host);
  if (authority === undefined || authority.port !== undefined) {
    throw refused(text, "has neither a name nor an address before its port");
  }
  const zone = authority.host.includes(":") ? (/%[^\]]*/.exec(host)?.[0] ?? "") : "";
  return { host: authority.host + zone, port };
}

/**
 * Whether only this machine can reach what listens on `host`: 127.0.0.0/8, ::1, their IPv4-mapped forms, localhost. Not
 * a name that merely resolves to one of them, which somebody else may change.
 */
export function isLoopback(host: string): boolean {
  const normal = normalHost(host.replace(/^\[(.*)\]$/, "$1"));
  return normal !== undefined && (normal === "localhost" || normal === "::1" || /^127\.\d+\.\d+\.\d+$/.test(normal));
}

/**
 * Throws `denied` for an address that other machines reach, unless callers have to prove who they are (`hasTokens`: by
 * tokens, or through an OAuth issuer) and somebody has said that it is meant, with exactly `1`.
 */
export function assertBindAllowed(
  { host }: { host: string },
  { hasTokens, allowNonLoopback }: { hasTokens: boolean; allowNonLoopback: string | undefined },
): void {
  if (isLoopback(host)) return;
  const open = `http is set to the host ${quoted(host)}, which other machines can reach`;
  const local = 'or set http to "127.0.0.1:3110" to serve this machine only';
  if (!hasTokens) {
    throw new LakeError("denied", `${open}, but nobody has to show a token.`, {
      hint: `Set LAKEHOUSE_HTTP_TOKEN, http_token_file or oauth_issuer, ${local}.`,
    });
  }
  if (allowNonLoopback === "1") return;
  const is = allowNonLoopback === undefined ? "not set" : quoted(allowNonLoopback);
  throw new LakeError("denied", `${open}, and LAKEHOUSE_ALLOW_NONLOOPBACK is ${is}.`, {
    hint: `Set LAKEHOUSE_ALLOW_NONLOOPBACK to exactly 1 if that is meant, ${local}.`,
  });
}

function checkedPort(digits: string, text: string): number {
  if (digits.length > 5 || Number(digits) > 65_535) throw refused(text, "has a port above 65535");
  return Number(digits);
}

function refused(text: string, why: string): LakeError {
  return new LakeError("invalid", `http is ${quoted(text)}, which ${why}.`, { hint: FORMS_HINT });
}
