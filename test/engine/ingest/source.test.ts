import { execFileSync, spawn } from "node:child_process";
import { appendFile, chmod, mkdir, readFile, symlink, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { detect } from "../../../src/engine/ingest/detect.ts";
import { openFile } from "../../../src/engine/ingest/source.ts";
import { LakeError } from "../../../src/engine/kernel/errors.ts";
import { inScope, openScope } from "../../../src/engine/kernel/scope.ts";
import { type Ingesting, openIngesting } from "../../support/ingesting.ts";

let lake: Ingesting;

beforeAll(async () => {
  lake = await openIngesting({ maxIngestBytes: 1000 });
  await writeFile(join(lake.folder, "secret.csv"), "a\n1\n");
  await mkdir(join(lake.inbox, "sub"));
});
afterAll(() => lake[Symbol.asyncDispose]());

/** A folder and a link to another, in turn under one name. */
const EXCHANGE = `const { renameSync } = require("node:fs"); const at = (name) => process.argv[1] + "/" + name;
for (;;) {
  renameSync(at("real"), at("kept")); renameSync(at("link"), at("real"));
  renameSync(at("real"), at("link")); renameSync(at("kept"), at("real"));
}`;

const refused = (path: string) => lake.refused({ source: { path } });

describe("paths", () => {
  it("may be relative to the first allowed folder, absolute, or a symlink that stays inside", async () => {
    await lake.file("in.csv", "a\n1\n");
    await symlink(join(lake.inbox, "in.csv"), join(lake.inbox, "sub", "link.csv"));
    for (const path of ["in.csv", join(lake.inbox, "in.csv"), "sub/link.csv", "sub/../in.csv"]) {
      expect((await lake.ingest({ source: { path } })).rows).toBe(1);
    }
  });

  it("are refused outside, by every way out, with the allowed folders", async () => {
    await symlink(join(lake.folder, "secret.csv"), join(lake.inbox, "out.csv"));
    await symlink(lake.folder, join(lake.inbox, "up"));
    const ways = [
      "../secret.csv",
      join(lake.folder, "secret.csv"),
      "out.csv",
      "up/secret.csv",
      "/etc/passwd",
      "../absent.csv",
      `${lake.inbox}-2/x.csv`,
    ];
    for (const path of ways) {
      const error = await refused(path);
      expect([path, error.kind, error.message]).toEqual([
        path,
        "denied",
        `${path} is not inside a folder that ingest may read.`,
      ]);
      expect(error.hint).toBe(`Allowed: ${lake.inbox}`);
    }
  });

  it("never lead outside while a folder is exchanged for a link", { tags: ["slow"] }, async () => {
    const box = join(lake.inbox, "race");
    await mkdir(join(box, "real"), { recursive: true });
    await mkdir(join(lake.folder, "outside"));
    await writeFile(join(box, "real", "data.csv"), "where\ninside\n");
    await writeFile(join(lake.folder, "outside", "data.csv"), "where\noutside\n");
    await symlink(join(lake.folder, "outside"), join(box, "link"));
    const exchanging = spawn(process.execPath, ["-e", EXCHANGE, box]);
    try {
      const outcomes = { inside: 0, refused: 0 };
      const limits = {
        allow: [lake.inbox],
        maxIngestBytes: 1000,
        folder: lake.folder,
        lake: join(lake.folder, "lake"),
      };
      const until = performance.now() + 3000;
      while (performance.now() < until || outcomes.inside === 0) {
        await inScope(async (scope) => {
          const source = await openFile(scope, "race/real/data.csv", limits).catch((error: unknown) => {
            expect(error).toBeInstanceOf(LakeError);
            outcomes.refused++;
          });
          if (!source) return;
          expect(await readFile(source.path, "utf8")).toContain("inside");
          outcomes.inside++;
        });
      }
      expect(outcomes.refused).toBeGreaterThan(0);
      for (let round = 0; round < 20; round++) {
        const result = await lake.ingest({ source: { path: "race/real/data.csv" } }).catch(() => undefined);
        if (result) expect(JSON.stringify(await lake.rows("t"))).toContain("inside");
      }
    } finally {
      exchanging.kill();
    }
  });

  it("are refused when they name no regular file, without waiting for one", async () => {
    execFileSync("mkfifo", [join(lake.inbox, "fifo.csv")]);
    const server = createServer();
    await new Promise<void>((done) => server.listen(join(lake.inbox, "socket.csv"), done));
    expect((await refused("fifo.csv")).message).toBe("fifo.csv is a FIFO, not a file.");
    expect((await refused("socket.csv")).message).toBe("socket.csv is a socket, not a file.");
    expect((await refused("sub")).message).toBe("sub is a folder, not a file.");
    server.close();
  });

  it("are refused when nothing is there, or nothing in it", async () => {
    expect(await refused("absent.csv")).toMatchObject({ kind: "not_found", message: "There is no file absent.csv." });
    expect(await refused("in.csv/x")).toMatchObject({ kind: "not_found" });
    expect(await refused("")).toMatchObject({ kind: "invalid" });
    expect(await refused("a\0b")).toMatchObject({ kind: "invalid" });
    await lake.file("empty.csv", "");
    expect(await refused("empty.csv")).toMatchObject({ kind: "invalid", message: "empty.csv is empty." });
  });

  it("may look like patterns, and are not taken for any", async () => {
    await lake.file("r1.csv", "wrong\n0\n");
    for (const name of ["r[1].csv", "r*.csv", "r?.csv"]) {
      await lake.file(name, "right\n1\n");
      expect((await lake.ingest({ name: "pattern", source: { path: name } })).columns).toEqual([
        { name: "right", type: "BIGINT" },
      ]);
    }
  });

  it("are refused inside the lake, also where that lies in an allowed folder", async () => {
    await using other = await openIngesting();
    await other.ingest({ source: { text: "a\n1\n" } });
    const path = join(other.folder, "lake", "catalog", "t", "00000000000000000001.parquet");
    const error = await other.refused({ name: "copy", source: { path } }, { roots: [other.folder] });
    expect(error.message).toContain("inside the lakehouse itself");
    expect(error.kind).toBe("denied");
  });

  it("are refused when this process may not read them", async () => {
    await lake.file("locked.csv", "a\n1\n");
    await chmod(join(lake.inbox, "locked.csv"), 0);
    // The superuser may read everything, as in a container: be somebody else for a moment.
    const [user, isRoot] = [process.geteuid?.() ?? 1, process.geteuid?.() === 0];
    await chmod(lake.inbox, 0o755);
    await chmod(dirname(lake.inbox), 0o755);
    if (isRoot) process.seteuid?.(65_534);
    try {
      await expect(
        openFile(openScope(), "locked.csv", {
          allow: [lake.inbox],
          maxIngestBytes: 1000,
          folder: lake.folder,
          lake: join(lake.folder, "lake"),
        }),
      ).rejects.toMatchObject({ kind: "denied" });
    } finally {
      if (isRoot) process.seteuid?.(user);
    }
  });

  it("are refused beyond the size cap, naming it", async () => {
    await lake.file("big.csv", `a\n${"1\n".repeat(500)}`);
    const error = await refused("big.csv");
    expect([error.kind, error.message]).toEqual(["limit", "big.csv has 1002 bytes, more than the 1000 of one ingest."]);
    expect(error.hint).toContain("LAKEHOUSE_MAX_INGEST_BYTES");
  });

  it("are read as one file, not one that changes meanwhile", async () => {
    await using other = await openIngesting();
    const text = `a,b\n${Array.from({ length: 300_000 }, (_, index) => `${index},x`).join("\n")}\n`;
    const before = await other.files();
    for (const change of [
      () => appendFile(join(other.inbox, "moving.csv"), "5,y\n"),
      () => utimes(join(other.inbox, "moving.csv"), 1, 1),
    ]) {
      const path = await other.file("moving.csv", text);
      const changed: Promise<void>[] = [];
      const error = await other.refused(
        { source: { path } },
        {
          onProgress: (_, message) => void (message === "converting" && changed.length === 0 && changed.push(change())),
        },
      );
      expect(changed).toHaveLength(1);
      expect([error.kind, error.message]).toEqual([
        "conflict",
        "moving.csv changed while it was read. Nothing was ingested.",
      ]);
    }
    expect(await other.files()).toEqual(before);
  });
});

describe("inline text", () => {
  it("is ingested, and named so", async () => {
    const { rows } = await lake.ingest({ source: { text: "a,b\n1,2\n" }, name: "inline" });
    expect(rows).toBe(1);
    expect((await lake.catalog.load("inline")).provenance.source).toBe("inline text");
  });

  it("has the cap of files, and something in it", async () => {
    expect(await lake.refused({ source: { text: "é".repeat(501) } })).toMatchObject({
      kind: "limit",
      message: "inline text has 1002 bytes, more than the 1000 of one ingest.",
    });
    expect(await lake.refused({ source: { text: " \n" } })).toMatchObject({ kind: "invalid" });
  });
});

describe("format", () => {
  const cases: [string, string | Buffer, string][] = [
    ["a.csv", "{}", "csv"],
    ["a.TSV", "", "tsv"],
    ["a.jsonl", "", "ndjson"],
    ["a.json", "", "json"],
    ["a.parquet", "", "parquet"],
    ["a.feather", "", "arrow"],
    ["a.csv.gz", "", "csv"],
    ["a.ndjson.zst", "", "ndjson"],
    ["a.txt", "x;y\n1;2\n", "csv"],
    ["a", '[{"a": 1}]', "json"],
    ["a", '{"a": 1}\n{"a": 2}\n', "ndjson"],
    ["a", '{\n "a": 1\n}\n', "json"],
    ["a", "PAR1\x15\x04\x15\x10", "parquet"],
    ["a", "ARROW1\0\0", "arrow"],
    ["a", gzipSync('{"a": 1}\n{"a": 2}\n'), "ndjson"],
  ];
  it.each(cases)("of %s with %j is %s", (name, content, expected) => {
    const head = Buffer.from(content as string);
    expect(detect(name, undefined, head, head.length).format).toBe(expected);
  });

  it("is the one asked for, whatever the name", async () => {
    const path = await lake.file("odd.json", "a,b\n1,2\n");
    expect((await lake.ingest({ source: { path }, format: "csv", name: "odd" })).rows).toBe(1);
  });
});
