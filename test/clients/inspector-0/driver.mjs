import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { drive, said } from "../drive.mjs";

const INSPECTOR = "node_modules/@modelcontextprotocol/inspector-cli/build/index.js";

/** Every call is a run of its command line, with every argument as text, which it turns into what the schema says. */
drive(async (server) => {
  const run = async (args, { signal } = {}) => {
    const all = [INSPECTOR, server.command, ...server.args, ...args];
    const options = { signal, killSignal: "SIGKILL", maxBuffer: 2 ** 26 };
    const { stdout, stderr } = await promisify(execFile)(process.execPath, all, options);
    process.stderr.write(stderr);
    return JSON.parse(stdout);
  };
  const tools = async () => (await run(["--method", "tools/list"])).tools;
  const textOf = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  return {
    list: async () => (await tools()).map(({ name }) => name),
    call: async ({ tool, args }, options) => {
      const given = Object.entries(args).flatMap(([name, value]) => ["--tool-arg", `${name}=${textOf(value)}`]);
      return said(await run(["--method", "tools/call", "--tool-name", tool, ...given], options));
    },
    resources: async () => (await run(["--method", "resources/list"])).resources.map(({ uri }) => uri),
    read: async (uri) => (await run(["--method", "resources/read", "--uri", uri])).contents[0].text,
    declared: async () => Object.fromEntries((await tools()).map(({ name, inputSchema }) => [name, inputSchema])),
    close: async () => {},
  };
});
