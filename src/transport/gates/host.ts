import { domainToASCII } from "node:url";
import { quoted } from "../../engine/catalog/nearest.ts";
import { LakeError } from "../../engine/kernel/errors.ts";
import { normalHost, parseAuthority } from "./authority.ts";
import { isLoopback } from "./bind.ts";
import { normalAddress } from "./ip.ts";
import type { Refusal } from "./refusal.ts";

/** The hosts under which a server may be asked for, besides loopback. */
export interface HostRules {
  /** In the spelling of `normalHost`. */
  names: ReadonlySet<string>;
  /** Also any address, but no other name. */
  anyAddress: boolean;
}

const EVERY_INTERFACE = new Set(["0.0.0.0", "::"]);

/**
 * The rules against DNS rebinding: a page of `evil.example`, whose name suddenly means this machine, still sends
 * `Host: evil.example`. So the host has to be loopback, the one bound to, or one of `extra` (setting `allowed_hosts`);
 * ports do not matter. A server on every interface does not know its addresses (containers, NAT): unless `extra` says
 * them it takes any address for one of them, because an address cannot be rebound, but no name.
 * Throws `invalid` for an entry of `extra` that is no plain name or address.
 */
export function allowedHosts({ bind, extra }: { bind: { host: string; port: number }; extra: string[] }): HostRules {
  const bound = normalHost(bind.host) ?? bind.host;
  const names = extra.map((entry, at) => configuredHost(entry, `allowed_hosts[${at}]`));
  return { names: new Set([bound, ...names]), anyAddress: EVERY_INTERFACE.has(bound) && extra.length === 0 };
}

/**
 * Refuses a request that a page of another site may have caused. `Origin`, which browsers send, has to be the host asked
 * for, one of the rules' names, or a page of this machine where this machine was asked for; programs send none. `raw`
 * are Node's `rawHeaders`: of two Host headers, `headers` shows one.
 */
export function judgeHost(
  { host, origin }: { host?: string | undefined; origin?: string | undefined },
  rules: HostRules,
  raw: string[] = [],
): Refusal | undefined {
  if (raw.filter((name, at) => at % 2 === 0 && name.toLowerCase() === "host").length > 1) {
    return { status: 400, message: "The request has two Host headers." };
  }
  if (host === undefined || host === "") return { status: 400, message: "The request has no Host header." };
  const asked = parseAuthority(host)?.host;
  if (asked === undefined) return { status: 400, message: "The Host header is not a name or address with a port." };
  const isAddress = normalAddress(asked) !== undefined;
  if (!isLoopback(asked) && !rules.names.has(asked) && !(rules.anyAddress && isAddress)) {
    return {
      status: 403,
      message: "This host is not served here. The server's setting allowed_hosts names those that are.",
    };
  }
  if (origin === undefined) return undefined;
  const page = /^https?:\/\/(.+)$/i.exec(origin)?.[1];
  const from = page === undefined ? undefined : parseAuthority(page)?.host;
  if (from !== undefined) {
    if (from === asked || rules.names.has(from)) return undefined;
    if (isLoopback(from) && isLoopback(asked)) return undefined;
  }
  return {
    status: 403,
    message: "Pages of this origin may not call here. The server's setting allowed_hosts names those that may.",
  };
}

function configuredHost(entry: string, where: string): string {
  const trimmed = entry.trim();
  const parsed = parseAuthority(trimmed) ?? parseAuthority(`[${trimmed}]`);
  const name = parsed?.host ?? international(trimmed);
  if (name !== undefined && parsed?.port === undefined && !trimmed.includes("%")) return name;
  throw new LakeError("invalid", `${where} is ${quoted(entry)}, which is not a plain host.`, {
    hint: 'Write names and addresses only, without scheme, port, path or wildcard, such as "lake.example.com".',
  });
}

/** `bücher.example` is `xn--bcher-kva.example` in a header. */
function international(text: string): string | undefined {
  return /^[\p{L}\p{M}\p{N}._-]*[^\0-\x7f][\p{L}\p{M}\p{N}._-]*$/u.test(text)
    ? normalHost(domainToASCII(text))
    : undefined;
}
