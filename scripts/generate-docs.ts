import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
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
const { ERROR_CODES } = await load("engine/kernel/error-codes.js");
const { FORMAT_NAMES, formatSpec } = await load("engine/ingest/formats.js");
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

function errorsTable(): string {
  const rows = Object.entries(ERROR_CODES as Record<string, { meaning: string; retry: boolean }>).map(
    ([code, { meaning, retry }]) => `| \`${code}\` | ${cell(meaning)} | ${retry ? "yes" : ""} |`,
  );
  return ["| Code | | Calling again may help |", "| --- | --- | --- |", ...rows].join("\n");
}

function formatsTable(): string {
  const rows = (FORMAT_NAMES as string[]).map((name) => {
    const { title, extensions, isStart } = formatSpec(name) as {
      title: string;
      extensions: string[];
      isStart?: unknown;
    };
    const names = extensions.map((extension) => `\`.${extension}\``).join(", ");
    return `| ${title} | \`${name}\` | ${names} | ${isStart ? "" : "yes"} |`;
  });
  return ["| | `format` | File names | Also as .gz and .zst |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

const TABLES: [file: string, name: string, table: string][] = [
  ["README.md", "tools", toolsTable()],
  ["docs/settings.md", "settings", settingsTable()],
  ["docs/errors.md", "errors", errorsTable()],
  ["docs/ingest.md", "formats", formatsTable()],
];
const isCheck = process.argv.includes("--check");
const wrong: string[] = [];
for (const [file, name, table] of TABLES) {
  const path = join(root, file);
  const before = readFileSync(path, "utf8");
  const marker = new RegExp(`(<!-- ${name} -->)[\\s\\S]*?(<!-- /${name} -->)`);
  if (!marker.test(before)) throw new Error(`${file} has no <!-- ${name} --> … <!-- /${name} --> section`);
  const after = before.replace(marker, (_, open: string, close: string) => `${open}\n${table}\n${close}`);
  if (!isCheck) writeFileSync(path, after);
  else if (after !== before) wrong.push(`${file} does not match the code. Run: npm run docs`);
}
wrong.push(...deadLinks());
if (wrong.length > 0) {
  process.stderr.write(`${wrong.join("\n")}\n`);
  process.exitCode = 1;
}

/** Links to files and headings that are not there. */
function deadLinks(): string[] {
  const docs = readdirSync(join(root, "docs")).map((name) => join("docs", name));
  const pages = [...readdirSync(root), ...docs].filter((name) => name.endsWith(".md"));
  return pages.flatMap((page) => {
    const links = readFileSync(join(root, page), "utf8").matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g);
    return Array.from(links).flatMap(([, to = "", anchor]) => {
      const target = to === "" ? page : join(dirname(page), to);
      const isThere = existsSync(join(root, target)) && (anchor === undefined || anchorsOf(target).has(anchor));
      return isThere ? [] : [`${page} links to ${to}${anchor === undefined ? "" : `#${anchor}`}, which is not there.`];
    });
  });
}

/** As GitHub makes them of headings. */
function anchorsOf(page: string): Set<string> {
  const text = readFileSync(join(root, page), "utf8").replace(/^```[\s\S]*?^```/gm, "");
  return new Set(
    Array.from(text.matchAll(/^#+ (.*)$/gm), ([, heading = ""]) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}
