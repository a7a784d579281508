import { expect, test } from "vitest";
import { ENDLESS, ERAS, start } from "../support/job-tools.ts";
import { openLake } from "../support/lake.ts";
import { until } from "../support/vectors.ts";

test.each(ERAS)("a %s client lists, completes and reads jobs, and hears of them", async (era) => {
  const seen: string[] = [];
  await using lake = await openLake({
    era,
    client: (client) => {
      client.setNotificationHandler("notifications/resources/list_changed", () => void seen.push("list"));
      client.setNotificationHandler("notifications/resources/updated", ({ params }) => void seen.push(params.uri));
    },
  });
  if (era === "modern") await lake.client.listen({ resourcesListChanged: true });
  const job_id = await start(lake, "ingest", { name: "endless", sql: ENDLESS });
  await until(() => seen.includes("list"));
  const uri = `lakehouse://jobs/${job_id}`;
  if (era === "modern") await lake.client.listen({ resourceSubscriptions: [uri] });
  else await lake.client.subscribeResource({ uri });

  const { resources } = await lake.client.listResources();
  expect(resources.find((resource) => resource.uri === uri)).toMatchObject({
    name: job_id,
    description: "ingest of endless, running",
  });
  const ref = { type: "ref/resource" as const, uri: "lakehouse://jobs/{id}" };
  const { completion } = await lake.client.complete({ ref, argument: { name: "id", value: job_id.slice(0, 4) } });
  expect(completion.values).toEqual([job_id]);
  const read = async (address: string) => {
    const { contents } = await lake.client.readResource({ uri: address });
    return JSON.parse((contents[0] as { text: string }).text);
  };
  expect(await read(uri)).toMatchObject({ job_id, state: "running", name: "endless", result: null, error: null });
  await lake.call("job-cancel", { job_id });
  await until(() => seen.includes(uri));
  const { state, error } = await read(uri);
  const hint = "Call ingest again to start over.";
  expect({ state, error }).toEqual({
    state: "cancelled",
    error: { kind: "unavailable", message: "The job was cancelled.", hint },
  });
  await expect(read("lakehouse://jobs/nope")).rejects.toThrow(/nope/);
});
