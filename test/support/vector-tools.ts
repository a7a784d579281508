import { type Lake, openLake } from "./lake.ts";

export interface Found {
  hits: {
    id: string;
    distance: number;
    score: number;
    metadata: unknown;
    text?: string | null;
    vector?: number[];
    row?: Record<string, unknown> | null;
  }[];
  [key: string]: unknown;
}

export const WORKERS = `worker_id,role,city,resume_text
1,driver,Joliet,Certified forklift driver for nights and weekends
2,cook,Aurora,Line cook with a pastry diploma
3,welder,Joliet,Welder of pipes and tanks
4,driver,Aurora,Truck driver with a clean record
`;

export const BUILD = {
  name: "resumes",
  dataset: "workers",
  text: "{role} in {city}. {resume_text}",
  id: "worker_id",
  metadata: ["role", "city"],
};

export const POINTS = [
  { id: "east", vector: [1, 0, 0], metadata: { side: "right", n: 1 } },
  { id: "north", vector: [0, 1, 0], text: "up here" },
  { id: "north east", vector: [3, 3, 0] },
];

export async function openPoints(): Promise<Lake> {
  const lake = await openLake();
  await lake.call("vector-index-create", { name: "points", dimension: 3 });
  await lake.call("vector-upsert", { index: "points", items: POINTS });
  return lake;
}

export async function openResumes(): Promise<Lake> {
  const lake = await openLake();
  await lake.call("ingest", { name: "workers", text: WORKERS });
  await lake.call("vector-index-create", BUILD);
  return lake;
}
