import { defineConfig } from "vitest/config";

// Tests start real processes and real DuckDB instances: a few at a time, with room to breathe on a busy CI machine.
const shared = { testTimeout: 60_000, hookTimeout: 60_000 };

export default defineConfig({
  test: {
    maxWorkers: 2,
    tags: [
      {
        name: "slow",
        description:
          "Takes over a second, or waits, races, or fills a limit: `npm test` leaves it to `npm run test:full`",
      },
    ],
    projects: [
      {
        test: {
          ...shared,
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["**/node_modules/**", "test/property/**", "test/real/**", "test/s3/**", "test/clients/**"],
          // The files of a worker share its modules: importing the engine anew takes longer than most files do.
          isolate: false,
        },
      },
      { test: { ...shared, name: "property", include: ["test/property/**/*.test.ts"] } },
      { test: { ...shared, testTimeout: 240_000, name: "real", include: ["test/real/**/*.test.ts"] } },
      {
        test: {
          ...shared,
          name: "clients",
          include: ["test/clients/*.test.ts"],
          globalSetup: ["test/clients/setup.ts"],
        },
      },
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
