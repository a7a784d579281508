import { convertToOpenAITool } from "@langchain/core/utils/function_calling";
import { MultiServerMCPClient } from "@langchain/mcp-adapters";
import { bearer, drive } from "../drive.mjs";

drive(async (server) => {
  let report = () => {};
  const client = new MultiServerMCPClient({
    mcpServers: {
      lakehouse:
        server.command === undefined
          ? { transport: "http", url: server.url, headers: bearer(server) }
          : { transport: "stdio", ...server },
    },
    onProgress: (progress) => report(progress),
  });
  const tools = await client.getTools();
  return {
    list: async () => (await client.getTools()).map(({ name }) => name),
    call: async ({ tool, args }, options) => {
      report = options.report;
      const output = await tools.find(({ name }) => name === tool).invoke(args, { signal: options.signal });
      return { text: output.text, structured: output.structuredContent };
    },
    resources: async () => (await client.listResources()).lakehouse.map(({ uri }) => uri),
    read: async (uri) => (await client.readResource("lakehouse", uri))[0].text,
    declared: async () =>
      Object.fromEntries(tools.map((tool) => [tool.name, convertToOpenAITool(tool).function.parameters])),
    close: () => client.close(),
  };
});
