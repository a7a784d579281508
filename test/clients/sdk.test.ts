import { testClient } from "./contract.ts";

testClient({ name: "SDK 1.0.4", folder: "sdk", args: ["sdk-1.0"], transports: ["stdio"] });
testClient({ name: "SDK 1.10", folder: "sdk", args: ["sdk-1.10"] });
testClient({ name: "SDK 1.32", folder: "sdk", args: ["sdk-1.32"] });
