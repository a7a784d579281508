import { inject } from "vitest";
import { openTestStore, s3Settings } from "../support/s3.ts";
import { storeContract } from "../support/store-contract.ts";

const endpoint = inject("s3Endpoint");

storeContract("s3", async (scope, folder) => openTestStore(scope, folder, await s3Settings(folder, endpoint)));
