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
    close: () => client.close(),
  };
});

async function transportTo(server) {
  if (server.command !== undefined) return new StdioClientTransport(server);
  const { StreamableHTTPClientTransport } = await import(`${sdk}/client/streamableHttp.js`);
  return new StreamableHTTPClientTransport(new URL(server.url), { requestInit: { headers: bearer(server) } });
}
