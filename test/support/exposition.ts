export interface Exposition {
  /** Value by series as it is written: `lakehouse_tool_calls_total{tool="sql"}`. */
  values: Map<string, number>;
  types: Map<string, string>;
  value(series: string): number;
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"';
const SAMPLE = new RegExp(
  `^((${NAME})(?:\\{${LABEL}(?:,${LABEL})*\\})?) (NaN|[+-]Inf|-?\\d+(?:\\.\\d+)?(?:e[+-]?\\d+)?)$`,
);
const SUFFIXES: Record<string, string[]> = { histogram: ["_bucket", "_sum", "_count"], counter: [""], gauge: [""] };

/** Reads Prometheus' text format, and throws for whatever its specification does not allow. */
export function parseExposition(text: string): Exposition {
  if (!text.endsWith("\n")) throw new Error("The last line has no end.");
  const types = new Map<string, string>();
  const helped = new Set<string>();
  const values = new Map<string, number>();
  let family = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const help = new RegExp(`^# HELP (${NAME}) (\\S.*)$`).exec(line);
    const type = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram)$`).exec(line);
    if (help?.[1] !== undefined) {
      if (helped.has(help[1])) throw new Error(`HELP twice: ${line}`);
      helped.add(help[1]);
      family = help[1];
    } else if (type?.[1] !== undefined) {
      if (types.has(type[1]) || type[1] !== family) throw new Error(`TYPE twice, or not after its HELP: ${line}`);
      types.set(type[1], type[2] ?? "");
    } else {
      const [, series, name, value] = SAMPLE.exec(line) ?? [];
      if (series === undefined || name === undefined) throw new Error(`No sample: ${line}`);
      const allowed = SUFFIXES[types.get(family) ?? ""]?.map((suffix) => family + suffix);
      if (!allowed?.includes(name)) throw new Error(`Not of the family ${family}: ${line}`);
      if (values.has(series)) throw new Error(`A series twice: ${line}`);
      values.set(series, Number(value?.replace("Inf", "Infinity")));
    }
  }
  return {
    values,
    types,
    value: (series) => {
      const value = values.get(series);
      if (value === undefined) throw new Error(`There is no ${series} among ${[...values.keys()].join("\n")}`);
      return value;
    },
  };
}
