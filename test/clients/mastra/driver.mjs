import { Agent } from "@mastra/core/agent";
import { MCPClient } from "@mastra/mcp";
import { bearer, drive, said } from "../drive.mjs";

drive(async (server) => {
  let report = () => {};
  const client = new MCPClient({
    id: crypto.randomUUID(),
    servers: {
      lakehouse: {
        ...(server.command === undefined
          ? { url: new URL(server.url), requestInit: { headers: bearer(server) } }
          : server),
        enableProgressTracking: true,
      },
    },
  });
  await client.progress.onUpdate("lakehouse", (progress) => report(progress));
  const tools = await client.listTools();
  const own = (name) => name.replace(/^lakehouse_/, "");
  return {
    list: async () => Object.keys(await client.listTools()).map(own),
    call: async ({ tool, args }, options) => {
      report = options.report;
      const output = await tools[`lakehouse_${tool}`].execute(args, { abortSignal: options.signal });
      if (output.error === true) return { error: output.message };
      return output.isError === undefined ? { structured: output } : said(output);
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
      const agent = new Agent({ id: "tester", name: "tester", instructions: "Answer.", model, tools });
      await agent.generate("Which tools are there?");
      return Object.fromEntries(sent.map(({ name, inputSchema }) => [own(name), inputSchema]));
    },
    close: () => client.disconnect(),
  };
});
