// One of several processes that write to one vector index, on the build: `node upserter.mjs <settings as JSON> <writer> <upserts>`
import { openEngine } from "../../.build/src/engine/engine.js";
import { systemClock } from "../../.build/src/engine/settings.js";

const [settings, writer, upserts] = process.argv.slice(2);
const engine = await openEngine({ ...JSON.parse(settings), clock: systemClock, log: () => undefined });
await engine.warm();
process.send?.("ready");
await new Promise((resolve) => process.once("message", resolve));

const acknowledged = [];
for (let i = 0; i < Number(upserts); i++) {
  const id = `${writer}-${i}`;
  const { version } = await engine.upsert("shared", [{ id, vector: [Number(writer) + 1, i + 1, 1] }]);
  acknowledged.push({ version, id });
}
process.send?.(acknowledged, () => process.disconnect());
await engine.close();
