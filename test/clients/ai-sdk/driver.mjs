import { createMCPClient } from "@ai-sdk/mcp";
import { Experimental_StdioMCPTransport as StdioTransport } from "@ai-sdk/mcp/mcp-stdio";
import { generateText } from "ai";
import { MockLanguageModelV4 } from "ai/test";
import { bearer, drive, said } from "../drive.mjs";

drive(async (server) => {
  const client = await createMCPClient({
    transport:
      server.command === undefined
        ? { type: "http", url: server.url, headers: bearer(server) }
        : new StdioTransport(server),
  });
  const tools = await client.tools();
  return {
    list: async () => Object.keys(await client.tools()),
    call: async ({ tool, args }, { signal }) =>
      said(await tools[tool].execute(args, { toolCallId: "1", messages: [], abortSignal: signal })),
    resources: async () => (await client.listResources()).resources.map(({ uri }) => uri),
    read: async (uri) => (await client.readResource({ uri })).contents[0].text,
    declared: async () => {
      let sent;
      const model = new MockLanguageModelV4({
        doGenerate: async (options) => {
          sent = options.tools;
          const tokens = { total: 1 };
          return {
            content: [{ type: "text", text: "Many." }],
            finishReason: { unified: "stop" },
            usage: { inputTokens: tokens, outputTokens: tokens },
            warnings: [],
          };
        },
      });
      await generateText({ model, tools, prompt: "Which tools are there?" });
      return Object.fromEntries(sent.map(({ name, inputSchema }) => [name, inputSchema]));
    },
    close: () => client.close(),
  };
});
