import { bearer, drive, said } from "../drive.mjs";

const sdk = process.argv[2];
const { Client } = await import(`${sdk}/client/index.js`);
const { StdioClientTransport } = await import(`${sdk}/client/stdio.js`);

drive(async (server) => {
  const client = new Client({ name: "test", version: "1" }, { capabilities: {} });
  await client.connect(await transportTo(server));
  return {
    list: async () => (await client.listTools()).tools.map(({ name }) => name),
    call: async ({ tool, args }, { signal, report }) =>
      said(await client.callTool({ name: tool, arguments: args }, undefined, { signal, onprogress: report })),
    resources: async () => (await client.listResources()).resources.map(({ uri }) => uri),
    read: async (uri) => (await client.readResource({ uri })).contents[0].text,
    declared: async () =>
      Object.fromEntries((await client.listTools()).tools.map((tool) => [tool.name, tool.inputSchema])),
    protocol: async () => {
      const told = [];
      // Of kinds that the client does not know, too.
      client.fallbackNotificationHandler = async ({ method, params }) => void told.push({ method, ...params });
      client.onerror = (error) => void told.push({ error: error.message });
      const dataset = "lakehouse://datasets/told";
      await client.ping();
      await client.subscribeResource({ uri: dataset });
      const load = (text) => client.callTool({ name: "ingest", arguments: { name: "told", text } });
      await load("a\n1\n");
      await load("a\n2\n");
      const first = await client.listResources();
      const last = first.nextCursor === undefined ? first : await client.listResources({ cursor: first.nextCursor });
      const templates = (await client.listResourceTemplates()).resourceTemplates.map(({ uriTemplate }) => uriTemplate);
      const ref = { type: "ref/resource", uri: "lakehouse://datasets/{name}" };
      const { completion } = await client.complete({ ref, argument: { name: "name", value: "tol" } });
      const prompts = (await client.listPrompts()).prompts.map(({ name }) => name);
      const { messages } = await client.getPrompt({ name: "explore-dataset", arguments: { dataset: "told" } });
      await client.unsubscribeResource({ uri: dataset });
      await client.ping();
      const level = await client.setLoggingLevel("debug").catch(({ message }) => message);
      return { told, last: last.resources.length, templates, completion: completion.values, prompts, messages, level };
    },
    close: () => client.close(),
  };
});

async function transportTo(server) {
  if (server.command !== undefined) return new StdioClientTransport(server);
  const { StreamableHTTPClientTransport } = await import(`${sdk}/client/streamableHttp.js`);
  return new StreamableHTTPClientTransport(new URL(server.url), { requestInit: { headers: bearer(server) } });
}
