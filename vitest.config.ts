import { defineConfig } from "vitest/config";
import { WITHOUT_HNSW } from "./test/support/hnsw.ts";

// Tests start real processes and real DuckDB instances: a few at a time, with room to breathe on a busy CI machine.
const shared = { testTimeout: 60_000, hookTimeout: 60_000 };

const OF_GRAPHS = ["test/engine/vector/{shard,shards,saved}.test.ts"];
if (WITHOUT_HNSW) process.stderr.write(`hnswlib-node is not installed: left out are ${OF_GRAPHS.join(", ")}\n`);

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      {
        test: {
          ...shared,
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/real/**", "test/s3/**", ...(WITHOUT_HNSW ? OF_GRAPHS : [])],
        },
      },
      { test: { ...shared, name: "real", include: ["test/real/**/*.test.ts"] } },
      {
        test: {
          ...shared,
          name: "s3",
          include: ["test/s3/**/*.test.ts"],
          globalSetup: ["test/support/ceph-setup.ts"],
          env: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" },
        },
      },
    ],
  },
});
