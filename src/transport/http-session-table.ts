import type { NodeStreamableHTTPServerTransport } from "@modelcontextprotocol/node";
import type { McpServer, RequestId } from "@modelcontextprotocol/server";
import type { Log } from "../engine/settings.ts";
import type { Caller } from "./gates/caller.ts";
import type { Refusal } from "./gates/refusal.ts";

const SWEEP_MS = 30_000;
const IN_USE_RETRY_S = 5;

export interface Session {
  server: McpServer;
  transport: NodeStreamableHTTPServerTransport;
  /** Only callers with the name of the first can use it. The token is that of the last request. */
  caller: Caller;
  /** Responses that are not finished. */
  open: number;
  idleSince: number;
  /** Calls that were the only request of their message: their response ends with them. */
  alone: Set<RequestId>;
}

export interface SessionTableSettings {
  maxSessions: number;
  maxPerCaller: number;
  /** A session without a running request or open stream is closed after this time. */
  idleMs: number;
  log: Log;
}

/** The open sessions by id, and their limits. */
export interface SessionTable {
  get(id: string): Session | undefined;
  add(id: string, session: Session): void;
  delete(id: string): void;
  /** Reserves a place for a new session of `caller` until `done` is called, or returns the refusal. */
  begin(caller: string): Refusal | { done(): void };
  readonly size: number;
  close(): Promise<void>;
}

export function openSessionTable({ maxSessions, maxPerCaller, idleMs, log }: SessionTableSettings): SessionTable {
  const sessions = new Map<string, Session>();
  /** Callers of sessions that are being opened: these count, too. */
  const opening: string[] = [];
  const callers = (): string[] => [...[...sessions.values()].map((session) => session.caller.name), ...opening];

  const expire = (): void => {
    const now = performance.now();
    for (const [id, session] of sessions) {
      if (session.open > 0 || now - session.idleSince < idleMs) continue;
      sessions.delete(id);
      log("debug", "session expired", { caller: session.caller.name });
      void session.server.close();
    }
  };
  const sweep = setInterval(expire, Math.min(SWEEP_MS, Math.max(10, idleMs / 2)));
  sweep.unref();

  /**
   * Closes an unused session to make room. Many clients open one for each run and never close it. A client that returns
   * to it gets 404 and sends initialize again, by the protocol.
   */
  const giveWay = (counts: (session: Session) => boolean): boolean => {
    const held = countBy(callers());
    const holds = ([, { caller }]: [string, Session]): number => held.get(caller.name) ?? 0;
    const [oldest] = [...sessions]
      .filter(([, session]) => session.open === 0 && counts(session))
      .sort((a, b) => holds(b) - holds(a) || a[1].idleSince - b[1].idleSince);
    if (!oldest) return false;
    const [id, { server, caller }] = oldest;
    sessions.delete(id);
    log("debug", "an unused session gave way to a new one", { caller: caller.name });
    server.close().catch((error: unknown) => log("warn", "a session did not close", { error: String(error) }));
    return true;
  };

  /** The refusal of one more session of this caller. Undefined when there is room, or room was made. */
  const refusalOf = (name: string): Refusal | undefined => {
    const held = (): number => callers().filter((each) => each === name).length;
    if (callers().length >= maxSessions || held() >= maxPerCaller) expire();
    if (held() >= maxPerCaller && !giveWay(({ caller }) => caller.name === name)) {
      return allInUse(429, `Your token has ${maxPerCaller} sessions (max_per_caller)`);
    }
    if (callers().length < maxSessions) return undefined;
    // Only sessions of callers that have more are closed: otherwise one caller could keep all others out.
    const counts = countBy(callers());
    const own = counts.get(name) ?? 0;
    if (giveWay(({ caller }) => caller.name === name || (counts.get(caller.name) ?? 0) > own)) return undefined;
    return allInUse(503, `${maxSessions} sessions are open (max_sessions)`);
  };

  return {
    get: (id) => sessions.get(id),
    add: (id, session) => void sessions.set(id, session),
    delete: (id) => void sessions.delete(id),
    begin: (caller) => {
      const refusal = refusalOf(caller);
      if (refusal) return refusal;
      opening.push(caller);
      return { done: () => void opening.splice(opening.indexOf(caller), 1) };
    },
    get size() {
      return sessions.size;
    },
    close: async () => {
      clearInterval(sweep);
      const open = [...sessions.values()];
      sessions.clear();
      await Promise.all(open.map(({ server }) => server.close()));
    },
  };
}

/** A session is in use while a request or a stream of it is open, which only its client can end. */
const allInUse = (status: number, which: string): Refusal => ({
  status,
  message: `${which}, and a request or a stream is open in each. Let one end, or end a session with DELETE; then try again.`,
  headers: { "retry-after": String(IN_USE_RETRY_S) },
});

function countBy(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}
