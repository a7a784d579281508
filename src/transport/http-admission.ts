import type { Log } from "../engine/settings.ts";
import { busy, type Exchange, SHUTTING_DOWN, tooMany, turnAway } from "./http-answer.ts";
import { openSharedPlaces, shareOf } from "./http-limits.ts";

export interface AdmissionSettings {
  /** Requests read at a time, and requests served at a time. */
  maxInFlight: number;
  /** Subscriptions at a time. */
  maxSessions: number;
  /** Of each, the most for one caller. */
  maxPerCaller: number;
  log: Log;
}

type Kind = "reading" | "running" | "subscriptions";

/** Bounds the requests and subscriptions at a time, and answers those that are refused. */
export interface Admission {
  /** Takes `count` places and returns their release. Without free places, answers why and returns undefined. */
  admit(exchange: Exchange, kind: Kind, count?: number): (() => void) | undefined;
  taken(kind: Kind): number;
  /** From now on only messages are still read: they may cancel a call. */
  stop(): void;
  readonly isStopped: boolean;
  /** Resolves when no request is running, or after `ms`. */
  idle(ms: number): Promise<void>;
}

export function openAdmission({ maxInFlight, maxSessions, maxPerCaller, log }: AdmissionSettings): Admission {
  const open = (most: number, setting: string, retryAfter: number) => {
    const each = shareOf(most, maxPerCaller);
    return { most, each, setting, retryAfter, places: openSharedPlaces(most, each) };
  };
  const kinds = {
    reading: open(maxInFlight, "max_in_flight", 1),
    running: open(maxInFlight, "max_in_flight", 1),
    subscriptions: open(maxSessions, "max_sessions", 10),
  };
  let isStopped = false;
  return {
    admit: (exchange, kind, count) => {
      const { most, each, setting, retryAfter, places } = kinds[kind];
      if (isStopped && kind !== "reading") {
        turnAway(exchange, SHUTTING_DOWN, log);
        return undefined;
      }
      const taken = places.take(exchange.caller.name, count);
      if (typeof taken === "function") return taken;
      const all = busy(`The server is busy: ${most} at a time (${setting}).`, retryAfter);
      turnAway(exchange, taken === "all" ? all : tooMany(each, setting, retryAfter), log);
      return undefined;
    },
    taken: (kind) => kinds[kind].places.taken,
    stop: () => {
      isStopped = true;
    },
    get isStopped() {
      return isStopped;
    },
    idle: (ms) => kinds.running.places.empty(ms),
  };
}
