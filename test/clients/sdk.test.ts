import { afterEach, describe, expect, test } from "vitest";
import { MAIN, openWorkspace, type Workspace } from "../real/process.ts";
import { testClient } from "./contract.ts";
import { type Driven, startDriver } from "./driven.ts";

testClient({ name: "SDK 1.0.4", folder: "sdk", args: ["sdk-1.0"], transports: ["stdio"] });
testClient({ name: "SDK 1.10", folder: "sdk", args: ["sdk-1.10"] });
testClient({ name: "SDK 1.32", folder: "sdk", args: ["sdk-1.32"] });

describe.each(["sdk-1.0", "sdk-1.10", "sdk-1.32"])("the rest of the protocol, with %s", (sdk) => {
  let workspace: Workspace;
  let driven: Driven;
  afterEach(async () => {
    await driven[Symbol.asyncDispose]();
    await workspace[Symbol.asyncDispose]();
  });

  test("pings, subscribes, pages, completes and prompts; what there is not, is refused as such", async () => {
    workspace = await openWorkspace();
    driven = await startDriver({ folder: "sdk", args: [sdk] });
    const env = { PATH: process.env.PATH ?? "" };
    await driven.connect({ command: process.execPath, args: [MAIN, "--data", "memory"], env, cwd: workspace.folder });
    const { told, ...rest } = (await driven.ask("protocol")) as { told: object[] };
    expect(told).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ method: "notifications/resources/list_changed" }),
        expect.objectContaining({ method: "notifications/resources/updated", uri: "lakehouse://datasets/told" }),
      ]),
    );
    expect(told.filter((each) => "error" in each)).toEqual([]);
    expect(rest).toMatchObject({
      templates: expect.arrayContaining(["lakehouse://datasets/{name}"]),
      completion: ["told"],
      prompts: ["explore-dataset", "load-file", "build-search"],
      messages: [{ role: "user", content: { text: expect.stringContaining("told") } }],
      level: expect.stringMatching(/does not support logging|Method not found/),
    });
    await driven.close();
  }, 180_000);
});
