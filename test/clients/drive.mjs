/**
 * The client's side of these tests: a process that makes a real client do what it is asked to. Every client has packages
 * of its own, some a Node of their own, and their own things to print, so it is asked through the channel to its parent.
 *
 * @typedef {{ url: string, token: string } | { command: string, args: string[], env: Record<string, string> }} Server
 * @typedef {{ text?: string, structured?: unknown, error?: string }} Said What a model would be given.
 * @typedef {{ signal: AbortSignal, report: (progress: unknown) => void }} Options
 * @typedef {object} Client What it has no way to do, it leaves out.
 * @property {() => Promise<string[]>} list
 * @property {(call: { tool: string, args: object }, options: Options) => Promise<Said>} call
 * @property {() => Promise<string[]>} [resources] Their addresses.
 * @property {(uri: string) => Promise<string>} [read]
 * @property {() => Promise<Record<string, object>>} [declared] The schemas of arguments that a model is sent.
 * @property {() => Promise<void>} close
 */

/** @param {(server: Server) => Promise<Client>} connect */
export function drive(connect) {
  /** @type {Map<number, AbortController>} */
  const running = new Map();
  /** @type {Client} */
  let client;
  const operations = {
    connect: async (server) => {
      client = await connect(server);
    },
    visit: async (server) => {
      const visitor = await connect(server);
      const { error } = await visitor.call(
        { tool: "sql", args: { sql: "SELECT 1" } },
        { signal: new AbortController().signal },
      );
      await visitor.close();
      if (error !== undefined) throw new Error(error);
    },
  };

  process.on("message", async ({ id, operation, given }) => {
    if (operation === "cancel") return running.get(given)?.abort();
    const aborted = new AbortController();
    running.set(id, aborted);
    const options = { signal: aborted.signal, report: (progress) => process.send({ id, progress }) };
    try {
      const result = await (operations[operation] ?? client[operation]).call(client, given, options);
      process.send({ id, result });
    } catch (error) {
      process.send({ id, error: messagesOf(error).join(": ") });
    } finally {
      running.delete(id);
    }
  });
  process.on("disconnect", () => process.exit());
}

/** @param {{ isError?: boolean, content?: { type: string, text?: string }[], structuredContent?: unknown }} result */
export function said({ isError, content = [], structuredContent }) {
  const text = content.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("\n");
  return isError ? { error: text } : { text, structured: structuredContent };
}

/** @param {{ token: string }} server */
export const bearer = ({ token }) => ({ Authorization: `Bearer ${token}` });

/** @returns {string[]} */
function messagesOf(error) {
  if (!(error instanceof Error)) return [String(error)];
  return [error.message, ...(error.cause === undefined ? [] : messagesOf(error.cause))];
}
