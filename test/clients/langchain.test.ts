import { testClient } from "./contract.ts";

testClient({
  name: "LangChain",
  folder: "langchain",
  validates: true,
  // It takes out what is one of several types, of which none is an object. OpenAI and Anthropic take items of any type.
  loses: ["sql: .params[]: has the type undefined"],
});
