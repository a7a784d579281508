import { Duplex, PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { openFrames } from "../../../src/engine/process/frames.ts";

function pair() {
  const [there, back] = [new PassThrough(), new PassThrough()];
  return [Duplex.from({ readable: back, writable: there }), Duplex.from({ readable: there, writable: back })] as const;
}

test("messages of any size come whole and in order, however they are cut", async () => {
  const stream = new PassThrough();
  const bodies: string[] = [];
  openFrames(
    stream,
    (body) => bodies.push(body.toString()),
    () => {},
  );
  const wanted = ["", "a", "é".repeat(1000), "x".repeat(100_000), "last"];
  const bytes = Buffer.concat(
    wanted.map((text) => {
      const body = Buffer.from(text);
      const header = Buffer.alloc(4);
      header.writeUInt32LE(body.length);
      return Buffer.concat([header, body]);
    }),
  );
  for (let at = 0; at < bytes.length; at += 7919) stream.write(bytes.subarray(at, at + 7919));
  for (const byte of Buffer.from([3, 0, 0, 0, 97, 98, 99])) stream.write(Buffer.from([byte]));
  await new Promise(setImmediate);
  expect(bodies).toEqual([...wanted, "abc"]);
});

test("what is sent arrives, and the end is told once", async () => {
  const [a, b] = pair();
  const bodies: string[] = [];
  let ends = 0;
  const { send } = openFrames(
    a,
    () => {},
    () => {},
  );
  openFrames(
    b,
    (body) => bodies.push(body.toString()),
    () => ends++,
  );
  await send(Buffer.from("one"));
  await send(Buffer.from("y".repeat(300_000)));
  a.end();
  a.destroy();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(bodies.map((body) => body.length)).toEqual([3, 300_000]);
  expect(ends).toBe(1);
});

test("a message that says it is too long ends the connection before its bytes are kept", async () => {
  const stream = new PassThrough();
  let ended = false;
  openFrames(
    stream,
    () => expect.fail("a message"),
    () => {
      ended = true;
    },
  );
  stream.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]));
  await new Promise(setImmediate);
  expect([ended, stream.destroyed]).toEqual([true, true]);
});
