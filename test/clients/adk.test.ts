import { testClient } from "./contract.ts";

testClient({ name: "ADK", folder: "adk", startsForCalls: true, lacks: ["progress"] });
