import { expect, test } from "vitest";
import { tracesEndpoint } from "../../src/config/settings.ts";

const BASE = "OTEL_EXPORTER_OTLP_ENDPOINT";
const OWN = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

test.each<[env: Record<string, string>, endpoint: string | undefined, said: RegExp | undefined]>([
  [{}, undefined, undefined],
  [{ [BASE]: "" }, undefined, undefined],
  [{ [BASE]: "  " }, undefined, undefined],
  [{ [BASE]: "http://127.0.0.1:4318" }, "http://127.0.0.1:4318/v1/traces", undefined],
  [{ [BASE]: "https://cloud.example.com/otel/" }, "https://cloud.example.com/otel/v1/traces", undefined],
  [{ [BASE]: "http://a", [OWN]: "http://b/mine" }, "http://b/mine", undefined],
  [{ [BASE]: "http://ann:secret@a/?key=secret" }, "http://a/v1/traces", undefined],
  [{ [BASE]: "http://a", OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf" }, "http://a/v1/traces", undefined],
  [{ [BASE]: "http://a", OTEL_SDK_DISABLED: "TRUE" }, undefined, undefined],
  [{ [BASE]: "http://a", OTEL_SDK_DISABLED: "false" }, "http://a/v1/traces", undefined],
  [{ [BASE]: "http://a", OTEL_TRACES_EXPORTER: "none" }, undefined, undefined],
  [{ [BASE]: "collector:4318" }, undefined, new RegExp(`${BASE} is no http`)],
  [{ [OWN]: "secret" }, undefined, new RegExp(`${OWN} is no http`)],
  [{ [BASE]: "unix:///secret" }, undefined, /no http/],
  [{ [BASE]: "http://a", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }, undefined, /grpc/],
  [
    { [BASE]: "http://a", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc", OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/json" },
    "http://a/v1/traces",
    undefined,
  ],
])("%j sends traces to %s", (env, endpoint, said) => {
  const lines: string[] = [];
  expect(
    tracesEndpoint(env, (level, message, fields) => void lines.push(JSON.stringify({ level, message, ...fields }))),
  ).toBe(endpoint);
  expect(lines).toHaveLength(said ? 1 : 0);
  if (said) expect(lines[0]).toMatch(said);
  expect(`${endpoint}${lines}`).not.toContain("secret");
});
