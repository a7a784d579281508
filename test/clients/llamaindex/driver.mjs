import { mcp } from "@llamaindex/tools";
import { bearer, drive, said } from "../drive.mjs";

drive(async (server) => {
  const { url } = server;
  const client = mcp(url === undefined ? server : { url, requestInit: { headers: bearer(server) } });
  const tools = await client.tools();
  return {
    list: async () => tools.map(({ metadata }) => metadata.name),
    call: async ({ tool, args }) => said(await tools.find(({ metadata }) => metadata.name === tool).call(args)),
    declared: async () => Object.fromEntries(tools.map(({ metadata }) => [metadata.name, metadata.parameters])),
    close: () => client.cleanup(),
  };
});
