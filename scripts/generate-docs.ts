import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// Run from the repository's root, after the build: the tables are made from the schemas that the server uses.
const root = process.cwd();
const load = (module: string) => import(pathToFileURL(join(root, ".build", "src", module)).href);

interface JsonSchema {
  description?: string;
  type?: string;
  enum?: string[];
  items?: JsonSchema;
  anyOf?: JsonSchema[];
  default?: unknown;
  secret?: boolean;
  properties?: Record<string, JsonSchema>;
  required?: string[];
}

const { configSchema, envName, flagName } = await load("config/config.js");
const { tools } = await load("tools/index.js");
const { z } = await import("zod");

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

function settingsTable(): string {
  const { properties = {} } = z.toJSONSchema(configSchema, { io: "input" }) as JsonSchema;
  const rows = Object.entries(properties).map(([name, setting]) => {
    const fallback = setting.default === undefined ? "" : `\`${String(setting.default)}\``;
    const flag = setting.secret ? "" : `\`${flagName(name)}\``;
    return `| \`${name}\` | \`${envName(name)}\` | ${flag} | ${fallback} | ${cell(setting.description ?? "")} |`;
  });
  return ["| Setting | Environment | Flag | Default | |", "| --- | --- | --- | --- | --- |", ...rows].join("\n");
}

function toolsTable(): string {
  const rows = (tools as { name: string; description: string; input: never }[]).map((tool) => {
    const { properties = {}, required = [] } = z.toJSONSchema(tool.input, { io: "input" }) as JsonSchema;
    const args = Object.keys(properties).map((name) => `\`${name}${required.includes(name) ? "" : "?"}\``);
    return `| \`${tool.name}\` | ${args.join(" ")} | ${cell(tool.description)} |`;
  });
  return ["| Tool | Arguments (`?` optional) | |", "| --- | --- | --- |", ...rows].join("\n");
}

const readme = join(root, "README.md");
const before = readFileSync(readme, "utf8");
let after = before;
for (const [name, table] of Object.entries({ settings: settingsTable(), tools: toolsTable() })) {
  const marker = new RegExp(`(<!-- ${name} -->)[\\s\\S]*?(<!-- /${name} -->)`);
  if (!marker.test(after)) throw new Error(`README.md has no <!-- ${name} --> … <!-- /${name} --> section`);
  after = after.replace(marker, (_, open: string, close: string) => `${open}\n${table}\n${close}`);
}

if (!process.argv.includes("--check")) {
  writeFileSync(readme, after);
} else if (after !== before) {
  process.stderr.write("README.md does not match the code. Run: npm run docs\n");
  process.exitCode = 1;
}
