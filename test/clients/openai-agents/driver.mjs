import { Agent, MCPServerStdio, MCPServerStreamableHttp, run, setTracingDisabled, Usage } from "@openai/agents";
import { bearer, drive, said } from "../drive.mjs";

setTracingDisabled(true);

drive(async (server) => {
  const client =
    server.command === undefined
      ? new MCPServerStreamableHttp({ url: server.url, requestInit: { headers: bearer(server) } })
      : new MCPServerStdio(server);
  await client.connect();
  return {
    list: async () => (await client.listTools()).map(({ name }) => name),
    call: async ({ tool, args }, { signal }) => said(await client.callToolResult(tool, args, undefined, { signal })),
    resources: async () => (await client.listResources()).resources.map(({ uri }) => uri),
    read: async (uri) => (await client.readResource(uri)).contents[0].text,
    declared: async () => {
      let sent;
      const model = {
        getResponse: async (request) => {
          sent = request.tools;
          const output = [
            {
              type: "message",
              role: "assistant",
              status: "completed",
              content: [{ type: "output_text", text: "Many." }],
            },
          ];
          return { output, usage: new Usage() };
        },
      };
      const agent = new Agent({
        name: "tester",
        model,
        mcpServers: [client],
        mcpConfig: { convertSchemasToStrict: process.argv[2] === "strict" },
      });
      await run(agent, "Which tools are there?");
      const loose = sent.filter(({ strict }) => strict !== (process.argv[2] === "strict"));
      if (loose.length > 0) throw new Error(`Not as strict as asked for: ${loose.map(({ name }) => name)}`);
      return Object.fromEntries(sent.map(({ name, parameters }) => [name, parameters]));
    },
    close: () => client.close(),
  };
});
