import { normalAddress } from "./ip.ts";

/** `host` is normalized: a lower-case name without a final dot, or an address as by `normalAddress`. */
export interface Authority {
  host: string;
  port: number | undefined;
}

const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;

/**
 * Parses `name`, `1.2.3.4` or `[::1]`, each with or without `:port`, as in Host, Origin and settings. Undefined for
 * everything else, including users, paths, lists, escapes and `127.1`. A zone (`[fe80::1%eth0]`) is dropped.
 */
export function parseAuthority(text: string): Authority | undefined {
  const [, brackets, plain, digits] = /^(?:\[([^[\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const port = digits === undefined ? undefined : Number(digits);
  if (port !== undefined && port > 65_535) return undefined;
  const host = brackets === undefined ? normalHost(plain ?? "") : bracketed(brackets);
  return host === undefined ? undefined : { host, port };
}

/** Normalizes a name, or an address without brackets. Undefined for anything else. */
export function normalHost(text: string): string | undefined {
  const address = normalAddress(text);
  if (address !== undefined) return address;
  const name = text.toLowerCase().replace(/\.$/, "");
  const labels = name.split(".");
  if (name.length > 253 || !labels.every((label) => LABEL.test(label))) return undefined;
  // Programs disagree about 127.1 and 0x7f.1; browsers take a name that ends in a number for an IPv4 address.
  return /^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? "") ? undefined : name;
}

function bracketed(text: string): string | undefined {
  return text.includes(":") ? normalAddress(text) : undefined;
}
