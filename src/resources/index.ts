import { catalog } from "./catalog.ts";
import { dataset, sample } from "./datasets.ts";
import { embedStats } from "./embed.ts";
import { job } from "./jobs.ts";
import type { DatasetResource, JobResource, Resource } from "./resource.ts";
import { vectorIndex } from "./vectors.ts";

export const resources: readonly Resource[] = [catalog, embedStats];
export const datasetResources: readonly DatasetResource[] = [dataset, sample, vectorIndex];
export const jobResource: JobResource = job;
