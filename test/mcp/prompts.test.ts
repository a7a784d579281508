import { expect, test } from "vitest";
import { type Era, openLake } from "../support/lake.ts";

const ERAS: Era[] = ["legacy", "modern"];

test.each(ERAS)("a %s client gets every prompt, with completion", async (era) => {
  await using lake = await openLake({ era });
  await lake.call("ingest", { name: "workers", text: "id\n1\n" });
  const { prompts } = await lake.client.listPrompts();
  expect(prompts.map((prompt) => prompt.name)).toEqual(["explore-dataset", "load-file", "build-search"]);
  const explore = await lake.client.getPrompt({ name: "explore-dataset", arguments: { dataset: "workers" } });
  expect(JSON.stringify(explore.messages)).toContain("SUMMARIZE");
  const load = await lake.client.getPrompt({ name: "load-file", arguments: { path: "x.csv" } });
  expect(JSON.stringify(load.messages)).toContain("x.csv");
  const { completion } = await lake.client.complete({
    ref: { type: "ref/prompt", name: "explore-dataset" },
    argument: { name: "dataset", value: "w" },
  });
  expect(completion.values).toEqual(["workers"]);

  await lake.call("vector-index-create", { name: "workers_index", dimension: 2 });
  const search = await lake.client.getPrompt({ name: "build-search", arguments: { dataset: "workers" } });
  const steps = JSON.stringify(search.messages);
  for (const step of [
    "catalog-describe",
    "vector-index-create",
    "vector-search",
    "where",
    "vector_search",
    "lexical",
  ]) {
    expect(steps).toContain(step);
  }
  expect(steps).toContain("Choose the text");
  const withText = { dataset: "workers", text: "resume_text" };
  expect(JSON.stringify(await lake.client.getPrompt({ name: "build-search", arguments: withText }))).toContain(
    "resume_text",
  );
  const { completion: tables } = await lake.client.complete({
    ref: { type: "ref/prompt", name: "build-search" },
    argument: { name: "dataset", value: "w" },
  });
  expect(tables.values).toEqual(["workers"]);
});
