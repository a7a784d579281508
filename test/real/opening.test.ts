import { cp, mkdir, readdir, rename, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MAIN, openWorkspace, type Workspace } from "./process.ts";

let workspace: Workspace;
beforeAll(async () => {
  workspace = await openWorkspace();
});
afterAll(() => workspace[Symbol.asyncDispose]());

test("what could not be loaded is loaded by the next call", async () => {
  const copy = join(workspace.folder, "copy");
  const dist = dirname(MAIN);
  await mkdir(copy);
  await cp(dist, join(copy, "dist"), { recursive: true });
  await cp(join(dist, "../package.json"), join(copy, "package.json"));
  await symlink(join(dist, "../node_modules"), join(copy, "node_modules"));
  const chunks = join(copy, "dist/chunks");
  const name = (await readdir(chunks)).find((each) => /^ingest-[A-Z0-9]+\.js$/.test(each));
  expect(name).toBeDefined();
  const part = join(chunks, name ?? "");
  await rename(part, `${part}.away`);
  const server = await workspace.start({ main: join(copy, "dist/main.js") });
  const select = { sql: "SELECT 42 AS answer" };
  await expect(server.call("sql", select)).rejects.toThrow("internal");
  await rename(`${part}.away`, part);
  expect(await server.call("sql", select)).toMatchObject({ rows: [[42]] });
  const loaded = await server.call("ingest", { name: "later", text: "a,b\n1,2\n" });
  expect(loaded).toMatchObject({ version: 1 });
});
