import { expect, inject, test } from "vitest";
import { openWorkspace } from "../real/process.ts";
import { CEPH_KEYS } from "../support/ceph.ts";
import { killServers, roundsOr } from "../support/kills.ts";
import { newBucket } from "../support/s3.ts";

const endpoint = inject("s3Endpoint");

const ROUNDS = roundsOr(12);

test(
  "servers over a bucket that are killed at random moments lose nothing that was acknowledged, and leave nothing half done",
  async () => {
    await using workspace = await openWorkspace();
    const env = {
      LAKEHOUSE_STORE: `s3://${await newBucket(endpoint)}/lake`,
      LAKEHOUSE_S3_ENDPOINT: endpoint,
      AWS_ACCESS_KEY_ID: CEPH_KEYS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: CEPH_KEYS.secretAccessKey,
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
    };
    const killed = await killServers(workspace, { rounds: ROUNDS, env });
    expect(killed.kills).toBeGreaterThanOrEqual(ROUNDS);
    expect(killed.acknowledged).toBeGreaterThan(ROUNDS / 2);
    expect(killed.done + killed.notDone).toBeGreaterThan(0);
    // Few kills may all come before, or all after, what they are to interrupt.
    if (ROUNDS < 100) return;
    expect(killed.done).toBeGreaterThan(0);
    expect(killed.notDone).toBeGreaterThan(0);
  },
  60_000 + ROUNDS * 15_000,
);
