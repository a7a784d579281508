import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { bearer, drive } from "../drive.mjs";

const { platform, arch } = process;
const binary = platform === "win32" ? "claude.exe" : "claude";
const CLAUDE = fileURLToPath(
  new URL(`node_modules/@anthropic-ai/claude-code-${platform}-${arch}/${binary}`, import.meta.url),
);
const RESOURCE_TOOLS = "ListMcpResourcesTool,ReadMcpResourceTool";
const PREFIX = "mcp__lakehouse__";

/** Every call is a run of `claude --print`, whose model is below: it calls the tool, and ends when it has the result. */
drive(async (server) => {
  const declared = async () => {
    const { tools } = await run(server, undefined, {});
    return Object.fromEntries(tools.map(({ name, input_schema }) => [name, input_schema]));
  };
  const use = async (name, input, options = {}) => {
    const { result } = await run(server, { type: "tool_use", id: "toolu_1", name, input }, options);
    const text = textOf(result.content);
    return result.is_error ? { error: text } : { text, structured: JSON.parse(text) };
  };
  return {
    list: async () => Object.keys(await declared()),
    call: ({ tool, args }, { signal }) => use(`${PREFIX}${tool}`, args, { signal }),
    resources: async () => {
      const { structured } = await use("ListMcpResourcesTool", { server: "lakehouse" });
      return structured.map(({ uri }) => uri);
    },
    read: async (uri) => {
      const { structured } = await use("ReadMcpResourceTool", { server: "lakehouse", uri });
      return structured.contents[0].text;
    },
    declared,
    close: async () => {},
  };
});

async function run(server, toolUse, { signal }) {
  const seen = { tools: [], result: undefined };
  const model = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    if (!request.url.startsWith("/v1/messages")) return response.writeHead(404).end();
    const { tools = [], messages } = JSON.parse(body);
    const own = tools.filter(({ name }) => name.startsWith(PREFIX));
    if (own.length > 0) seen.tools = own.map((tool) => ({ ...tool, name: tool.name.slice(PREFIX.length) }));
    const blocks = messages.flatMap(({ content }) => (Array.isArray(content) ? content : []));
    seen.result = blocks.find(({ type }) => type === "tool_result") ?? seen.result;
    const calls = toolUse !== undefined && own.length > 0 && seen.result === undefined;
    answer(response, calls ? toolUse : { type: "text", text: "Done." });
  });
  await once(model.listen(0, "127.0.0.1"), "listening");
  const env = {
    ...process.env,
    ANTHROPIC_BASE_URL: `http://127.0.0.1:${model.address().port}`,
    ANTHROPIC_API_KEY: "none",
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    ENABLE_TOOL_SEARCH: "false",
  };
  const entry =
    server.command === undefined
      ? { type: "http", url: server.url, headers: bearer(server) }
      : { type: "stdio", command: server.command, args: server.args, env: server.env };
  const args = ["--print", "--strict-mcp-config", "--mcp-config", JSON.stringify({ mcpServers: { lakehouse: entry } })];
  args.push("--tools", RESOURCE_TOOLS, "--allowedTools", "mcp__lakehouse", RESOURCE_TOOLS, "--", "Go.");
  try {
    const running = promisify(execFile)(CLAUDE, args, { env, signal, killSignal: "SIGKILL", maxBuffer: 2 ** 26 });
    running.child.stdin.end();
    const { stdout, stderr } = await running;
    process.stderr.write(`${stdout}\n${stderr}`);
    return seen;
  } finally {
    model.closeAllConnections();
    model.close();
  }
}

/** As the service streams it. */
function answer(response, block) {
  const { text, input, ...start } = block;
  const stops = text === undefined ? "tool_use" : "end_turn";
  const delta =
    text === undefined
      ? { type: "input_json_delta", partial_json: JSON.stringify(input) }
      : { type: "text_delta", text };
  const usage = { input_tokens: 1, output_tokens: 1 };
  const message = { id: "msg_1", type: "message", role: "assistant", model: "none", content: [], usage };
  const events = [
    { type: "message_start", message: { ...message, stop_reason: null, stop_sequence: null } },
    {
      type: "content_block_start",
      index: 0,
      content_block: text === undefined ? { ...start, input: {} } : { ...start, text: "" },
    },
    { type: "content_block_delta", index: 0, delta },
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason: stops, stop_sequence: null }, usage },
    { type: "message_stop" },
  ];
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.end(events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(""));
}

function textOf(content) {
  if (typeof content === "string") return content;
  return content.flatMap(({ type, text }) => (type === "text" ? [text] : [])).join("\n");
}
