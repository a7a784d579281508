import { testClient } from "./contract.ts";

testClient({ name: "mcp-use", folder: "mcp-use" });
