import { testClient } from "./contract.ts";

testClient({ name: "LlamaIndex", folder: "llamaindex", lacks: ["resources", "progress", "cancel"] });
