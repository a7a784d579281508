import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tools } from "../../src/tools/index.ts";
import { MAIN, openWorkspace, type Workspace } from "../real/process.ts";
import { connect, type Served, serve, TOKEN } from "../real/serve.ts";
import { type Driven, type Driver, type Said, type Server, startDriver } from "./driven.ts";
import { problemsOf } from "./schema-problems.ts";

type Ability = "resources" | "progress" | "cancel" | "declared";

export interface ClientUnderTest extends Driver {
  name: string;
  /** Default: both. */
  transports?: readonly ("stdio" | "http")[];
  /** What this client has no way to do. */
  lacks?: readonly Ability[];
  /** What it has no way to do over stdio, besides. */
  lacksOverStdio?: readonly Ability[];
  /** Whether it holds arguments against our schema before it sends them. */
  validates?: boolean;
  /** Whether it starts its server, or itself and so its server or session, for every call. */
  starts?: "server" | "itself";
  /** What it may print of the schemas. Default: nothing. */
  complaints?: RegExp;
  /** What it loses, or makes wrong, of the schemas, as `tool: problem`. Default: nothing. */
  loses?: string[];
  /** What it calls a tool towards a model. Default: as the tool is called. */
  named?: (tool: string) => string;
}

const MAX_PER_CALLER = 6;
const VISITS = 9;
const SETTINGS = ["--embed-provider", "builtin", "--max-concurrent-queries", "1"];
const WORKERS = "id,name,state,skill,rate\n1,Ann,IL,forklift,25\n2,Bob,TX,welding,31\n3,Cyd,IL,packing,19\n4,Dee,,,\n";
const ENDLESS = {
  sql: "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 7",
  timeout_ms: 60_000,
};

interface Under {
  client: ClientUnderTest;
  transport: "stdio" | "http";
  /** Once everything is open. */
  open(): Open;
  call(tool: string, args: object): Promise<unknown>;
  /** Milliseconds after which a call has reached the server, and runs. */
  untilItRuns: number;
}

/** What every client has to be able to do with the built server. */
export function testClient(client: ClientUnderTest): void {
  const { transports = ["stdio", "http"], starts } = client;
  describe.each(transports)(`${client.name} over %s`, { timeout: 180_000 }, (transport) => {
    let opened: Open | undefined;
    const open = (): Open => {
      if (opened === undefined) throw new Error("Nothing is open.");
      return opened;
    };
    const call = (tool: string, args: object) => answered(open().driven.call(tool, args));
    beforeAll(async () => {
      opened = await openClient(client, transport);
      expect(await call("ingest", { name: "workers", text: WORKERS })).toMatchObject({ rows: 4, unchanged: false });
    }, 400_000);
    afterAll(() => opened?.[Symbol.asyncDispose]());

    const under: Under = { client, transport, open, call, untilItRuns: starts === undefined ? 600 : 4_000 };
    testSql(under);
    testVectors(under);
    testAbilities(under);
    // A start for each of these calls too would take minutes, and show nothing of the client that its other calls do not.
    if (starts === "itself") return;
    testAllTools(under);
    testConnections(under);
  });
}

function testAllTools({ client, transport, open, call }: Under): void {
  test("loads files, texts and queries", async () => {
    const path = await open().workspace.file("sites.csv", "site,open\nA,true\nB,false\n");
    expect(await call("ingest", { name: "sites", path })).toMatchObject({ rows: 2, rows_written: 2 });
    const more = { name: "sites", text: "site,open\nC,true\n", mode: "append" };
    expect(await call("ingest", more)).toMatchObject({ rows: 3 });
    const sql = "SELECT site FROM sites WHERE open";
    expect(await call("ingest", { name: "open_sites", sql })).toMatchObject({ rows: 2 });
  });

  test("gets the results of all other tools", async () => {
    const { datasets } = (await call("catalog-list", { search: "work" })) as { datasets: unknown[] };
    expect(datasets).toMatchObject([{ name: "workers", rows: 4 }]);
    const sql = "SELECT NULL::INTEGER AS nothing, [1, NULL] AS list, {'a': 1} AS struct";
    await call("ingest", { name: "empty", sql });
    expect(await call("catalog-describe", { name: "empty" })).toMatchObject({
      columns: [{ name: "nothing", type: "INTEGER", min: null, max: null }, {}, {}],
    });
    expect(await call("sql", { sql: "SELECT * FROM empty" })).toMatchObject({ rows: [[null, [1, null], { a: 1 }]] });
    const { vectors } = (await call("embed", { texts: ["a", "b"] })) as { vectors: number[][] };
    expect(vectors.map((each) => each.length)).toEqual([512, 512]);
    const later = { name: "later", text: "n\n1\n", background: true };
    const { job_id } = (await call("ingest", later)) as { job_id: string };
    const job = await call("job-status", { job_id, wait_ms: 20_000 });
    // A server that is started for a call ends with it, and so does what it has gone on with.
    if (client.starts !== undefined && transport === "stdio") expect(job).toMatchObject({ kind: "ingest" });
    else expect(job).toMatchObject({ state: "done", result: { rows: 1 } });
    expect(await call("job-cancel", { job_id })).toMatchObject({ job_id });
    expect(await call("dataset-drop", { name: "empty" })).toMatchObject({ name: "empty" });
  });
}

function testSql({ client, open, call }: Under): void {
  test("lists every tool", async () => {
    const names = await open().driven.list();
    expect(names).toHaveLength(tools.length);
    expect(new Set(names)).toEqual(new Set(tools.map(({ name }) => name)));
  });

  test("asks with a list of values", async () => {
    const sql = "SELECT id, name FROM workers WHERE state = $1 AND rate > $2 ORDER BY id";
    expect(await call("sql", { sql, params: ["IL", 20] })).toMatchObject({ rows: [[1, "Ann"]] });
    if (client.starts === "itself") return;
    const nothing = "SELECT count(*)::INTEGER FROM workers WHERE state IS NOT DISTINCT FROM $1 OR $2";
    expect(await call("sql", { sql: nothing, params: [null, false] })).toMatchObject({ rows: [[1]] });
  });

  const named = "SELECT id, name FROM workers WHERE state = $state AND rate < $most ORDER BY id";
  const numbered = "SELECT name FROM workers WHERE state = $1 AND id > $2";
  const forms: [string, { sql: string; params: unknown }, unknown[][]][] = [
    ["an object of values", { sql: named, params: { state: "IL", most: 20.5 } }, [[3, "Cyd"]]],
    ["an object of numbered values", { sql: numbered, params: { 1: "IL", 2: 1 } }, [["Cyd"]]],
    ["the text of a list", { sql: numbered, params: '["IL", 1]' }, [["Cyd"]]],
    ["the text of an object", { sql: named, params: '{"state": "IL", "most": 20.5}' }, [[3, "Cyd"]]],
  ];
  test.each(client.starts === "itself" ? forms.slice(0, 1) : forms)(
    "asks with %s, or is told that a list is wanted",
    async (_form, args, rows) => {
      const { structured, error } = await said(open().driven.call("sql", args));
      if (client.validates) expect(error).toMatch(/params[\s\S]*array|array[\s\S]*params|match expected schema/);
      else expect(structured).toMatchObject({ rows });
    },
  );

  if (!client.validates && client.starts !== "itself") {
    test("may write null for what it leaves out, and texts for numbers", async () => {
      const nulls = { sql: "FROM range(9) ORDER BY ALL", params: null, timeout_ms: null, max_rows: "2" };
      expect(await call("sql", nulls)).toMatchObject({ rows: [[0], [1]], truncated: true });
    });
  }

  test("is told what is wrong with a call, and what to do", async () => {
    const refused = await said(open().driven.call("sql", { sql: "SELECT nope FROM workers" }));
    expect(refused.error).toMatch(/Referenced column "nope" not found/);
    expect(refused.error).toContain("Next: DESCRIBE workers lists columns.");
    if (client.starts === "itself") return;
    const unknown = await said(open().driven.call("catalog-describe", { name: "nowhere" }));
    expect(unknown.error).toContain("catalog-list");
  });
}

function testVectors({ client, call }: Under): void {
  test("makes an index, and finds in it by text, by vector and by an item", async () => {
    const made = await call("vector-index-create", { name: "skills", dataset: "workers", text: "skill", id: "id" });
    expect(made).toMatchObject({ index: "skills", count: 3, skipped: 1 });
    const search = { index: "skills", k: 2, where: "state = 'IL'", include: ["row", "text"] };
    expect(await call("vector-search", { ...search, text: "forklift" })).toMatchObject({
      hits: [{ id: "1", text: "forklift", row: { name: "Ann" } }, { id: "3" }],
    });
    if (client.starts === "itself") return;
    expect(await call("vector-search", { index: "skills", like_id: "1" })).toMatchObject({ hits: [{}, {}] });
    const joined = "SELECT name FROM vector_search('skills', $1, 1) v JOIN workers w ON w.id::VARCHAR = v.id";
    expect(await call("sql", { sql: joined, params: ["welding"] })).toMatchObject({ rows: [["Bob"]] });
  });

  test("puts vectors and metadata into an index, and takes them out", async () => {
    await call("vector-index-create", { name: "points", dimension: 2, metric: "l2" });
    const metadata = { shift: "night", tags: ["x", 1, null] };
    const items = [
      { id: "a", vector: [0.5, -1], metadata: JSON.stringify(metadata) },
      { id: "b", vector: [3, 4.25], ...(!client.validates && { metadata }) },
    ];
    expect(await call("vector-upsert", { index: "points", items })).toMatchObject({ inserted: 2, count: 2 });
    const near = await call("vector-search", { index: "points", vector: [0, -1], k: 2, include: ["vector"] });
    const second = { id: "b", metadata: client.validates ? null : metadata, vector: [3, 4.25] };
    expect(near).toMatchObject({ hits: [{ id: "a", metadata, vector: [0.5, -1] }, second] });
    if (client.starts === "itself") return;
    expect(await call("vector-delete", { index: "points", ids: ["b", "z"] })).toMatchObject({ missing: ["z"] });
    expect(await call("vector-delete", { index: "points", all: true })).toMatchObject({ dropped: true });
  });
}

function testAbilities({ client, transport, open, call, untilItRuns }: Under): void {
  const { lacks = [], lacksOverStdio = [], named = (tool) => tool } = client;
  const can = (ability: Ability): boolean =>
    !lacks.includes(ability) && (transport === "http" || !lacksOverStdio.includes(ability));

  if (can("resources")) {
    test("lists and reads resources", async () => {
      const listed = await open().driven.resources();
      expect(listed).toEqual(expect.arrayContaining(["lakehouse://catalog", "lakehouse://embed/stats"]));
      expect(JSON.parse(await open().driven.read("lakehouse://datasets/workers"))).toMatchObject({ rows: 4 });
    });
  }

  if (can("progress")) {
    test("is told of progress", async () => {
      const told: { progress: number }[] = [];
      const onProgress = (progress: unknown) => void told.push(progress as { progress: number });
      const rows = Array.from({ length: 1_000 }, (_, n) => `${n}`).join("\n");
      await answered(open().driven.call("ingest", { name: "numbers", text: `n\n${rows}\n` }, { onProgress }));
      const values = told.map(({ progress }) => progress);
      // What comes in one piece with the result, these clients drop.
      expect(values[0]).toBe(0);
      expect(values).toEqual([...new Set(values)].sort((a, b) => a - b));
      expect(told[0]).toMatchObject({ total: 1, message: expect.any(String) });
    });
  }

  if (can("cancel")) {
    test("stops a statement: its only place is free again", async () => {
      const abort = new AbortController();
      const endless = said(open().driven.call("sql", ENDLESS, { signal: abort.signal }));
      setTimeout(() => abort.abort(), untilItRuns);
      expect((await endless).error).toBeDefined();
      if (client.starts === "itself") await open().isFree();
      expect(await call("sql", { sql: "SELECT 1", timeout_ms: 20_000 })).toMatchObject({ rows: [[1]] });
    });
  }

  if (can("declared")) {
    test("makes schemas of the tools that models take", async () => {
      const declared = await open().driven.declared();
      const problems = tools.flatMap((tool) => {
        const schema = declared[named(tool.name)];
        if (schema === undefined) return [`${tool.name}: is not there`];
        return problemsOf(schema, Object.keys(tool.input.shape)).map((problem) => `${tool.name}: ${problem}`);
      });
      expect(problems).toEqual(client.loses ?? []);
    });
  }

  test("has nothing to say against the schemas", () => {
    const lines = open().driven.output().split("\n");
    const own = lines.filter((line) => !line.startsWith('{"time"') && client.complaints?.test(line) !== true);
    expect(own.filter((line) => /schema|strict mode/i.test(line))).toEqual([]);
  });
}

function testConnections({ transport, open, untilItRuns }: Under): void {
  if (transport === "http") {
    test("connects more often than one caller may have sessions, and is never turned away", async () => {
      for (let n = 0; n < VISITS; n++) await open().driven.visit(open().server);
    });
  }

  test("leaves nothing that runs when it goes away without a word", async () => {
    const endless = said(open().driven.call("sql", ENDLESS));
    await new Promise((resolve) => setTimeout(resolve, untilItRuns));
    await open().driven.kill();
    await endless;
    await open().isFree();
  });
}

/** The structured part of an answer. */
async function answered(call: Promise<Said>): Promise<unknown> {
  const { structured, error } = await said(call);
  expect(error).toBeUndefined();
  return structured;
}

/** Clients differ in whether an error of a tool is thrown. */
const said = (call: Promise<Said>): Promise<Said> => call.catch((error: Error) => ({ error: error.message }));

interface Open extends AsyncDisposable {
  driven: Driven;
  server: Server;
  workspace: Workspace;
  /** Whether what the client has started has ended. */
  isFree(): Promise<void>;
}

async function openClient(client: ClientUnderTest, transport: "stdio" | "http"): Promise<Open> {
  const workspace = await openWorkspace();
  const inbox = ["--allow", join(workspace.folder, "inbox")];
  const served =
    transport === "http"
      ? await serve(workspace, [...SETTINGS, ...inbox, "--max-per-caller", String(MAX_PER_CALLER)], {
          LAKEHOUSE_HTTP_TOKEN: `ann:${TOKEN}`,
        })
      : undefined;
  const lake = join(workspace.folder, "lake");
  const server: Server =
    served === undefined
      ? {
          command: process.execPath,
          args: [MAIN, "--data", lake, ...SETTINGS, ...inbox],
          env: { PATH: process.env.PATH ?? "" },
          cwd: workspace.folder,
        }
      : { url: served.url, token: TOKEN };
  const driven = await startDriver(client);
  const close = async (): Promise<void> => {
    await driven[Symbol.asyncDispose]();
    await served?.[Symbol.asyncDispose]();
    await workspace[Symbol.asyncDispose]();
  };
  await driven.connect(server).catch(async (error: Error) => {
    await close();
    throw error;
  });
  return {
    driven,
    server,
    workspace,
    isFree: () => (served === undefined ? expectNoServer(lake) : expectPlace(served)),
    [Symbol.asyncDispose]: close,
  };
}

async function expectPlace({ url }: Served): Promise<void> {
  const other = await connect(url, "modern");
  const result = await other.callTool({ name: "sql", arguments: { sql: "SELECT 1", timeout_ms: 20_000 } });
  expect(result.structuredContent).toMatchObject({ rows: [[1]] });
  await other.close();
}

/** Of those that a client has started, each with the lake among its arguments. */
async function expectNoServer(lake: string): Promise<void> {
  await expect.poll(() => commandLines().filter((line) => line.includes(lake)), { timeout: 20_000 }).toEqual([]);
}

function commandLines(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return "";
      }
    });
}
