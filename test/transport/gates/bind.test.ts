import { expect, test } from "vitest";
import { quoted } from "../../../src/engine/catalog/nearest.ts";
import { assertBindAllowed, isLoopback, parseBind } from "../../../src/transport/gates/bind.ts";
import { refused } from "./refused.ts";

test.each<[string, string, number]>([
  ["127.0.0.1:3110", "127.0.0.1", 3110],
  ["localhost:3110", "localhost", 3110],
  ["LocalHost:3110", "localhost", 3110],
  ["[::1]:3110", "::1", 3110],
  ["[0:0:0:0:0:0:0:1]:3110", "::1", 3110],
  [":3110", "::", 3110],
  ["0.0.0.0:80", "0.0.0.0", 80],
  ["[::]:1", "::", 1],
  ["[::ffff:127.0.0.1]:5", "127.0.0.1", 5],
  ["[fe80::1%eth0]:3110", "fe80::1%eth0", 3110],
  ["host.name:3110", "host.name", 3110],
  ["lake_house-1:3110", "lake_house-1", 3110],
  ["3110", "127.0.0.1", 3110],
  ["0", "127.0.0.1", 0],
  ["127.0.0.1:0", "127.0.0.1", 0],
  ["65535", "127.0.0.1", 65_535],
  [" 127.0.0.1:3110 ", "127.0.0.1", 3110],
])("http = %j listens on %s, port %i", (text, host, port) => {
  expect(parseBind(text)).toEqual({ host, port });
});

test.each<[string, string]>([
  ["", "has no port"],
  ["localhost", "has no port"],
  ["127.0.0.1", "has no port"],
  ["127.0.0.1:", "has no port"],
  ["[::1]", "has no port"],
  ["127.0.0.1:http", "has no port"],
  ["127.0.0.1:-1", "has no port"],
  ["127.0.0.1:3110/mcp", "has no port"],
  ["127.0.0.1:3110.5", "has no port"],
  ["-1", "has no port"],
  ["3e3", "has no port"],
  ["65536", "has a port above 65535"],
  ["127.0.0.1:65536", "has a port above 65535"],
  ["127.0.0.1:99999999999999999999", "has a port above 65535"],
  ["::1:3110", "without brackets"],
  ["::1", "without brackets"],
  ["fe80::1:3110", "without brackets"],
  ["http://localhost:3110", "neither a name nor an address"],
  ["*:3110", "neither a name nor an address"],
  ["127.1:3110", "neither a name nor an address"],
  ["2130706433:3110", "neither a name nor an address"],
  ["0x7f000001:3110", "neither a name nor an address"],
  ["256.0.0.1:3110", "neither a name nor an address"],
  ["[localhost]:3110", "neither a name nor an address"],
  ["[127.0.0.1]:3110", "neither a name nor an address"],
  ["[::1:3110", "neither a name nor an address"],
  ["user@localhost:3110", "neither a name nor an address"],
  ["local host:3110", "neither a name nor an address"],
  ["-host:3110", "neither a name nor an address"],
  ["a..b:3110", "neither a name nor an address"],
  ["localhost:1:2", "neither a name nor an address"],
  [`${"a".repeat(64)}:1`, "neither a name nor an address"],
])("http = %j is refused: it %s", (text, why) => {
  const error = refused(() => parseBind(text));
  expect(error.kind).toBe("invalid");
  expect(error.message).toContain(`http is ${quoted(text)}`);
  expect(error.message).toContain(why);
  expect(error.hint).toContain('"127.0.0.1:3110", "[::1]:3110", "localhost:3110"');
  expect(error.hint).toContain('"0.0.0.0:3110" or ":3110"');
});

const LOCAL = [
  "127.0.0.1",
  "127.0.0.2",
  "127.255.255.255",
  "::1",
  "[::1]",
  "0:0:0:0:0:0:0:1",
  "::ffff:127.0.0.1",
  "::FFFF:7f00:1",
  "localhost",
  "LOCALHOST",
  "localhost.",
];
const REMOTE = [
  "0.0.0.0",
  "::",
  "::ffff:0.0.0.0",
  "126.255.255.255",
  "128.0.0.0",
  "10.0.0.1",
  "::2",
  "::127.0.0.1",
  "fe80::1",
  "localhost.localdomain",
  "localhost.example.com",
  "a.localhost",
  "notlocalhost",
  "127.0.0.1.nip.io",
  "127.1",
  "2130706433",
  "lake.example.com",
  "",
  " localhost",
  "127.0.0.1\n10.0.0.1",
];

test.each(LOCAL)("%j is loopback, and may be open", (host) => {
  expect(isLoopback(host)).toBe(true);
  expect(() => assertBindAllowed({ host }, { hasTokens: false, allowNonLoopback: undefined })).not.toThrow();
});

test.each(REMOTE)("%j is not loopback, and wants a token and a word", (host) => {
  expect(isLoopback(host)).toBe(false);
  for (const allowNonLoopback of [undefined, "1"]) {
    const error = refused(() => assertBindAllowed({ host }, { hasTokens: false, allowNonLoopback }));
    expect(error.kind).toBe("denied");
    expect(error.message).toContain(`http is set to the host ${JSON.stringify(host)}`);
    expect(error.hint).toContain("LAKEHOUSE_HTTP_TOKEN, http_token_file or oauth_issuer");
    expect(error.hint).toContain('set http to "127.0.0.1:3110"');
  }
  expect(() => assertBindAllowed({ host }, { hasTokens: true, allowNonLoopback: "1" })).not.toThrow();
});

test.each<[string | undefined, string]>([
  [undefined, "not set"],
  ["", '""'],
  ["0", '"0"'],
  ["true", '"true"'],
  ["yes", '"yes"'],
  ["1 ", '"1 "'],
  [" 1", '" 1"'],
  ["01", '"01"'],
  ["11", '"11"'],
  ["１", '"１"'],
])("with a token, LAKEHOUSE_ALLOW_NONLOOPBACK = %j is not 1", (allowNonLoopback, shown) => {
  const error = refused(() => assertBindAllowed({ host: "0.0.0.0" }, { hasTokens: true, allowNonLoopback }));
  expect(error.kind).toBe("denied");
  expect(error.message).toContain(`LAKEHOUSE_ALLOW_NONLOOPBACK is ${shown}.`);
  expect(error.hint).toContain("LAKEHOUSE_ALLOW_NONLOOPBACK to exactly 1");
});
