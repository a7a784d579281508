import { recordedName } from "../engine/ingest/source.ts";
import type { JobRecord } from "../engine/jobs/types.ts";
import { withoutLiterals } from "../engine/query/guard/tokens.ts";
import { viewOfJobError } from "../tools/error-text.ts";
import { progressView } from "../tools/job-view.ts";
import type { JobResource } from "./resource.ts";

export const job: JobResource = {
  template: "lakehouse://jobs/{id}",
  name: "job",
  title: "Job",
  description: "State, progress and result of one job: an ingest or an index build that goes on without its caller.",
  list: async (engine) => {
    const jobs = await engine.listJobs();
    return jobs.map(({ id, kind, request, state }) => ({ id, description: `${kind} of ${request.name}, ${state}` }));
  },
  read: async (engine, id) => {
    const record = await engine.jobStatus(id);
    return {
      ...progressView(record),
      request: shown(record.request),
      result: record.result ?? null,
      error: record.error ? viewOfJobError(record.error) : null,
    };
  },
};

/** For everyone who may read jobs: without literals of statements and folders of files. */
function shown(request: JobRecord["request"]): Record<string, unknown> {
  const { source } = request;
  if (source === undefined) return { ...request };
  const { sql, where, path } = source as { sql?: string; where?: string; path?: string };
  return {
    ...request,
    source: {
      ...source,
      ...(sql !== undefined && { sql: withoutLiterals(sql) }),
      ...(where !== undefined && { where: withoutLiterals(where) }),
      ...(path !== undefined && { path: recordedName(path) }),
    },
  };
}
