import { BaseLlm, InMemoryRunner, LlmAgent, MCPToolset } from "@google/adk";
import { bearer, drive, said } from "../drive.mjs";

drive(async (server) => {
  const toolset = new MCPToolset(
    server.command === undefined
      ? {
          type: "StreamableHTTPConnectionParams",
          url: server.url,
          transportOptions: { requestInit: { headers: bearer(server) } },
        }
      : { type: "StdioConnectionParams", serverParams: server },
  );
  const tools = await toolset.getTools();
  return {
    list: async () => (await toolset.getTools()).map(({ name }) => name),
    call: async ({ tool, args }, { signal }) =>
      said(await tools.find(({ name }) => name === tool).runAsync({ args, toolContext: { abortSignal: signal } })),
    resources: async () => {
      const listed = [];
      for (const name of await toolset.listResources()) listed.push(await toolset.getResourceInfo(name));
      return listed.map(({ uri }) => uri);
    },
    // It knows resources by their names alone, and ours have the last part of the address for theirs.
    read: async (uri) => (await toolset.readResource(uri.split("/").at(-1)))[0].text,
    declared: async () => {
      const model = new Recording({ model: "recording" });
      const runner = new InMemoryRunner({
        agent: new LlmAgent({ name: "tester", model, tools: [toolset] }),
        appName: "test",
      });
      const session = await runner.sessionService.createSession({ appName: "test", userId: "tester" });
      const newMessage = { role: "user", parts: [{ text: "Which tools are there?" }] };
      for await (const { errorMessage } of runner.runAsync({ userId: "tester", sessionId: session.id, newMessage })) {
        if (errorMessage) throw new Error(errorMessage);
      }
      const functions = model.config.tools.flatMap(({ functionDeclarations }) => functionDeclarations ?? []);
      return Object.fromEntries(functions.map(({ name, parameters }) => [name, parameters]));
    },
    close: () => toolset.close(),
  };
});

/** Says nothing of interest, and keeps what it was sent. */
class Recording extends BaseLlm {
  async *generateContentAsync({ config }) {
    this.config = config;
    yield { content: { role: "model", parts: [{ text: "Many." }] } };
  }
}
