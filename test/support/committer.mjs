// One of several processes that commit to one dataset, on the build:
// `node committer.mjs <folder> <writer> <commits>`
import { openCatalog } from "../../.build/src/engine/catalog/catalog.js";
import { dataKey, schemaFingerprint } from "../../.build/src/engine/catalog/identity.js";
import { openScope } from "../../.build/src/engine/kernel/scope.js";
import { systemClock } from "../../.build/src/engine/settings.js";
import { openFileStore } from "../../.build/src/engine/store/file.js";

const [folder, writer, commits] = process.argv.slice(2);
const scope = openScope();
const store = await openFileStore(scope, { folder, label: folder });
const catalog = await openCatalog(scope, store, {
  refreshMs: 0,
  clock: systemClock,
  log: () => undefined,
  engineVersion: "test",
});
const columns = [{ id: 1, name: "a", type: "VARCHAR" }];
process.send?.("ready");
await new Promise((resolve) => process.once("message", resolve));

const acknowledged = [];
for (let i = 0; i < Number(commits); i++) {
  const sha256 = Buffer.from(`writer ${writer} commit ${i}`.padEnd(32)).toString("hex");
  const key = dataKey("shared", schemaFingerprint(columns), sha256);
  const { manifest } = await catalog.commit("shared", (current) => ({
    kind: "table",
    dropped: false,
    columns,
    files: [...(current?.files ?? []), { key, bytes: 1, rows: 1, sourceHash: `test:${writer}-${i}`, stats: {} }],
    provenance: { operation: "append", source: `${writer}`, sourceHash: `test:${writer}-${i}`, options: {} },
  }));
  acknowledged.push({ version: manifest.version, commitId: manifest.commitId, key });
}
process.send?.(acknowledged, () => process.disconnect());
await scope.close();
