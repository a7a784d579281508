import {
  type McpServer,
  ProtocolError,
  ProtocolErrorCode,
  ResourceNotFoundError,
  ResourceTemplate,
  type ServerContext,
} from "@modelcontextprotocol/server";
import type { DatasetKind, Head } from "../engine/catalog/types.ts";
import type { Engine } from "../engine/engine.ts";
import { grouped } from "../engine/kernel/amounts.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import { datasetResources, jobResource, resources } from "../resources/index.ts";
import { MAX_SUBSCRIBED, whyNotSubscribed } from "../resources/subscriptions.ts";
import { sentences } from "../tools/error-text.ts";
import { protocolError } from "./known-error.ts";
import { serveCall, type Watch } from "./serve-call.ts";

const JSON_TYPE = "application/json";
const LISTED = 1000;
const COMPLETIONS = 100;

export function registerResources(server: McpServer, engine: Engine, watch: Watch): void {
  for (const resource of resources) {
    const { uri, name, title, description } = resource;
    server.registerResource(name, uri, { title, description, mimeType: JSON_TYPE }, (url, context) =>
      read(name, url, context, watch, () => resource.read(engine)),
    );
  }
  for (const resource of datasetResources) {
    const { lists, kind } = resource;
    const template = new ResourceTemplate(resource.template, {
      list: lists && (() => listDatasets(engine, resource.template, lists)),
      complete: { name: async (prefix) => (await namesFrom(engine, prefix, kind)).slice(0, COMPLETIONS) },
    });
    const { name, title, description } = resource;
    server.registerResource(name, template, { title, description, mimeType: JSON_TYPE }, (url, variables, context) =>
      read(name, url, context, watch, () => resource.read(engine, String(variables.name))),
    );
  }
  registerJobs(server, engine, watch);
}

function registerJobs(server: McpServer, engine: Engine, watch: Watch): void {
  const { name, title, description } = jobResource;
  const template = new ResourceTemplate(jobResource.template, {
    list: async () => ({
      resources: (await jobResource.list(engine)).map((each) => ({
        uri: addressOf(each.id),
        name: each.id,
        description: each.description,
        mimeType: JSON_TYPE,
      })),
    }),
    complete: {
      id: async (prefix) => (await jobResource.list(engine)).map(({ id }) => id).filter((id) => id.startsWith(prefix)),
    },
  });
  server.registerResource(name, template, { title, description, mimeType: JSON_TYPE }, (url, variables, context) =>
    read(name, url, context, watch, () => jobResource.read(engine, String(variables.id))),
  );
}

const addressOf = (job: string): string => jobResource.template.replace("{id}", job);

async function namesFrom(engine: Engine, prefix: string, kind: DatasetKind | undefined): Promise<string[]> {
  if (kind === undefined) return engine.complete(prefix);
  const { datasets } = await engine.list({ kind, limit: Number.POSITIVE_INFINITY });
  return datasets.map((head) => head.name).filter((name) => name.startsWith(prefix));
}

async function listDatasets(engine: Engine, template: string, kind: DatasetKind) {
  const { datasets } = await engine.list({ kind, limit: LISTED });
  return {
    resources: datasets.map((head) => ({
      uri: template.replace("{name}", head.name),
      name: head.name,
      description: described(head),
      mimeType: JSON_TYPE,
    })),
  };
}

function described({ rows, columns, version, index }: Head): string {
  const size = index
    ? `${grouped(index.count)} items of ${grouped(index.dimension)} dimensions`
    : `${grouped(rows)} rows, ${columns.length} columns`;
  return `${size}, version ${version}`;
}

function read(name: string, url: URL, context: ServerContext, watch: Watch, load: () => Promise<unknown>) {
  return serveCall({ kind: "resource", name }, context, watch, {
    args: url.href,
    run: async () => ({ contents: [{ uri: url.href, mimeType: JSON_TYPE, text: JSON.stringify(await load()) }] }),
    refuse: (error, thrown) => {
      if (error.kind === "not_found" || (thrown instanceof LakeError && error.kind === "invalid")) {
        throw new ResourceNotFoundError(url.href, sentences(error));
      }
      throw protocolError(ProtocolErrorCode.InternalError, error);
    },
  });
}

/** Receives changes, and passes them on to clients. */
export interface Notifier {
  resourcesChanged(): void;
  resourceUpdated(uri: string): void;
}

/** Translates changes of datasets and jobs into the resources they touch. Returns a function that stops it. */
export function forwardChanges(engine: Engine, notifier: Notifier): () => void {
  const fixed = resources.filter((resource) => resource.ofCatalog).map((resource) => resource.uri);
  const stopJobs = engine.onJob(({ id, state }) => {
    if (state === "running") notifier.resourcesChanged();
    notifier.resourceUpdated(addressOf(id));
  });
  const stopChanges = engine.onChange(({ added, updated, removed }) => {
    if (added.length + removed.length > 0) notifier.resourcesChanged();
    const names = [...added, ...updated, ...removed];
    const uris = names.flatMap((name) => datasetResources.map(({ template }) => template.replace("{name}", name)));
    for (const uri of [...uris, ...fixed]) notifier.resourceUpdated(uri);
  });
  return () => {
    stopJobs();
    stopChanges();
  };
}

/**
 * Notifies this server's client of changes, as long as it is connected. On the 2026 revision the SDK knows the
 * subscriptions; a 2025 client subscribes to single resources, which are kept here.
 */
export function notifyClient(server: McpServer, engine: Engine, era: "legacy" | "modern"): void {
  const subscribed = new Set<string>();
  if (era === "legacy") {
    server.server.setRequestHandler("resources/subscribe", ({ params }) => {
      const why = whyNotSubscribed([params.uri]);
      if (why !== undefined) throw new ProtocolError(ProtocolErrorCode.InvalidParams, why);
      if (subscribed.size >= MAX_SUBSCRIBED && !subscribed.has(params.uri)) {
        throw new ProtocolError(
          ProtocolErrorCode.InvalidParams,
          `A session may subscribe to ${MAX_SUBSCRIBED} resources. End some of them with resources/unsubscribe.`,
        );
      }
      subscribed.add(params.uri);
      return {};
    });
    server.server.setRequestHandler("resources/unsubscribe", ({ params }) => {
      subscribed.delete(params.uri);
      return {};
    });
  }
  // The client is not connected yet, or no longer.
  const ignore = (): void => {};
  server.server.onclose = forwardChanges(engine, {
    resourcesChanged: () => void server.server.sendResourceListChanged().catch(ignore),
    resourceUpdated: (uri) => {
      if (era === "modern" || subscribed.has(uri)) server.server.sendResourceUpdated({ uri }).catch(ignore);
    },
  });
}
