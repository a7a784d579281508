import { testClient } from "./contract.ts";

testClient({ name: "Mastra 0.14", folder: "mastra-0", validates: true, lacks: ["progress", "cancel"] });
testClient({ name: "Mastra 2", folder: "mastra", node22: true, validates: true });
