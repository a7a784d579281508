import { type FileHandle, open } from "node:fs/promises";
import {
  BASE_RATES,
  CITIES,
  EMPLOYERS,
  FIRST_NAMES,
  GOALS,
  LAST_NAMES,
  MAIL_HOSTS,
  OTHER_ROLES,
  PLACES,
  QUOTES,
  REFEREES,
  SKILLS,
  THINGS,
  TRAITS,
  VERBS,
  WAREHOUSE_ROLES,
} from "./words.ts";

export const WORKER_COLUMNS = [
  "worker_id",
  "name",
  "email",
  "phone",
  "role",
  "city",
  "state",
  "zip",
  "skills",
  "years_experience",
  "hourly_rate",
  "reliability",
  "quality",
  "safety",
  "available",
  "hired_on",
  "last_active",
  "resume_text",
] as const;

const CHUNK_CHARS = 512 * 1024;

export interface WorkersOptions {
  rows: number;
  /** The same seed gives the same bytes on every machine. */
  seed?: number;
  /** Header line without its line feed; by default the 18 names. */
  header?: string;
}

/** A staffing agency's table as CSV, in chunks of about half a megabyte; memory does not grow with `rows`. */
export function* workersCsv({ rows, seed = 42, header = WORKER_COLUMNS.join(",") }: WorkersOptions): Generator<Buffer> {
  const random = openRandom(seed);
  let chunk = `${header}\n`;
  for (let id = 1; id <= rows; id++) {
    chunk += workerLine(id, random);
    if (chunk.length >= CHUNK_CHARS) {
      yield Buffer.from(chunk, "utf8");
      chunk = "";
    }
  }
  yield Buffer.from(chunk, "utf8");
}

/** Writes the table to `path` and returns its size in bytes. The next chunk is made when the last one is written. */
export async function writeWorkers(path: string, options: WorkersOptions): Promise<number> {
  const file = await open(path, "w");
  let bytes = 0;
  try {
    for (const chunk of workersCsv(options)) bytes += await writeAll(file, chunk);
  } finally {
    await file.close();
  }
  return bytes;
}

async function writeAll(file: FileHandle, chunk: Buffer): Promise<number> {
  for (let done = 0; done < chunk.length; ) done += (await file.write(chunk, done)).bytesWritten;
  return chunk.length;
}

interface Random {
  /** 0 to 1, 1 excluded. */
  next(): number;
  /** A whole number from 0 up to, not including, `end`. */
  below(end: number): number;
  pick<T>(from: readonly T[]): T;
}

/** Mulberry32: small, fast and the same everywhere. */
function openRandom(seed: number): Random {
  let state = seed | 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const below = (end: number): number => Math.floor(next() * end);
  return { next, below, pick: <T>(from: readonly T[]) => from[below(from.length)] as T };
}

const WEIGHTED_CITIES = CITIES.flatMap((city) => Array.from({ length: city.weight }, () => city));
const TWO = Array.from({ length: 100 }, (_, n) => String(n).padStart(2, "0"));
const PLAIN_LAST_NAMES = LAST_NAMES.map(mailName);
const PLAIN_FIRST_NAMES = FIRST_NAMES.map(mailName);

function workerLine(id: number, random: Random): string {
  const { next, below, pick } = random;
  const place = pick(WEIGHTED_CITIES);
  const role = next() < place.hub ? pick(WAREHOUSE_ROLES) : pick(OTHER_ROLES);
  const first = below(FIRST_NAMES.length);
  const last = below(LAST_NAMES.length);
  const years = Math.floor(next() ** 1.7 * 34);
  const rate = (BASE_RATES[role] ?? 18) + years * 0.42 + next() * 4;
  const email = `${PLAIN_FIRST_NAMES[first]}.${PLAIN_LAST_NAMES[last]}${id % 9973}@${pick(MAIL_HOSTS)}`;
  const phone = `(${place.area}) 555-${TWO[below(100)]}${TWO[below(100)]}`;
  const zip = `${place.zip}${TWO[below(100)]}`;
  const skills = next() < 0.04 ? "" : `"${skillList(random)}"`;
  const scores = `${score(0.004 + next() ** 2.2 * 0.6)},${score(next() * 0.45)},${score(next() ** 3 * 0.5)}`;
  const hired = `${2026 - Math.min(years, 1 + below(16))}-${TWO[1 + below(12)]}-${TWO[1 + below(28)]}`;
  const seen =
    next() < 0.06 ? "" : `2026-${TWO[1 + below(6)]}-${TWO[1 + below(28)]} ${TWO[below(24)]}:${TWO[below(60)]}:00`;
  return (
    `${id},${FIRST_NAMES[first]} ${LAST_NAMES[last]},${email},${phone},${role},${place.city},${place.state},${zip},` +
    `${skills},${years},${rate.toFixed(2)},${scores},${next() < 0.62},${hired},${seen},"${resume(role, years, random)}"\n`
  );
}

/** The text as it stands between the quotes of a CSV field: its own quotes are doubled. */
function resume(role: string, years: number, random: Random): string {
  const { below, pick } = random;
  const trait = below(TRAITS.length);
  const other = TRAITS[(trait + 1 + below(TRAITS.length - 1)) % TRAITS.length];
  let text = `${capital(role)}, ${years} years. ${capital(TRAITS[trait] ?? "")} and ${other}.`;
  let until = 2026;
  for (let job = 2 + below(2); job > 0; job--) {
    const from = until - 1 - below(5);
    text += `\n${from}-${until} ${pick(EMPLOYERS)}: ${pick(VERBS)} ${20 + below(980)} ${pick(THINGS)} a week ${pick(PLACES)}, ${pick(VERBS)} ${pick(THINGS)}, ${pick(VERBS)} ${pick(THINGS)} ${pick(PLACES)}.`;
    until = from;
  }
  text += `\n""${capital(pick(QUOTES))}"", said ${pick(REFEREES)}, badge ${100000 + below(900000)}.`;
  return `${text}\nLooking for ${pick(GOALS)}.`;
}

function skillList({ below, pick }: Random): string {
  let list = pick(SKILLS);
  for (let more = below(4); more > 0; more--) list += `, ${pick(SKILLS)}`;
  return list;
}

function score(lost: number): string {
  return (1 - lost).toFixed(3);
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** `José O'Neil` as `jose`, `oneil`. */
function mailName(name: string): string {
  return name
    .normalize("NFD")
    .replace(/[^A-Za-z]/g, "")
    .toLowerCase();
}
