import { DATASET_NAME } from "../engine/catalog/identity.ts";
import { ID as JOB_ID } from "../engine/jobs/record.ts";
import { datasetResources, jobResource, resources } from "./index.ts";

/** Of one session, or of one `subscriptions/listen`: each is compared with what changes, and kept until it ends. */
export const MAX_SUBSCRIBED = 1000;
const SHOWN_CHARS = 100;

/**
 * Why a client cannot have what it subscribes to. What does not exist yet may come to be, but an address that can never
 * be one of ours would only take memory; and ours are short.
 */
export function whyNotSubscribed(uris: readonly string[]): string | undefined {
  if (uris.length > MAX_SUBSCRIBED) {
    return `${uris.length} resources are more than the ${MAX_SUBSCRIBED} that one subscription may name. Name fewer, or leave resources out and use resourcesListChanged.`;
  }
  const strange = uris.find((uri) => !isOurs(uri));
  if (strange === undefined) return undefined;
  const shown = strange.length > SHOWN_CHARS ? `${strange.slice(0, SHOWN_CHARS)}…` : strange;
  return `There can be no resource ${JSON.stringify(shown)}. Subscribe to an address of resources/list, or of resources/templates/list with its variable filled in.`;
}

function isOurs(uri: string): boolean {
  if (resources.some((resource) => resource.uri === uri)) return true;
  if (datasetResources.some(({ template }) => isMadeOf(template, "{name}", uri, DATASET_NAME))) return true;
  return isMadeOf(jobResource.template, "{id}", uri, JOB_ID);
}

function isMadeOf(template: string, variable: string, uri: string, form: RegExp): boolean {
  const [before = "", after = ""] = template.split(variable);
  if (!uri.startsWith(before) || !uri.endsWith(after)) return false;
  return form.test(uri.slice(before.length, uri.length - after.length));
}
