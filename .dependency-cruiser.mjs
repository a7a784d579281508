// Who may import whom. `npm run lint` fails on an import that no rule allows, and on a circle.

/** The rooms of the engine, lowest first: each may import those on lines above its own. */
const ENGINE = [
  ["kernel"],
  ["process", "settings.ts"],
  ["duckdb", "parquet", "store"],
  ["catalog"],
  ["query", "uploads"],
  ["ingest"],
  ["embed", "ann"],
  ["index"],
  ["jobs"],
  ["upkeep"],
  ["stats.ts"],
  ["rooms.ts"],
  ["engine.ts"],
];

/** Above the engine: what each may import besides the engine. */
const ABOVE = {
  tools: [],
  resources: ["tools"],
  mcp: ["tools", "resources"],
  transport: ["mcp", "tools"],
  observability: ["mcp", "tools", "transport"],
  config: ["transport", "observability"],
  cli: ["config"],
};

/** Libraries with one owner. */
const OWNERS = {
  "@duckdb": "src/engine/duckdb/",
  "apache-arrow": "src/engine/parquet/",
  "parquet-wasm": "src/engine/parquet/",
  "hash-wasm": "src/engine/kernel/hash",
  ollama: "src/engine/embed/ollama",
  "@aws-sdk": "src/engine/store/s3",
  "@opentelemetry": "src/observability/telemetry",
  "@modelcontextprotocol": "src/(mcp|tools|resources|transport)/",
};

const inside = (rooms) => `^src/engine/(${rooms.map((room) => (room.endsWith(".ts") ? room : `${room}/`)).join("|")})`;

export default {
  forbidden: [
    { name: "no-circles", severity: "error", from: {}, to: { circular: true } },
    {
      name: "engine-knows-nothing-above",
      severity: "error",
      from: { path: "^src/engine/" },
      to: { path: "^src/", pathNot: "^src/engine/" },
    },
    ...ENGINE.slice(0, -1).map((rooms, level) => ({
      name: `engine-upwards-from-${rooms[0]}`,
      severity: "error",
      // What a worker process runs is found from its entry.
      from: { path: inside(rooms), pathNot: "^src/engine/process/main.ts$" },
      to: { path: inside(ENGINE.slice(level + 1).flat()) },
    })),
    ...ENGINE.flatMap((rooms) =>
      rooms.map((room) => ({
        name: `engine-sideways-from-${room}`,
        severity: "error",
        from: { path: inside([room]) },
        to: { path: inside(rooms.filter((other) => other !== room)) },
      })),
    ).filter(({ to }) => !to.path.endsWith("()")),
    ...Object.entries(ABOVE).map(([room, others]) => ({
      name: `${room}-imports`,
      severity: "error",
      from: { path: `^src/${room}/` },
      to: { path: "^src/", pathNot: `^src/(engine|${[room, ...others].join("|")})/` },
    })),
    {
      // Others know the interface in `query/types.ts`. How the lake's files are read is the same for every DuckDB of ours.
      name: "query-engine-by-its-interface",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/engine/(query/duckdb/|rooms.ts$)" },
      to: { path: "^src/engine/query/duckdb/", pathNot: "/(damaged-copies|live-items).ts$" },
    },
    ...Object.entries(OWNERS).map(([library, owner]) => ({
      name: `owner-of-${library}`,
      severity: "error",
      from: { path: "^src/", pathNot: `^${owner}` },
      to: { path: `^node_modules/${library}/` },
    })),
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    // TypeScript 7 has no parser that the tool can call.
    parser: "swc",
    tsPreCompilationDeps: true,
    includeOnly: "^(src|node_modules)/",
  },
};
