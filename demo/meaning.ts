import { count, type Terminal } from "./terminal.ts";

/** The second half of the tour: what the résumés mean, beside what the table says. */

export interface Caller {
  terminal: Terminal;
  /** Calls a tool, and stops the tour when it fails. */
  done<T>(
    tool: string,
    args: Record<string, unknown>,
    onProgress?: (fraction: number, message: string) => void,
  ): Promise<{
    data: T;
    text: string;
    ms: number;
  }>;
  expect(condition: boolean, problem: string): void;
  /** Stops the server and starts another over the same folder. */
  restart(): Promise<number>;
}

const INDEX = "resumes";
/** A builtin embedder makes thousands a second, a model that runs on this machine some dozens. */
const LEXICAL_ROWS = 5_000;
const MODEL_ROWS = 500;
const QUESTION = "certified forklift driver, night shifts are fine";
const WHERE = "state = 'IL' AND available AND reliability > 0.9";
const HYBRID = `SELECT w.name, w.city, w.hourly_rate, w.reliability, round(s.score, 3) AS score
FROM vector_search('${INDEX}', $1, 200) s
JOIN workers w ON w.worker_id = s.id::BIGINT
WHERE w.available AND w.reliability > 0.8
ORDER BY s.distance LIMIT 5`;

interface Built {
  count: number;
  embedded: number;
  dimension: number;
  model: string;
  lexical: boolean;
}

interface Found {
  hits: { id: string; score: number; row?: Record<string, unknown> | null }[];
  method: string;
  matched?: number;
}

export async function meaningTour(caller: Caller): Promise<void> {
  const { terminal } = caller;
  const { data: probe } = await caller.done<{ lexical?: boolean; note?: string }>("embed", {
    texts: [QUESTION],
    kind: "query",
  });
  const built = await build(caller, probe.lexical ? LEXICAL_ROWS : MODEL_ROWS);

  const found = await show(caller, `"${QUESTION}"`, { text: QUESTION });
  await show(caller, `the same, where ${WHERE}`, { text: QUESTION, where: WHERE });
  await hybrid(caller);

  const ms = await caller.restart();
  terminal.line();
  terminal.step("done", "(restart)", "the server was stopped and started again", ms);
  const again = await show(caller, "the same question, after the restart", { text: QUESTION });
  const ids = ({ hits }: Found): string => hits.map((hit) => hit.id).join();
  caller.expect(ids(again) === ids(found), "the restarted server found other résumés");
  if (built.lexical) {
    terminal.line(
      `\n${built.model} compares words and spelling, not meaning. For meaning, run: ollama pull nomic-embed-text`,
    );
    terminal.line("and, unless it runs already, ollama serve; the server finds it when it starts.");
  }
}

async function build({ terminal, done, expect }: Caller, rows: number): Promise<Built> {
  const { data, ms } = await done<Built>(
    "vector-index-create",
    {
      name: INDEX,
      dataset: "workers",
      id: "worker_id",
      text: "{role} in {city}, {state}. {resume_text}",
      where: `worker_id <= ${rows}`,
    },
    (fraction, message) => terminal.progress("vector-index-create", fraction, message),
  );
  expect(data.count === data.embedded && data.count > 0, "not every résumé is in the index");
  terminal.line();
  const summary = `${INDEX}: ${count(data.count)} résumés, ${data.dimension} dimensions by ${data.model}`;
  terminal.step("done", "vector-index-create", summary, ms);
  return data;
}

async function show(caller: Caller, title: string, args: Record<string, unknown>): Promise<Found> {
  const { terminal } = caller;
  const { data, ms } = await caller.done<Found>("vector-search", { index: INDEX, k: 5, include: ["row"], ...args });
  caller.expect(data.hits.length === 5, `fewer than five hits for ${title}`);
  const matched = data.matched === undefined ? "" : ` (${count(data.matched)} match)`;
  terminal.step("done", "vector-search", `${title}${matched}`, ms);
  const columns = ["name", "role", "city", "state", "available", "reliability"];
  terminal.table(
    ["id", "score", ...columns],
    data.hits.map(({ id, score, row }) => [
      id,
      score.toFixed(3),
      ...columns.map((column) => String(row?.[column] ?? "")),
    ]),
  );
  return data;
}

async function hybrid({ terminal, done, expect }: Caller): Promise<void> {
  const { data, ms } = await done<{ columns: { name: string }[]; rows: unknown[][] }>("sql", {
    sql: HYBRID,
    params: [QUESTION],
  });
  expect(data.rows.length > 0, "the hybrid statement found nobody");
  terminal.step("done", "sql", "meaning and facts in one statement", ms);
  terminal.code(`${HYBRID}\n-- $1 = ${QUESTION}`);
  terminal.table(
    data.columns.map((column) => column.name),
    data.rows.map((row) => row.map(String)),
  );
}
