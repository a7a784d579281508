import { convertToOpenAITool } from "@langchain/core/utils/function_calling";
import { LangChainAdapter } from "mcp-use/adapters";
import { MCPClient } from "mcp-use/client";
import { bearer, drive, said } from "../drive.mjs";

drive(async (server) => {
  const { url } = server;
  const client = MCPClient.fromDict({
    mcpServers: { lakehouse: url === undefined ? server : { url, headers: bearer(server) } },
  });
  const session = await client.createSession("lakehouse");
  return {
    list: async () => (await session.listTools()).map(({ name }) => name),
    call: async ({ tool, args }, { signal, report }) =>
      said(await session.callTool(tool, args, { signal, onprogress: report })),
    resources: async () => (await session.listAllResources()).resources.map(({ uri }) => uri),
    read: async (uri) => (await session.readResource(uri)).contents[0].text,
    declared: async () => {
      const tools = await LangChainAdapter.createTools(client);
      return Object.fromEntries(tools.map((tool) => [tool.name, convertToOpenAITool(tool).function.parameters]));
    },
    close: () => client.closeAllSessions(),
  };
});
