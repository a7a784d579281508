import { testClient } from "./contract.ts";

const named = (tool: string): string => tool.replaceAll("-", "_");

testClient({ name: "OpenAI Agents", folder: "openai-agents", lacks: ["progress"], named });
testClient({ name: "OpenAI Agents, strict", folder: "openai-agents", args: ["strict"], lacks: ["progress"], named });
