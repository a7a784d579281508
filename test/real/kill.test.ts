import { expect, test } from "vitest";
import { killServers, roundsOr } from "../support/kills.ts";
import { openWorkspace } from "./process.ts";

const ROUNDS = roundsOr(30);

test(
  "servers that are killed at random moments lose nothing that was acknowledged, and leave nothing half done",
  async () => {
    await using workspace = await openWorkspace();
    const killed = await killServers(workspace, { rounds: ROUNDS, env: {} });
    expect(killed.kills).toBeGreaterThanOrEqual(ROUNDS);
    // It was in the middle of something that they were killed, and not always at the same point of it.
    expect(killed.acknowledged).toBeGreaterThan(ROUNDS / 2);
    expect(killed.done + killed.notDone).toBeGreaterThan(0);
    // Few kills may all come before, or all after, what they are to interrupt.
    if (ROUNDS < 100) return;
    expect(killed.done).toBeGreaterThan(0);
    expect(killed.notDone).toBeGreaterThan(0);
  },
  60_000 + ROUNDS * 15_000,
);
