import { Agent } from "@mastra/core/agent";
import { RuntimeContext } from "@mastra/core/runtime-context";
import { MCPClient } from "@mastra/mcp";
import { bearer, drive, said } from "../drive.mjs";

drive(async (server) => {
  const client = new MCPClient({
    id: crypto.randomUUID(),
    servers: {
      lakehouse:
        server.command === undefined ? { url: new URL(server.url), requestInit: { headers: bearer(server) } } : server,
    },
  });
  const tools = await client.getTools();
  const own = (name) => name.replace(/^lakehouse_/, "");
  return {
    list: async () => Object.keys(tools).map(own),
    call: async ({ tool, args }) => {
      const output = await tools[`lakehouse_${tool}`].execute({ context: args, runtimeContext: new RuntimeContext() });
      if (output.error === true) return { error: output.message };
      return output.content === undefined ? { structured: output } : said(output);
    },
    resources: async () => (await client.resources.list()).lakehouse.map(({ uri }) => uri),
    read: async (uri) => (await client.resources.read("lakehouse", uri)).contents[0].text,
    declared: async () => {
      let sent;
      const answer = [{ type: "text", text: "Many." }];
      const ends = { finishReason: "stop", usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 } };
      const model = {
        specificationVersion: "v2",
        provider: "test",
        modelId: "recording",
        supportedUrls: {},
        doGenerate: async (options) => {
          sent = options.tools;
          return { content: answer, ...ends, warnings: [] };
        },
        doStream: async (options) => {
          sent = options.tools;
          const parts = [
            { type: "stream-start", warnings: [] },
            { type: "text-start", id: "1" },
            { type: "text-delta", id: "1", delta: "Many." },
            { type: "text-end", id: "1" },
            { type: "finish", ...ends },
          ];
          return { stream: ReadableStream.from(parts) };
        },
      };
      await new Agent({ name: "tester", instructions: "Answer.", model, tools }).generate("Which tools are there?");
      return Object.fromEntries(sent.map(({ name, inputSchema }) => [own(name), inputSchema]));
    },
    close: () => client.disconnect(),
  };
});
