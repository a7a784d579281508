import { openHnsw } from "../../../src/engine/ann/hnsw.ts";
import { annContract } from "./contract.ts";

annContract("HNSW", (scope) => openHnsw(scope, { threads: 2, hnsw: true }));
annContract("exact search", (scope) => openHnsw(scope, { threads: 2, hnsw: false }));
