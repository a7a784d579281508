import { createMcpClient } from "@genkit-ai/mcp";
import { genkit } from "genkit";
import { bearer, drive } from "../drive.mjs";

drive(async (server) => {
  const ai = genkit({});
  const { url } = server;
  const mcpServer = url === undefined ? server : { url, requestInit: { headers: bearer(server) } };
  const client = createMcpClient({ name: "lakehouse", serverName: "lakehouse", mcpServer });
  await client.ready();
  const tools = await client.getActiveTools(ai);
  const own = (name) => name.replace(/^lakehouse\//, "");
  return {
    list: async () => (await client.getActiveTools(ai)).map(({ __action }) => own(__action.name)),
    call: async ({ tool, args }) => {
      const output = await tools.find(({ __action }) => own(__action.name) === tool)(args);
      return output.error === undefined ? { structured: output } : { error: output.error };
    },
    resources: async () => {
      const resources = await client.getActiveResources(ai);
      return resources.flatMap(({ __action }) => __action.metadata.resource.uri ?? []);
    },
    read: async (uri) => {
      const resources = await client.getActiveResources(ai);
      const resource = resources.find((each) => each.matches({ uri }));
      return (await resource.attach(ai.registry)({ uri })).content[0].text;
    },
    declared: async () => {
      let sent;
      const model = ai.defineModel({ name: "recording", supports: { tools: true } }, async (request) => {
        sent = request.tools;
        return { message: { role: "model", content: [{ text: "Many." }] }, finishReason: "stop" };
      });
      await ai.generate({ model, prompt: "Which tools are there?", tools });
      return Object.fromEntries(sent.map(({ name, inputSchema }) => [own(name), inputSchema]));
    },
    close: () => client.disable(),
  };
});
