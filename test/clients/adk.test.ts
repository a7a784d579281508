import { testClient } from "./contract.ts";

testClient({ name: "ADK", folder: "adk", starts: "server", lacks: ["progress"] });
