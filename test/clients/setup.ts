import { findNode22 } from "../support/own-packages.ts";

/** Once, before any test: several of them need it. */
export async function setup(): Promise<void> {
  await findNode22();
}
