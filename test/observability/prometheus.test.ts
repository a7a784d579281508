import { expect, test } from "vitest";
import { openCounter, openHistogram, render } from "../../src/observability/prometheus.ts";
import { parseExposition } from "../support/exposition.ts";

test("labels and helps are escaped, numbers written as Prometheus reads them", () => {
  const text = render([
    {
      name: "a_total",
      type: "counter",
      help: 'back\\slash, "quote"\nline',
      samples: [{ labels: { name: 'back\\slash, "quote"\nline é' }, value: 1e21 }],
    },
    { name: "b", type: "gauge", help: "none", samples: [] },
    {
      name: "c",
      type: "gauge",
      help: "odd",
      samples: [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0.5].map((value, at) => ({
        labels: { at: String(at) },
        value,
      })),
    },
  ]);
  expect(text).toBe(
    [
      '# HELP a_total back\\\\slash, "quote"\\nline',
      "# TYPE a_total counter",
      'a_total{name="back\\\\slash, \\"quote\\"\\nline é"} 1e+21',
      "# HELP b none",
      "# TYPE b gauge",
      "# HELP c odd",
      "# TYPE c gauge",
      'c{at="0"} NaN',
      'c{at="1"} +Inf',
      'c{at="2"} -Inf',
      'c{at="3"} -0.5',
      "",
    ].join("\n"),
  );
  expect(parseExposition(text).values.size).toBe(5);
});

test("a histogram counts values up to each bound, the bound included, and all", () => {
  const histogram = openHistogram([0.1, 1]);
  for (const value of [0.05, 0.1, 0.5, 1, 7]) histogram.observe(value);
  const series = parseExposition(
    render([{ name: "took_seconds", type: "histogram", help: "time", samples: histogram.samples({ tool: "sql" }) }]),
  );
  expect(Object.fromEntries(series.values)).toEqual({
    'took_seconds_bucket{tool="sql",le="0.1"}': 2,
    'took_seconds_bucket{tool="sql",le="1"}': 4,
    'took_seconds_bucket{tool="sql",le="+Inf"}': 5,
    'took_seconds_sum{tool="sql"}': 8.65,
    'took_seconds_count{tool="sql"}': 5,
  });
});

test("a counter adds up by its labels", () => {
  const counter = openCounter();
  counter.add({ tool: "sql" });
  counter.add({ tool: "sql" }, 2);
  counter.add({ tool: "embed" }, 0);
  expect(counter.samples()).toEqual([
    { labels: { tool: "sql" }, value: 3 },
    { labels: { tool: "embed" }, value: 0 },
  ]);
});
