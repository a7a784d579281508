import { expect, onTestFinished, test } from "vitest";
import { INITIALIZE, JSON_HEADERS, messagesIn, modernRequest, openHttpLake } from "./http-lake.ts";

const CALLS = [
  ["tools/call", { name: 5 }, { tool: "unknown", asked: "5" }, "name has to be a string"],
  ["tools/call", {}, { tool: "unknown", asked: "undefined" }, "name has to be a string"],
  ["tools/call", { name: "sql", arguments: 5 }, { tool: "sql" }, "arguments has to be an object"],
  ["tools/call", { name: "sql", arguments: [1] }, { tool: "sql" }, "arguments has to be an object"],
  ["prompts/get", { name: 5 }, { prompt: "unknown", asked: "5" }, "name has to be a string"],
  ["resources/read", { uri: 5 }, { resource: "unknown" }, "uri has to be a string"],
] as const;

test.each(CALLS)("%s of %j is answered as wrong, and has its line in the log", async (method, params, told, wrong) => {
  const lake = await openHttpLake();
  onTestFinished(() => lake[Symbol.asyncDispose]());
  const opened = await lake.send({ method: "POST", headers: JSON_HEADERS, body: INITIALIZE });
  const headers = { ...JSON_HEADERS, "mcp-session-id": String(opened.headers["mcp-session-id"]) };
  const legacy = { method: "POST", headers, body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }) };
  for (const request of [modernRequest(method, params), legacy]) {
    lake.log.length = 0;
    const { body } = await lake.send(request);
    const [answer] = body.startsWith("{") ? [JSON.parse(body)] : messagesIn(body);
    expect(answer).toMatchObject({ id: 1, error: { code: -32602, message: expect.stringContaining(wrong) } });
    const calls = lake.log.filter(({ message }) => message === "call");
    expect(calls).toEqual([expect.objectContaining({ ...told, outcome: "invalid" })]);
  }
});
