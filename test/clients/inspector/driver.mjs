import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { bearer, drive, said } from "../drive.mjs";

const INSPECTOR = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";

/** Every call is a run of its command line. */
drive(async (server) => {
  const target =
    server.command === undefined
      ? [server.url, "--transport", "http", "--header", `Authorization: ${bearer(server).Authorization}`]
      : [server.command, ...server.args];
  const run = async (args, { signal } = {}) => {
    // Before the target: what comes after it, is the server's.
    const all = [INSPECTOR, "--cli", "--format", "json", ...args, ...target];
    const options = { signal, killSignal: "SIGKILL", maxBuffer: 2 ** 26 };
    const { stdout, stderr } = await promisify(execFile)(process.execPath, all, options).catch((error) => {
      // A tool's error is a result, and an exit code.
      if (error.stdout) return error;
      throw error;
    });
    process.stderr.write(stderr);
    return JSON.parse(stdout).result;
  };
  const tools = async () => (await run(["--method", "tools/list"])).tools;
  return {
    list: async () => (await tools()).map(({ name }) => name),
    call: async ({ tool, args }, options) => {
      const json = ["--tool-args-json", JSON.stringify(args)];
      return said(await run(["--method", "tools/call", "--tool-name", tool, ...json], options));
    },
    resources: async () => (await run(["--method", "resources/list"])).resources.map(({ uri }) => uri),
    read: async (uri) => (await run(["--method", "resources/read", "--uri", uri])).contents[0].text,
    declared: async () => Object.fromEntries((await tools()).map(({ name, inputSchema }) => [name, inputSchema])),
    close: async () => {},
  };
});
