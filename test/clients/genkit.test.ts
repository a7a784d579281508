import { testClient } from "./contract.ts";

testClient({ name: "Genkit", folder: "genkit", validates: true, lacks: ["progress", "cancel"] });
