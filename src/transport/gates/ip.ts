import { BlockList, isIPv4, isIPv6 } from "node:net";
import { quoted } from "../../engine/catalog/nearest.ts";
import { LakeError } from "../../engine/kernel/errors.ts";
import type { Refusal } from "./refusal.ts";

/**
 * Networks that addresses may belong to. Without any it lets nobody in. Apart by family, because in one `BlockList` an
 * IPv6 network such as `::/0` has IPv4 addresses, too.
 */
export type Allowlist = Record<Family, BlockList>;

type Family = "ipv4" | "ipv6";

/** `text` is in the one spelling of the address, as in a URL. */
interface Address {
  family: Family;
  text: string;
}

const WIDTH = { ipv4: 32, ipv6: 128 } as const;
const PREFIX = /^(?:0|[1-9]\d{0,2})$/;
const FORMS_HINT = 'Write an address or a network in CIDR form, such as "10.0.0.5", "10.0.0.0/8", "2001:db8::/32".';

/**
 * Reads addresses and CIDR networks, of IPv4 and IPv6; an IPv4-mapped one (`::ffff:10.0.0.0/104`) counts as IPv4, and no
 * IPv6 network contains IPv4 addresses: everything is `0.0.0.0/0` and `::/0`. Throws `invalid` for the first entry that
 * is neither, because a list that lost an entry may let in the wrong ones. `setting` is where the entries stand.
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

/** Refuses what is not in the list, and what is no address. Undefined: no list was configured, all may pass. */
export function judgeAddress(address: string, allowlist: Allowlist | undefined): Refusal | undefined {
  if (allowlist === undefined) return undefined;
  if (isListed(address, allowlist)) return undefined;
  return { status: 403, message: "Your address is not on this server's allowlist." };
}

/** One spelling for each address: IPv4-mapped as IPv4, without zone, lower case. Undefined if `text` is none. */
export function normalAddress(text: string): string | undefined {
  return parseAddress(text)?.text;
}

/** What one client has of addresses: one of IPv4, all of a /64 of IPv6. A text that is no address stays as it is. */
export function networkOf(text: string): string {
  const address = parseAddress(text);
  if (address === undefined) return text;
  return address.family === "ipv4" ? address.text : networkAt(address, 64);
}

/** Whether an address is in the list. */
export function isListed(address: string, allowlist: Allowlist): boolean {
  const parsed = parseAddress(address);
  return parsed !== undefined && contains(allowlist, parsed);
}

function parseEntry(entry: string, where: string): Address & { prefix: number } {
  const slash = entry.indexOf("/");
  const text = slash < 0 ? entry : entry.slice(0, slash);
  const address = parseAddress(text);
  // A zone names an interface of this machine; addresses are compared without, so the entry would let in more.
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

/** Of all spellings the one with groups of hexadecimal digits and at most one `::`. */
function urlForm(ipv6: string): string {
  return withoutBrackets(new URL(`http://[${ipv6}]`).hostname);
}

/** The address with all but its first `prefix` bits zero. */
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
