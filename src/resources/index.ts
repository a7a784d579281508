import { catalog } from "./catalog.ts";
import { dataset, sample } from "./datasets.ts";
import type { DatasetResource, Resource } from "./resource.ts";

export const resources: readonly Resource[] = [catalog];
export const datasetResources: readonly DatasetResource[] = [dataset, sample];
