/** Names that callers use for an argument, in lower case without `_` and `-`. The first matching row counts. */
const SYNONYMS: readonly (readonly [argument: string, ...synonyms: string[]])[] = [
  ["sql", "query", "statement", "q", "sqlquery", "select", "code", "command"],
  ["texts", "text", "input", "inputs", "documents", "content", "contents", "strings", "query"],
  ["text", "query", "q", "search", "searchtext", "question", "prompt", "input"],
  [
    "text",
    "data",
    "content",
    "contents",
    "csv",
    "json",
    "body",
    "document",
    "pagecontent",
    "texts",
    "column",
    "columns",
  ],
  ["search", "query", "q", "text", "filter", "where", "name", "pattern", "keyword", "term", "prefix"],
  ["where", "filter", "filters", "condition", "conditions", "predicate", "whereclause"],
  ["params", "parameters", "args", "arguments", "bindings", "binds", "bind", "values", "variables"],
  ["k", "topk", "topn", "top", "limit", "n", "num", "count", "numresults", "maxresults", "nresults", "size", "maxrows"],
  ["max_rows", "limit", "rows", "n", "top", "count", "maxresults", "rowlimit", "pagesize", "numrows", "k", "topk"],
  ["limit", "n", "count", "pagesize", "maxrows", "rows", "maxresults", "perpage", "size", "k", "topk", "top"],
  ["timeout_ms", "timeout", "timeouts", "timeoutseconds", "timeoutsec", "deadline", "maxtime"],
  ["wait_ms", "wait", "timeout", "timeoutms", "waitseconds"],
  ["dataset", "table", "datasetname", "tablename", "from", "source"],
  ["name", "table", "dataset", "tablename", "datasetname", "into", "target", "index", "indexname", "destination", "id"],
  ["index", "name", "indexname", "collection", "table", "dataset", "namespace"],
  ["path", "file", "filename", "filepath", "files", "url", "uri", "source", "location"],
  ["upload", "uploadid", "uploadurl"],
  ["format", "type", "filetype", "fileformat", "contenttype"],
  ["mode", "writemode", "ifexists", "write", "overwrite"],
  ["schema_change", "schemaevolution", "onschemachange", "mergeschema"],
  ["on_bad_rows", "onerror", "errors", "ignoreerrors", "badrows", "onbadlines"],
  ["ids", "id", "keys", "itemids", "items"],
  ["like_id", "id", "itemid", "similarto", "like", "likeid"],
  ["id", "idcolumn", "key", "primarykey", "itemid", "pk"],
  ["items", "vectors", "documents", "records", "points", "rows", "data", "upserts"],
  ["vector", "embedding", "embeddings", "values", "queryvector", "vectors"],
  ["metadata", "meta", "payload", "attributes", "properties", "metadatacolumns"],
  ["include", "includes", "select", "fields", "with", "returnfields", "output"],
  ["dimension", "dim", "dims", "dimensions", "size", "length"],
  ["metric", "distance", "similarity", "distancemetric", "space"],
  ["model", "embeddingmodel", "modelname", "embedder"],
  ["kind", "type", "inputtype", "task", "tasktype"],
  ["cursor", "page", "nextcursor", "pagetoken", "offset", "after"],
  ["job_id", "id", "job", "taskid", "task", "jobs"],
  ["background", "async", "nowait"],
  ["ef", "efsearch", "candidates", "numcandidates"],
  ["all", "deleteall", "drop", "dropindex"],
];

const folded = (name: string): string => name.toLowerCase().replace(/[-_ ]/g, "");

/** The one of the `valid` arguments that `name` likely means. */
export function meantBy(name: string, valid: readonly string[]): string | undefined {
  const wanted = folded(name.slice(0, 64));
  const same = valid.find((argument) => folded(argument) === wanted);
  const [argument] = SYNONYMS.find(([known, ...synonyms]) => valid.includes(known) && synonyms.includes(wanted)) ?? [];
  return same ?? argument;
}
