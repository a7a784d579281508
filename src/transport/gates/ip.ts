import { BlockList, isIPv4, isIPv6 } from "node:net";
import { quoted } from "../../engine/catalog/nearest.ts";
import { LakeError } from "../../engine/kernel/errors.ts";
import type { Refusal } from "./refusal.ts";

/**
 * Networks whose addresses are let in; none, if it is empty. One `BlockList` per family, because in a common one an IPv6
 * network such as `::/0` would contain IPv4 addresses.
 */
export type Allowlist = Record<Family, BlockList>;

type Family = "ipv4" | "ipv6";

/** `text` is normalized, as in a URL. */
interface Address {
  family: Family;
  text: string;
}

const WIDTH = { ipv4: 32, ipv6: 128 } as const;
const PREFIX = /^(?:0|[1-9]\d{0,2})$/;
const FORMS_HINT = 'Write an address or a network in CIDR form, such as "10.0.0.5", "10.0.0.0/8", "2001:db8::/32".';

/**
 * Parses addresses and CIDR networks of IPv4 and IPv6. IPv4-mapped ones (`::ffff:10.0.0.0/104`) count as IPv4; no IPv6
 * network contains IPv4 addresses, so everything is `0.0.0.0/0` and `::/0`. Throws `invalid` for the first wrong entry.
 * `setting` is named in that error.
 */
export function parseAllowlist(entries: string[], setting = "the IP allowlist"): Allowlist {
  const allowlist = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const [at, entry] of entries.entries()) {
    const { family, text, prefix } = parseEntry(entry.trim(), `${setting}[${at}]`);
    allowlist[family].addSubnet(text, prefix, family);
  }
  return allowlist;
}

/**
 * The client's address, normalized: that of the peer, or, behind a trusted proxy, the one in `X-Forwarded-For`. Proxies
 * append to this header, so it is read from the right, past trusted proxies, to the first other address; everything left
 * of that may be forged. If anything on the way is not an address, the whole header is ignored.
 */
export function clientAddress(
  socketAddress: string,
  forwardedFor: string | string[] | undefined,
  trusted: Allowlist | undefined,
): string {
  const peer = parseAddress(socketAddress);
  if (peer === undefined) return socketAddress;
  if (forwardedFor === undefined || trusted === undefined || !contains(trusted, peer)) return peer.text;
  let client = peer;
  for (const hop of [forwardedFor].flat().join(",").split(",").reverse()) {
    const address = parseAddress(withoutPort(hop.trim()));
    if (address === undefined) return peer.text;
    client = address;
    if (!contains(trusted, address)) break;
  }
  return client.text;
}

/** Refuses addresses that are not in the list, and text that is not an address. Without a list all pass. */
export function judgeAddress(address: string, allowlist: Allowlist | undefined): Refusal | undefined {
  if (allowlist === undefined) return undefined;
  if (isListed(address, allowlist)) return undefined;
  return { status: 403, message: "Your address is not on this server's allowlist." };
}

/** Normalizes an address: IPv4-mapped as IPv4, without zone, lower case. Undefined for other text. */
export function normalAddress(text: string): string | undefined {
  return parseAddress(text)?.text;
}

/** The addresses that one client may have: one of IPv4, a /64 of IPv6. Other text is returned as it is. */
export function networkOf(text: string): string {
  const address = parseAddress(text);
  if (address === undefined) return text;
  return address.family === "ipv4" ? address.text : networkAt(address, 64);
}

/** Whether `address` is in the list. */
export function isListed(address: string, allowlist: Allowlist): boolean {
  const parsed = parseAddress(address);
  return parsed !== undefined && contains(allowlist, parsed);
}

function parseEntry(entry: string, where: string): Address & { prefix: number } {
  const slash = entry.indexOf("/");
  const text = slash < 0 ? entry : entry.slice(0, slash);
  const address = parseAddress(text);
  // Addresses are compared without their zone, so such an entry would let in more than it says.
  if (address === undefined || text.includes("%")) throw unreadable(entry, where);
  const width = WIDTH[address.family];
  if (slash < 0) return { ...address, prefix: width };
  const digits = entry.slice(slash + 1);
  const written = isIPv6(text) ? 128 : width;
  if (!PREFIX.test(digits) || Number(digits) > written) {
    throw new LakeError("invalid", `${where} is ${quoted(entry)}: the prefix has to be 0 to ${written}.`, {
      hint: FORMS_HINT,
    });
  }
  const prefix = Number(digits) - (written - width);
  if (prefix < 0) {
    throw new LakeError("invalid", `${where} is ${quoted(entry)}, which is wider than all of IPv4.`, {
      hint: 'For all of IPv4 write "0.0.0.0/0", for all of IPv6 "::/0".',
    });
  }
  const network = networkAt(address, prefix);
  if (network === address.text) return { ...address, prefix };
  throw new LakeError("invalid", `${where} is ${quoted(entry)}, which is an address inside a network, not a network.`, {
    hint: `Write "${network}/${prefix}" for the network or "${address.text}" for the address.`,
  });
}

function unreadable(entry: string, where: string): LakeError {
  return new LakeError("invalid", `${where} is ${quoted(entry)}, which is neither an IP address nor a network.`, {
    hint: FORMS_HINT,
  });
}

function contains(allowlist: Allowlist, { family, text }: Address): boolean {
  return allowlist[family].check(text, family);
}

function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { family: "ipv4", text };
  if (!isIPv6(text)) return undefined;
  const address = urlForm(text.replace(/%.*$/, ""));
  const [, high, low] = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(address) ?? [];
  if (high === undefined || low === undefined) return { family: "ipv6", text: address };
  const bytes = [high, low].map((group) => Number.parseInt(group, 16)).flatMap((group) => [group >> 8, group & 0xff]);
  return { family: "ipv4", text: bytes.join(".") };
}

/** With hexadecimal groups and at most one `::`. */
function urlForm(ipv6: string): string {
  return withoutBrackets(new URL(`http://[${ipv6}]`).hostname);
}

/** The address with all bits after the first `prefix` ones zero. */
function networkAt({ family, text }: Address, prefix: number): string {
  const bits = family === "ipv4" ? 8 : 16;
  const masked = groupsOf(text, family).map((group, at) => {
    const zeros = Math.min(Math.max((at + 1) * bits - prefix, 0), bits);
    return (group >> zeros) << zeros;
  });
  return family === "ipv4" ? masked.join(".") : urlForm(masked.map((group) => group.toString(16)).join(":"));
}

function groupsOf(text: string, family: Family): number[] {
  if (family === "ipv4") return text.split(".").map(Number);
  const [left = [], right = []] = text.split("::").map((half) => half.split(":").filter((group) => group !== ""));
  const zeros = new Array<string>(8 - left.length - right.length).fill("0");
  return [...left, ...zeros, ...right].map((group) => Number.parseInt(group, 16));
}

function withoutBrackets(text: string): string {
  return text.replace(/^\[(.*)\]$/, "$1");
}

/** Some proxies add the port: `203.0.113.9:4711`, `[2001:db8::1]:4711`. */
function withoutPort(hop: string): string {
  return /^\[([^\]]*)\](?::\d{1,5})?$/.exec(hop)?.[1] ?? /^([\d.]+):\d{1,5}$/.exec(hop)?.[1] ?? hop;
}
