import { request } from "node:http";
import { networkInterfaces } from "node:os";
import { describe, expect, test } from "vitest";
import { INITIALIZE, JSON_HEADERS, openHttpLake } from "./http-lake.ts";

const TOKEN = "ann-0123456789abcdef";
const HAS_IPV6 = Object.values(networkInterfaces()).some((of) => of?.some(({ address }) => address === "::1"));

/** What comes back to a peer that connects from, and to, these addresses. */
function ask(port: number, { to, from, forwarded }: { to: string; from?: string; forwarded?: string }) {
  const headers = {
    ...JSON_HEADERS,
    host: "localhost",
    authorization: `Bearer ${TOKEN}`,
    ...(forwarded !== undefined && { "x-forwarded-for": forwarded }),
  };
  return new Promise<number>((resolve, reject) => {
    const options = { host: to, port, method: "POST", path: "/mcp", headers, agent: false };
    const outgoing = request(from === undefined ? options : { ...options, localAddress: from }, (response) => {
      response.resume().on("end", () => resolve(response.statusCode ?? 0));
    });
    outgoing.on("error", reject);
    outgoing.end(INITIALIZE);
  });
}

async function open(host: string, addresses: string[], proxies: string[] = []) {
  const lake = await openHttpLake({
    gates: { bind: { host, port: 0 }, allowNonLoopback: "1", token: `ann:${TOKEN}`, addresses, proxies },
  });
  return { lake, port: Number(lake.server.address.slice(lake.server.address.lastIndexOf(":") + 1)) };
}

// Every address of 127.0.0.0/8 is this machine on Linux, so that edges of ranges can be real peers.
test.skipIf(process.platform !== "linux")("peers on both sides of a range's edges", async () => {
  const { lake, port } = await open("127.0.0.1", ["127.0.0.8/30", "127.0.0.77"]);
  await using _ = lake;
  for (const [from, status] of [
    ["127.0.0.7", 403],
    ["127.0.0.8", 200],
    ["127.0.0.11", 200],
    ["127.0.0.12", 403],
    ["127.0.0.76", 403],
    ["127.0.0.77", 200],
  ] as const) {
    expect(await ask(port, { to: "127.0.0.1", from }), from).toBe(status);
  }
});

test.skipIf(process.platform !== "linux")("a header of a peer that is no trusted proxy says nothing", async () => {
  const { lake, port } = await open("127.0.0.1", ["192.0.2.0/24"], ["127.0.0.2"]);
  await using _ = lake;
  const forwarded = "192.0.2.7";
  expect(await ask(port, { to: "127.0.0.1", from: "127.0.0.2", forwarded })).toBe(200);
  expect(await ask(port, { to: "127.0.0.1", from: "127.0.0.3", forwarded })).toBe(403);
  expect(await ask(port, { to: "127.0.0.1", from: "127.0.0.2" })).toBe(403);
});

describe.skipIf(!HAS_IPV6 && !process.env.CI)("over IPv6", () => {
  test("a peer is compared with IPv6 addresses and ranges", async () => {
    for (const [addresses, status] of [
      [["::1"], 200],
      [["::/126"], 200],
      [["::2/127"], 403],
      [["127.0.0.1"], 403],
      [["::ffff:127.0.0.1"], 403],
    ] as const) {
      const { lake, port } = await open("::1", [...addresses]);
      await using _ = lake;
      expect(await ask(port, { to: "::1" }), addresses.join()).toBe(status);
    }
  });

  test("an IPv4 peer of a socket for both is an IPv4 peer", async () => {
    for (const [addresses, v4, v6] of [
      [["127.0.0.1"], 200, 403],
      [["127.0.0.0/8"], 200, 403],
      [["::1"], 403, 200],
      [["10.0.0.0/8"], 403, 403],
    ] as const) {
      const { lake, port } = await open("::", [...addresses]);
      await using _ = lake;
      expect(await ask(port, { to: "127.0.0.1" }), addresses.join()).toBe(v4);
      expect(await ask(port, { to: "::1" }), addresses.join()).toBe(v6);
    }
  });
});
