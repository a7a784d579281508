import { describe, expect, test } from "vitest";
import { allowedHosts, judgeHost } from "../../../src/transport/gates/host.ts";
import { refused } from "./refused.ts";

const rulesFor = (host: string, extra: string[] = []) => allowedHosts({ bind: { host, port: 3110 }, extra });
const LOCAL = rulesFor("127.0.0.1");
const status = (headers: { host?: string; origin?: string }, rules = LOCAL, raw: string[] = []) =>
  judgeHost(headers, rules, raw)?.status;

describe("a server on loopback", () => {
  test.each([
    "localhost",
    "localhost:3110",
    "localhost:1",
    "LOCALHOST:3110",
    "localhost.:3110",
    "127.0.0.1",
    "127.0.0.1:3110",
    "127.9.8.7:80",
    "[::1]",
    "[::1]:3110",
    "[0:0:0:0:0:0:0:1]:3110",
    "[::ffff:127.0.0.1]:3110",
  ])("answers to Host: %s", (host) => {
    expect(status({ host })).toBeUndefined();
  });

  test.each([
    "evil.example",
    "evil.example:3110",
    "localhost.evil.example",
    "127.0.0.1.nip.io:3110",
    "a.localhost",
    "localhosts",
    "10.0.0.1:3110",
    "0.0.0.0:3110",
    "[::]:3110",
    "[::2]:3110",
    "126.0.0.1",
  ])("refuses Host: %s with 403", (host) => {
    expect(status({ host })).toBe(403);
  });

  test.each([
    undefined,
    "",
    " ",
    "localhost:",
    "localhost:x",
    "localhost:65536",
    "localhost:123456",
    "localhost:80:80",
    "user@localhost",
    "localhost@evil.example",
    "evil.example:80@localhost",
    "localhost,evil.example",
    "localhost, localhost",
    "localhost evil.example",
    "localhost/",
    "localhost?",
    "localhost#",
    "localhost\\",
    "http://localhost",
    "::1",
    "[::1",
    "::1]",
    "[[::1]]",
    "[::1]evil.example",
    "[127.0.0.1]",
    "[localhost]",
    "127.1",
    "0x7f.1",
    "2130706433",
    "127.0.0.1.",
    "localhost..",
    ".localhost",
    "loc%61lhost",
    "localhost\u0000",
    "localhost\n",
    "ｌocalhost",
  ])("refuses the malformed or missing Host %j with 400", (host) => {
    expect(status(host === undefined ? {} : { host })).toBe(400);
  });

  test.each([
    undefined,
    "http://localhost",
    "http://localhost:5173",
    "https://localhost:3110",
    "HTTP://LOCALHOST",
    "http://127.0.0.1:6274",
    "http://[::1]:3110",
  ])("lets Origin %s call", (origin) => {
    expect(status({ host: "localhost:3110", ...(origin !== undefined && { origin }) })).toBeUndefined();
  });

  test.each([
    "null",
    "",
    "*",
    "http://evil.example",
    "http://evil.example:3110",
    "http://localhost.evil.example",
    "http://localhost@evil.example",
    "http://evil.example@localhost",
    "http://localhost, http://evil.example",
    "http://localhost, http://localhost",
    "http://localhost/",
    "http://localhost/path",
    "http://localhost#.evil.example",
    "http://",
    "localhost",
    "//localhost",
    "file://localhost",
    "chrome-extension://localhost",
    "ws://localhost",
    "http:localhost",
    "http://0.0.0.0",
    "http://10.0.0.1",
    "http://127.1",
  ])("refuses Origin %j with 403", (origin) => {
    expect(status({ host: "localhost:3110", origin })).toBe(403);
  });

  test("refuses a rebound name though it is its own origin", () => {
    expect(status({ host: "evil.example:3110", origin: "http://evil.example:3110" })).toBe(403);
  });
});

test("two Host headers are refused, whatever they say", () => {
  const raw = ["Host", "localhost", "Accept", "host", "hOST", "localhost"];
  expect(status({ host: "localhost" }, LOCAL, raw)).toBe(400);
  expect(status({ host: "localhost" }, LOCAL, raw.slice(0, 4))).toBeUndefined();
});

describe("a server on one address", () => {
  const rules = rulesFor("192.0.2.7");

  test.each(["192.0.2.7:3110", "192.0.2.7", "[::ffff:192.0.2.7]:80", "localhost:3110"])("answers to %s", (host) => {
    expect(status({ host }, rules)).toBeUndefined();
  });

  test.each(["192.0.2.8:3110", "lake.example.com", "[::7]:3110"])("refuses %s", (host) => {
    expect(status({ host }, rules)).toBe(403);
  });

  test("takes its own pages, not those of whoever looks on from localhost or from another address", () => {
    expect(status({ host: "192.0.2.7:3110", origin: "http://192.0.2.7:8080" }, rules)).toBeUndefined();
    expect(status({ host: "192.0.2.7:3110", origin: "http://localhost:5173" }, rules)).toBe(403);
    expect(status({ host: "192.0.2.7:3110", origin: "http://192.0.2.8" }, rules)).toBe(403);
  });
});

test("a server on an address of IPv6, or on a name, answers to it in any spelling", () => {
  expect(status({ host: "[2001:DB8:0::7]:3110" }, rulesFor("2001:db8::7"))).toBeUndefined();
  expect(status({ host: "[fe80::1]:3110" }, rulesFor("fe80::1%eth0"))).toBeUndefined();
  expect(status({ host: "Lake.Example.com.:3110" }, rulesFor("lake.example.com"))).toBeUndefined();
  expect(status({ host: "other.example.com:3110" }, rulesFor("lake.example.com"))).toBe(403);
});

describe.each(["0.0.0.0", "::", "::ffff:0.0.0.0"])("a server on every interface (%s)", (bind) => {
  test("takes any address for its own, and no name", () => {
    const rules = rulesFor(bind);
    for (const host of ["203.0.113.9:3110", "[2001:db8::1]", "localhost", "127.0.0.1:1"]) {
      expect(status({ host }, rules)).toBeUndefined();
    }
    for (const host of ["lake.example.com", "evil.example:3110"]) expect(status({ host }, rules)).toBe(403);
  });

  test("takes pages of the address asked for only", () => {
    const rules = rulesFor(bind);
    expect(status({ host: "10.0.0.5:3110", origin: "http://10.0.0.5:3110" }, rules)).toBeUndefined();
    expect(status({ host: "10.0.0.5:3110", origin: "http://203.0.113.66" }, rules)).toBe(403);
    expect(status({ host: "10.0.0.5:3110", origin: "http://localhost" }, rules)).toBe(403);
  });

  test("answers to its names, and no more to any address, once it has names", () => {
    const rules = rulesFor(bind, ["lake.example.com", "203.0.113.9"]);
    for (const host of ["lake.example.com", "LAKE.example.com:443", "203.0.113.9:3110", "localhost"]) {
      expect(status({ host }, rules)).toBeUndefined();
    }
    for (const host of ["203.0.113.10", "[2001:db8::1]", "a.lake.example.com", "example.com"]) {
      expect(status({ host }, rules)).toBe(403);
    }
    expect(status({ host: "203.0.113.9", origin: "https://lake.example.com" }, rules)).toBeUndefined();
    expect(status({ host: "lake.example.com", origin: "https://evil.example" }, rules)).toBe(403);
    expect(status({ host: "lake.example.com", origin: "null" }, rules)).toBe(403);
  });
});

test.each<[string, string]>([
  ["Lake.Example.com.", "lake.example.com"],
  [" lake ", "lake"],
  ["bücher.example", "xn--bcher-kva.example"],
  ["2001:DB8::1", "[2001:db8::1]"],
  ["[2001:db8::1]", "[2001:db8:0::1]:3110"],
  ["lake_house", "lake_house:80"],
])("allowed_hosts takes %j for Host: %s", (entry, host) => {
  expect(status({ host })).toBe(403);
  expect(status({ host }, rulesFor("127.0.0.1", [entry]))).toBeUndefined();
});

test.each([
  "",
  "*",
  "*.example.com",
  "https://lake.example.com",
  "lake.example.com:3110",
  "lake.example.com/mcp",
  "user@lake.example.com",
  "a,b",
  "a b",
  "10.0.0.0/8",
  "10.0.0",
  "[fe80::1%eth0]",
  "[::1]:3110",
])("allowed_hosts refuses %j", (entry) => {
  const error = refused(() => rulesFor("127.0.0.1", ["fine.example", entry]));
  expect(error.kind).toBe("invalid");
  expect(error.message).toContain(`allowed_hosts[1] is ${JSON.stringify(entry)}`);
  expect(error.hint).toContain("lake.example.com");
});

test("a host named null does not let the origin null in", () => {
  expect(status({ host: "localhost", origin: "null" }, rulesFor("127.0.0.1", ["null"]))).toBe(403);
});

test("a refusal does not repeat what was sent", () => {
  const host = judgeHost({ host: "evil.example" }, LOCAL);
  const origin = judgeHost({ host: "localhost", origin: "http://evil.example" }, LOCAL);
  expect(JSON.stringify([host, origin])).not.toContain("evil");
  expect(host?.message).toContain("allowed_hosts");
  expect(origin?.message).toContain("allowed_hosts");
});
