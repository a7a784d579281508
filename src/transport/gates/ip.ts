import { isIPv4, isIPv6 } from "node:net";
import { LakeError } from "../../engine/kernel/errors.ts";
import type { Refusal } from "./refusal.ts";

/** Networks that addresses may belong to. Without any it lets nobody in. */
export interface Allowlist {
  ranges: readonly Range[];
}

interface Address {
  family: 4 | 6;
  bits: bigint;
}

interface Range extends Address {
  prefix: number;
}

const WIDTH = { 4: 32, 6: 128 } as const;
const PREFIX = /^(?:0|[1-9]\d{0,2})$/;
const FORMS_HINT = 'Write an address or a network in CIDR form, such as "10.0.0.5", "10.0.0.0/8", "2001:db8::/32".';

/**
 * Reads addresses and CIDR networks, of IPv4 and IPv6; an IPv4-mapped one (`::ffff:10.0.0.0/104`) counts as IPv4, and no
 * IPv6 network contains IPv4 addresses: everything is `0.0.0.0/0` and `::/0`. Throws `invalid` for the first entry that
 * is neither, because a list that lost an entry may let in the wrong ones. `setting` is where the entries stand.
 */
export function parseAllowlist(entries: string[], setting = "the IP allowlist"): Allowlist {
  return { ranges: entries.map((entry, at) => parseEntry(entry.trim(), `${setting}[${at}]`)) };
}

/**
 * The address a request comes from, normalised: its peer's, or, when that is a trusted proxy, what the proxies say. They
 * append to `X-Forwarded-For`, so it is read from the right, over trusted proxies, to the first address that is not
 * theirs; what stands left of it may be anybody's invention. If something on this way is no address, nothing of the
 * header is believed.
 */
export function clientAddress(
  socketAddress: string,
  forwardedFor: string | string[] | undefined,
  trusted: Allowlist | undefined,
): string {
  const peer = parseAddress(socketAddress);
  if (peer === undefined) return socketAddress;
  if (forwardedFor === undefined || trusted === undefined || !contains(trusted, peer)) return formatAddress(peer);
  let client = peer;
  for (const hop of [forwardedFor].flat().join(",").split(",").reverse()) {
    const address = parseAddress(withoutPort(hop.trim()));
    if (address === undefined) return formatAddress(peer);
    client = address;
    if (!contains(trusted, address)) break;
  }
  return formatAddress(client);
}

/** Refuses what is not in the list, and what is no address. Undefined: no list was configured, all may pass. */
export function judgeAddress(address: string, allowlist: Allowlist | undefined): Refusal | undefined {
  if (allowlist === undefined) return undefined;
  if (isListed(address, allowlist)) return undefined;
  return { status: 403, message: "Your address is not on this server's allowlist." };
}

/** One spelling for each address: IPv4-mapped as IPv4, without zone, lower case. Undefined if `text` is none. */
export function normalAddress(text: string): string | undefined {
  const address = parseAddress(text);
  return address && formatAddress(address);
}

/** What one client has of addresses: one of IPv4, all of a /64 of IPv6. A text that is no address stays as it is. */
export function networkOf(text: string): string {
  const address = parseAddress(text);
  if (address === undefined) return text;
  return formatAddress(address.family === 4 ? address : { family: 6, bits: (address.bits >> 64n) << 64n });
}

/** Whether an address is in the list. */
export function isListed(address: string, allowlist: Allowlist): boolean {
  const parsed = parseAddress(address);
  return parsed !== undefined && contains(allowlist, parsed);
}

function parseEntry(entry: string, where: string): Range {
  const slash = entry.indexOf("/");
  const text = slash < 0 ? entry : entry.slice(0, slash);
  const mapped = isIPv6(text) && isMapped(parseV6(text));
  const address = parseAddress(text);
  // A zone names an interface of this machine; addresses are compared without, so the entry would let in more.
  if (address === undefined || text.includes("%")) throw unreadable(entry, where);
  const width = WIDTH[address.family];
  if (slash < 0) return { ...address, prefix: width };
  const digits = entry.slice(slash + 1);
  const written = mapped ? 128 : width;
  if (!PREFIX.test(digits) || Number(digits) > written) {
    throw new LakeError("invalid", `${where} is ${shown(entry)}: the prefix has to be 0 to ${written}.`, {
      hint: FORMS_HINT,
    });
  }
  const prefix = Number(digits) - (written - width);
  if (prefix < 0) {
    throw new LakeError("invalid", `${where} is ${shown(entry)}, which is wider than all of IPv4.`, {
      hint: 'For all of IPv4 write "0.0.0.0/0", for all of IPv6 "::/0".',
    });
  }
  const host = BigInt(width - prefix);
  const network = { family: address.family, bits: (address.bits >> host) << host };
  if (network.bits === address.bits) return { ...address, prefix };
  throw new LakeError("invalid", `${where} is ${shown(entry)}, which is an address inside a network, not a network.`, {
    hint: `Write "${formatAddress(network)}/${prefix}" for the network or "${formatAddress(address)}" for the address.`,
  });
}

function unreadable(entry: string, where: string): LakeError {
  return new LakeError("invalid", `${where} is ${shown(entry)}, which is neither an IP address nor a network.`, {
    hint: FORMS_HINT,
  });
}

function shown(entry: string): string {
  return JSON.stringify(entry).slice(0, 100);
}

function contains({ ranges }: Allowlist, { family, bits }: Address): boolean {
  return ranges.some((range) => {
    const host = BigInt(WIDTH[family] - range.prefix);
    return range.family === family && range.bits >> host === bits >> host;
  });
}

function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { family: 4, bits: joined(text.split("."), 10, 8n) };
  if (!isIPv6(text)) return undefined;
  const bits = parseV6(text);
  return isMapped(bits) ? { family: 4, bits: bits & 0xffff_ffffn } : { family: 6, bits };
}

function isMapped(bits: bigint): boolean {
  return bits >> 32n === 0xffffn;
}

/** `text` has passed `isIPv6`. URL writes all spellings as groups of hexadecimal digits and at most one `::`. */
function parseV6(text: string): bigint {
  const [head = "", tail] = withoutBrackets(new URL(`http://[${text.replace(/%.*$/, "")}]`).hostname).split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = new Array<string>(8 - left.length - right.length).fill("0");
  return joined([...left, ...zeros, ...right], 16, 16n);
}

function joined(parts: string[], radix: number, width: bigint): bigint {
  return parts.reduce((bits, part) => (bits << width) | BigInt(Number.parseInt(part, radix)), 0n);
}

function formatAddress({ family, bits }: Address): string {
  const width = family === 4 ? 8 : 16;
  const parts: bigint[] = [];
  for (let shift = WIDTH[family] - width; shift >= 0; shift -= width) {
    parts.push((bits >> BigInt(shift)) & BigInt(2 ** width - 1));
  }
  if (family === 4) return parts.join(".");
  return withoutBrackets(new URL(`http://[${parts.map((part) => part.toString(16)).join(":")}]`).hostname);
}

function withoutBrackets(text: string): string {
  return text.replace(/^\[(.*)\]$/, "$1");
}

/** Some proxies add the port: `203.0.113.9:4711`, `[2001:db8::1]:4711`. */
function withoutPort(hop: string): string {
  return /^\[([^\]]*)\](?::\d{1,5})?$/.exec(hop)?.[1] ?? /^([\d.]+):\d{1,5}$/.exec(hop)?.[1] ?? hop;
}
