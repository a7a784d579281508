import { expect, test } from "vitest";
import { clientAddress, judgeAddress, normalAddress, parseAllowlist } from "../../../src/transport/gates/ip.ts";
import { refused } from "./refused.ts";

const passes = (entries: string[], address: string): boolean =>
  judgeAddress(address, parseAllowlist(entries)) === undefined;

test.each<[string, string[], string[]]>([
  ["10.0.0.5", ["10.0.0.5", "::ffff:10.0.0.5", "::FFFF:0a00:5"], ["10.0.0.4", "10.0.0.6", "::10.0.0.5", "::a00:5"]],
  ["10.0.0.5/32", ["10.0.0.5"], ["10.0.0.4", "10.0.0.6"]],
  ["10.0.0.4/31", ["10.0.0.4", "10.0.0.5"], ["10.0.0.3", "10.0.0.6"]],
  ["10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], ["9.255.255.255", "11.0.0.0"]],
  ["172.16.0.0/12", ["172.16.0.0", "172.31.255.255"], ["172.15.255.255", "172.32.0.0"]],
  ["128.0.0.0/1", ["128.0.0.0", "255.255.255.255"], ["127.255.255.255"]],
  ["0.0.0.0/0", ["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], ["::", "2001:db8::1", "::1"]],
  ["::/0", ["::", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], ["0.0.0.0", "10.0.0.1", "::ffff:10.0.0.1"]],
  ["::1", ["::1", "0:0:0:0:0:0:0:1", "::0001"], ["::2", "::", "127.0.0.1"]],
  ["2001:db8::/32", ["2001:db8::", "2001:DB8:ffff::1"], ["2001:db7:ffff::", "2001:db9::"]],
  ["2001:db8::1/128", ["2001:db8::1", "2001:db8:0:0::1"], ["2001:db8::2", "2001:db8::"]],
  ["2001:db8::2/127", ["2001:db8::2", "2001:db8::3"], ["2001:db8::1", "2001:db8::4"]],
  ["fe80::/10", ["fe80::1%eth0", "febf::1"], ["fec0::1", "fe7f::1"]],
  ["::ffff:10.0.0.0/104", ["10.0.0.1", "10.255.255.255"], ["11.0.0.0", "::a00:1"]],
  ["::ffff:10.0.0.5", ["10.0.0.5"], ["10.0.0.6"]],
  ["::ffff:10.0.0.5/128", ["10.0.0.5"], ["10.0.0.4"]],
  ["::ffff:0:0/96", ["1.2.3.4", "255.255.255.255"], ["2001:db8::1"]],
  ["  10.0.0.5  ", ["10.0.0.5"], ["10.0.0.6"]],
])("the entry %j lets in %j and not %j", (entry, inside, outside) => {
  expect(inside.filter((address) => !passes([entry], address))).toEqual([]);
  expect(outside.filter((address) => passes([entry], address))).toEqual([]);
});

test("every entry counts, in whatever order they stand", () => {
  for (const entries of [
    ["192.0.2.7", "2001:db8::/32", "10.0.0.0/8"],
    ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"],
  ]) {
    expect(["192.0.2.7", "2001:db8::5", "10.9.9.9"].every((address) => passes(entries, address))).toBe(true);
    expect(["192.0.2.8", "2001:db9::5", "11.0.0.1"].some((address) => passes(entries, address))).toBe(false);
  }
});

test.each<[string, string]>([
  ["", "neither an IP address nor a network"],
  ["localhost", "neither an IP address nor a network"],
  ["*", "neither an IP address nor a network"],
  ["all", "neither an IP address nor a network"],
  ["10.0.0", "neither an IP address nor a network"],
  ["10.0.0.256", "neither an IP address nor a network"],
  ["010.0.0.1", "neither an IP address nor a network"],
  ["10.0.0.1 10.0.0.2", "neither an IP address nor a network"],
  ["10.0.0.1,10.0.0.2", "neither an IP address nor a network"],
  ["10.0.0.1:80", "neither an IP address nor a network"],
  ["[::1]", "neither an IP address nor a network"],
  ["1:2:3", "neither an IP address nor a network"],
  ["::1::", "neither an IP address nor a network"],
  ["fe80::1%eth0", "neither an IP address nor a network"],
  ["/8", "neither an IP address nor a network"],
  ["10.0.0.0/", "prefix has to be 0 to 32"],
  ["10.0.0.0/33", "prefix has to be 0 to 32"],
  ["10.0.0.0/-1", "prefix has to be 0 to 32"],
  ["10.0.0.0/08", "prefix has to be 0 to 32"],
  ["10.0.0.0/8.0", "prefix has to be 0 to 32"],
  ["10.0.0.0/0x8", "prefix has to be 0 to 32"],
  ["10.0.0.0/ 8", "prefix has to be 0 to 32"],
  ["10.0.0.0/8/8", "prefix has to be 0 to 32"],
  ["10.0.0.0/255.0.0.0", "prefix has to be 0 to 32"],
  ["2001:db8::/129", "prefix has to be 0 to 128"],
  ["::ffff:10.0.0.0/129", "prefix has to be 0 to 128"],
  ["::ffff:10.0.0.0/8", "wider than all of IPv4"],
  ["::ffff:0:0/95", "wider than all of IPv4"],
])("the entry %j is refused: %s", (entry, why) => {
  const error = refused(() => parseAllowlist(["10.0.0.1", entry], "allowed_ips"));
  expect(error.kind).toBe("invalid");
  expect(error.message).toContain(why);
  expect(error.message).toContain(`allowed_ips[1] is ${JSON.stringify(entry)}`);
  expect(error.hint).toContain("rite");
});

test.each([
  ["10.0.0.5/8", "10.0.0.0/8", "10.0.0.5"],
  ["10.0.0.1/31", "10.0.0.0/31", "10.0.0.1"],
  ["1.2.3.4/0", "0.0.0.0/0", "1.2.3.4"],
  ["2001:db8::1/32", "2001:db8::/32", "2001:db8::1"],
  ["::1/0", "::/0", "::1"],
  ["2001:DB8::1/127", "2001:db8::/127", "2001:db8::1"],
  ["::ffff:10.0.0.5/104", "10.0.0.0/8", "10.0.0.5"],
])("the entry %j is refused with %j or %j as what was meant", (entry, network, address) => {
  const error = refused(() => parseAllowlist([entry]));
  expect(error.message).toContain(JSON.stringify(entry));
  expect(error.hint).toContain(`"${network}" for the network or "${address}" for the address`);
});

test("a long entry is cut in the message", () => {
  expect(refused(() => parseAllowlist(["x".repeat(5000)])).message.length).toBeLessThan(200);
});

test("no list lets all in, an empty one nobody, and what is no address passes no list", () => {
  expect(judgeAddress("203.0.113.9", undefined)).toBeUndefined();
  expect(judgeAddress("127.0.0.1", parseAllowlist([]))).toMatchObject({ status: 403 });
  for (const address of ["", "unknown", "10.0.0.1, 10.0.0.1", "10.0.0.1:80"]) {
    expect(judgeAddress(address, parseAllowlist(["0.0.0.0/0", "::/0"]))).toMatchObject({ status: 403 });
  }
  expect(judgeAddress("203.0.113.9", parseAllowlist(["10.0.0.0/8"]))).toEqual({
    status: 403,
    message: "Your address is not on this server's allowlist.",
  });
});

const PROXIES = ["10.0.0.0/8", "fd00::/8"];

test.each<[string, string, string | string[] | undefined, string]>([
  ["no header", "10.0.0.1", undefined, "10.0.0.1"],
  ["one client", "10.0.0.1", "203.0.113.9", "203.0.113.9"],
  ["a mapped peer", "::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"],
  ["a v6 peer", "fd00::1", "2001:DB8::9", "2001:db8::9"],
  ["a peer that is not trusted", "203.0.113.50", "10.0.0.7", "203.0.113.50"],
  ["a mapped peer that is not trusted", "::ffff:203.0.113.50", "10.0.0.7", "203.0.113.50"],
  ["something invented on the left", "10.0.0.1", "127.0.0.1, 203.0.113.9", "203.0.113.9"],
  ["a trusted address invented on the left", "10.0.0.1", "10.9.9.9, 203.0.113.9", "203.0.113.9"],
  ["garbage invented on the left", "10.0.0.1", "<script>, 203.0.113.9", "203.0.113.9"],
  ["two proxies", "10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"],
  ["two proxies and an invention", "10.0.0.1", "192.0.2.1, 203.0.113.9,10.0.0.2 ", "203.0.113.9"],
  ["proxies only", "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
  ["several headers", "10.0.0.1", ["192.0.2.1", "203.0.113.9, 10.0.0.2"], "203.0.113.9"],
  ["several headers, the last deciding", "10.0.0.1", ["192.0.2.1", "203.0.113.9"], "203.0.113.9"],
  ["a mapped client", "10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"],
  ["a client with a port", "10.0.0.1", "203.0.113.9:4711", "203.0.113.9"],
  ["a v6 client with a port", "10.0.0.1", "[2001:db8::9]:4711", "2001:db8::9"],
  ["a v6 client in brackets", "10.0.0.1", "[2001:db8::9]", "2001:db8::9"],
  ["an empty header", "10.0.0.1", "", "10.0.0.1"],
  ["nothing at the end", "10.0.0.1", "203.0.113.9,", "10.0.0.1"],
  ["unknown", "10.0.0.1", "unknown", "10.0.0.1"],
  ["garbage between proxies", "10.0.0.1", "203.0.113.9, _hidden, 10.0.0.2", "10.0.0.1"],
  ["a name", "10.0.0.1", "localhost", "10.0.0.1"],
  ["a bad port", "10.0.0.1", "203.0.113.9:x", "10.0.0.1"],
  ["no list of headers", "10.0.0.1", [], "10.0.0.1"],
])("the client behind %s is found", (_, peer, header, client) => {
  expect(clientAddress(peer, header, parseAllowlist(PROXIES))).toBe(client);
});

test("without trusted proxies nothing of the header is believed", () => {
  expect(clientAddress("10.0.0.1", "203.0.113.9", undefined)).toBe("10.0.0.1");
  expect(clientAddress("10.0.0.1", "203.0.113.9", parseAllowlist([]))).toBe("10.0.0.1");
  expect(clientAddress("::FFFF:10.0.0.1", undefined, undefined)).toBe("10.0.0.1");
  expect(clientAddress("", "127.0.0.1", parseAllowlist(["0.0.0.0/0"]))).toBe("");
});

test.each([
  ["::ffff:7f00:1", "127.0.0.1"],
  ["2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"],
  ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
  ["1::", "1::"],
  ["::", "::"],
  ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
  ["64:ff9b::192.0.2.1", "64:ff9b::c000:201"],
  ["fe80::1%eth0", "fe80::1"],
  ["1.2.3.4", "1.2.3.4"],
  ["1.2.3", undefined],
])("%s is written %s", (text, normal) => {
  expect(normalAddress(text)).toBe(normal);
});
