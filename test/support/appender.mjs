// One of several processes that append real rows to one dataset, on the build: `node appender.mjs <settings as JSON> <writer> <appends>`
import { openEngine } from "../../.build/src/engine/engine.js";
import { systemClock } from "../../.build/src/engine/settings.js";

const [settings, writer, appends] = process.argv.slice(2);
const engine = await openEngine({ ...JSON.parse(settings), clock: systemClock, log: () => undefined });
await engine.warm();
process.send?.("ready");
await new Promise((resolve) => process.once("message", resolve));

const acknowledged = [];
for (let i = 0; i < Number(appends); i++) {
  const id = `${writer}-${i}`;
  const { version } = await engine.ingest({
    name: "shared",
    source: { text: `id,n\n${id},1\n${id},2\n` },
    mode: "append",
  });
  acknowledged.push({ version, id });
}
process.send(acknowledged, () => process.disconnect());
await engine.close();
