import * as z from "zod";
import { didYouMean } from "../engine/catalog/nearest.ts";

/** Schemas of values as a person writes them. */

const UNITS: Record<string, number> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};
const TIMES: Record<string, number> = { ms: 1, s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 };

function measured(units: Record<string, number>, plain: string, example: string, least = 1) {
  const names = Object.keys(units).join(", ");
  return z
    .union([z.number(), z.string()])
    .transform((value, context) => {
      const [, digits = "", unit = plain] = /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)?\s*$/.exec(String(value)) ?? [];
      const factor = units[unit];
      if (digits !== "" && factor !== undefined) return Math.round(Number(digits) * factor);
      context.addIssue({ code: "custom", message: `expected a number with one of ${names}, for example "${example}"` });
      return z.NEVER;
    })
    .pipe(z.int().min(least));
}

export const size = (least = 1) => measured(UNITS, "B", "256MiB", least);
export const duration = (least = 1) => measured(TIMES, "ms", "30s", least);
export const atMost = (schema: z.ZodType<number, number | string | undefined>, most: number) =>
  schema.pipe(z.int().max(most));
export const count = (least = 1) => {
  const message = `expected a whole number from ${least} on`;
  return z.coerce.number({ error: message }).pipe(z.int({ error: message }).min(least, message));
};

export const NOT_EMPTY = "expected a value; leave it out to go without";
/** An address to which paths are appended. Without a password, which would appear in errors. */
export const url = (example: string) =>
  z
    .string()
    .min(1, NOT_EMPTY)
    .refine((text) => {
      const parsed = URL.canParse(text) ? new URL(text) : undefined;
      return parsed && /^https?:$/.test(parsed.protocol) && !parsed.username && !parsed.password && !/[?#]/.test(text);
    }, `expected an http or https address without user, password and query, for example "${example}"`);
/** Names or addresses, which contain no commas: `a,b` in the environment or a flag is two of them. */
export const names = () =>
  z
    .array(z.string())
    .min(1, NOT_EMPTY)
    .transform((items) => items.flatMap((item) => item.split(",")).map((item) => item.trim()))
    .refine((items) => !items.includes(""), "one of them is empty; to go without, leave the setting out");
/** DuckDB and Node accept the same names, in any case. An offset such as `+05:30` is not a time zone. */
export const timeZone = () =>
  z.string().superRefine((name, context) => {
    if (isTimeZone(name)) return;
    const close = didYouMean(name.trim().replaceAll(" ", "_"), ["UTC", ...Intl.supportedValuesOf("timeZone")]);
    context.addIssue({
      code: "custom",
      message: `expected the IANA name of a time zone, as in "America/Chicago".${close}`,
    });
  });

function isTimeZone(name: string): boolean {
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** A boolean in the file, a word elsewhere. */
export const yesNo = () => z.union([z.boolean(), z.enum(["true", "false"]).transform((word) => word === "true")]);
