import { defineCommand } from "./command.ts";

export const list = defineCommand({
  name: "list",
  summary: "List the datasets.",
  usage: [""],
  flags: {},
  run: async (_given, { engine, out }) => {
    const { datasets } = await (await engine()).list();
    for (const { name } of datasets) await out.write(`${name}\n`);
    return 0;
  },
});
