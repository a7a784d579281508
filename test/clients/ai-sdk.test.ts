import { testClient } from "./contract.ts";

testClient({ name: "AI SDK", folder: "ai-sdk", node22: true, lacks: ["progress"], lacksOverStdio: ["cancel"] });
