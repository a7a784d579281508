import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { LakeError } from "../../../src/engine/kernel/errors.ts";
import { openScope } from "../../../src/engine/kernel/scope.ts";
import { openTokens } from "../../../src/transport/gates/tokens.ts";
import { refused } from "./refused.ts";

const ALICE = "alice-secret-0123456789";
const BOB = "bob-secret-0123456789ab";
const CAROL = "carol-secret-0123456789";

function open(settings: { inline?: string; file?: string }) {
  const scope = openScope();
  const logged: { level: string; message: string; fields?: Record<string, unknown> }[] = [];
  let time = 0;
  const tokens = openTokens(
    scope,
    settings,
    (level, message, fields) => void logged.push({ level, message, ...(fields && { fields }) }),
    () => time,
  );
  return {
    scope,
    tokens,
    logged,
    warnings: () => logged.filter(({ level }) => level === "warn"),
    later: (ms: number) => {
      time += ms;
    },
    names: (...asked: string[]) => asked.map((token) => tokens.find(token)?.name),
  };
}

function newFile(text: string | Buffer, mode = 0o600): string {
  const folder = mkdtempSync(join(tmpdir(), "lakehouse-tokens-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "tokens");
  write(file, text, mode);
  return file;
}

function write(file: string, text: string | Buffer, mode = 0o600): void {
  writeFileSync(file, text);
  chmodSync(file, mode);
}

const everything = (error: LakeError): string => `${error.message} ${error.hint} ${error.stack} ${String(error.cause)}`;

test.each<[string, string, (string | undefined)[], number]>([
  ["a bare token", ALICE, ["default", undefined], 1],
  ["one with a name", `alice:${ALICE}`, ["alice", undefined], 1],
  ["two", `alice:${ALICE},bob:${BOB}`, ["alice", "bob"], 2],
  ["two with blanks and lines", ` alice:${ALICE} ,\n bob:${BOB} , `, ["alice", "bob"], 2],
  ["two of one name", `team:${ALICE},team:${BOB}`, ["team", "team"], 2],
  ["the longest name", `${"a".repeat(64)}:${ALICE}`, ["a".repeat(64), undefined], 1],
  ["all letters of names", `A.b_c-9:${ALICE}`, ["A.b_c-9", undefined], 1],
])("http_token takes %s", (_, inline, names, size) => {
  const { tokens, names: find } = open({ inline });
  expect(find(ALICE, BOB)).toEqual(names);
  expect(tokens.size).toBe(size);
});

test("a token tells whether it was taken away since, or given to another name", () => {
  const file = newFile(`alice:${ALICE}\nbob:${BOB}\n`);
  const { tokens, later } = open({ inline: `carol:${CAROL}`, file });
  const [alice, bob, carol] = [ALICE, BOB, CAROL].map((token) => tokens.find(token));
  const removed = () => [alice, bob, carol].map((caller) => caller?.isRemoved?.());
  expect(removed()).toEqual([false, false, false]);
  write(file, `robert:${BOB}\n`);
  later(2_000);
  expect(removed()).toEqual([true, true, false]);
  write(file, `alice:${ALICE}\nbob:${BOB}\n`);
  later(2_000);
  expect(removed()).toEqual([false, false, false]);
});

test("a token is found whole only", () => {
  const { tokens } = open({ inline: `alice:${ALICE},bob:${BOB}` });
  for (const wrong of [
    "",
    ALICE.slice(1),
    ALICE.slice(0, -1),
    `${ALICE}x`,
    ` ${ALICE}`,
    ALICE.toUpperCase(),
    `alice:${ALICE}`,
  ]) {
    expect(tokens.find(wrong)).toBeUndefined();
  }
  expect(tokens.find("x".repeat(100_000))).toBeUndefined();
});

test("tokens of 16 and of 512 characters are taken", () => {
  expect(open({ inline: "x".repeat(16) }).tokens.size).toBe(1);
  expect(open({ inline: "x".repeat(512) }).tokens.size).toBe(1);
});

test.each<[string, string, string]>([
  ["nothing", "", "no token in http_token"],
  ["blanks", " , ", "no token in http_token"],
  ["a short one", "SECRET-shorter-", "Token 1 of http_token is shorter than 16 characters"],
  ["a short one with a name", "alice:SECRET-shorter-", "Token 1 of http_token is shorter"],
  ["a name alone", `bob:${BOB},alice:`, "Token 2 of http_token is shorter"],
  ["a long one", `SECRET${"x".repeat(507)}`, "longer than 512"],
  ["two bare ones", "SECRET-0123456789abc,SECRET-9876543210abc", "Token 1 of http_token has no name"],
  ["a bare second", `bob:${BOB},SECRET-9876543210abc`, "Token 2 of http_token has no name"],
  ["no name before the colon", ":SECRET-0123456789abc", "Token 1 of http_token has a name"],
  ["a bad name", "SECRET/x:0123456789abcdef", "Token 1 of http_token has a name"],
  ["a name that is too long", `SECRET${"a".repeat(59)}:0123456789abcdef`, "Token 1 of http_token has a name"],
  ["a colon in the token", "alice:SECRET:0123456789abcdef", "characters other than"],
  ["quotes", '"SECRET-0123456789abc"', "characters other than"],
  ["= in the middle", "SECRET=0123456789abc", "characters other than"],
  ["other letters", "SECRET-ä-0123456789abc", "characters other than"],
  ["one token of two names", `alice:SECRET-0123456789abc,bob:SECRET-0123456789abc`, "under two names"],
])("http_token refuses %s and shows nothing of it", (_, inline, why) => {
  const error = refused(() => open({ inline }));
  expect(error.kind).toBe("invalid");
  expect(error.message).toContain(why);
  expect(error.hint).toBeDefined();
  expect(everything(error)).not.toMatch(/SECRET|0123456789/);
});

test("without a source nothing opens", () => {
  expect(refused(() => open({})).kind).toBe("invalid");
});

test("a closed scope lets nobody in", async () => {
  const opened = open({ inline: ALICE, file: newFile(`bob:${BOB}\n`) });
  expect(opened.names(ALICE, BOB)).toEqual(["default", "bob"]);
  await opened.scope.close();
  opened.later(5_000);
  expect(opened.names(ALICE, BOB)).toEqual([undefined, undefined]);
});

describe("a file", () => {
  test.each<[string, string]>([
    ["lines", `alice:${ALICE}\nbob:${BOB}\n`],
    ["comments and empty lines", `# people\n\nalice:${ALICE}\n  # robots:${CAROL}\n\nbob:${BOB}`],
    ["the line ends of Windows and a mark", `\uFEFFalice:${ALICE}\r\nbob:${BOB}\r\n`],
    ["blanks around", `  alice:${ALICE}  \n\tbob:${BOB}\t\n`],
  ])("is read with %s", (_, text) => {
    const { names, tokens, logged } = open({ file: newFile(text) });
    expect(names(ALICE, BOB, CAROL)).toEqual(["alice", "bob", undefined]);
    expect(tokens.size).toBe(2);
    expect(logged).toEqual([]);
  });

  test("of one bare token, as secrets are mounted, is read", () => {
    expect(open({ file: newFile(`${ALICE}\n`) }).names(ALICE)).toEqual(["default"]);
  });

  test("adds to http_token, and may not contradict it", () => {
    const file = newFile(`alice:${ALICE}\n`);
    expect(open({ inline: `bob:${BOB}`, file }).names(ALICE, BOB)).toEqual(["alice", "bob"]);
    expect(refused(() => open({ inline: `bob:${ALICE}`, file })).message).toContain("under two names");
  });

  test.each<[string, string, string]>([
    ["without tokens", "# SECRET\n\n", "no token in http_token_file"],
    ["with a short one", `# x\nalice:${ALICE}\nbob:SECRET\n`, "Line 3 of http_token_file is shorter"],
    ["with a line without a name", `alice:${ALICE}\nSECRET-0123456789abc\n`, "Line 2 of http_token_file has no name"],
    ["with a comment behind", `alice:SECRET-0123456789abc # x\n`, "Line 1 of http_token_file has characters"],
    ["with several on one line", `alice:SECRET-0123456789abc,bob:x\n`, "Line 1 of http_token_file has characters"],
  ])("%s does not start, and nothing of it is shown", (_, text, why) => {
    const error = refused(() => open({ file: newFile(text) }));
    expect(error.kind).toBe("invalid");
    expect(error.message).toContain(why);
    expect(everything(error)).not.toContain("SECRET");
  });

  test("that is absent, a folder or huge does not start", () => {
    const file = newFile("x");
    const refusal = (path: string): string => {
      const { message, hint } = refused(() => open({ file: path }));
      expect(hint).toMatch(/^Set http_token_file to a file with one "name:token" a line/);
      return message;
    };
    expect(refusal(`${file}-absent`)).toMatch(/http_token_file ".*-absent" does not exist/);
    expect(refusal(join(file, ".."))).toContain("is not a regular file");
    write(file, Buffer.alloc(2 ** 20 + 1, "#"));
    expect(refusal(file)).toContain("is larger than");
  });

  test.each([
    [0o600, 0],
    [0o400, 0],
    [0o640, 1],
    [0o604, 1],
    [0o620, 1],
    [0o601, 1],
  ])("of mode %o is complained about %i times", (mode, times) => {
    const { warnings } = open({ file: newFile(`alice:${ALICE}`, mode) });
    expect(warnings()).toHaveLength(times);
    if (times > 0) expect(JSON.stringify(warnings())).toContain(`"mode":"0${mode.toString(8)}"`);
  });
});

describe("a file that changes", () => {
  const CHANGES: [string, (file: string, text: string) => void][] = [
    ["written over", (file, text) => write(file, text)],
    [
      "replaced",
      (file, text) => {
        write(`${file}.new`, text);
        renameSync(`${file}.new`, file);
      },
    ],
    [
      "written over with the same size and time",
      (file, text) => {
        utimesSync(file, 1_000, 1_000);
        write(file, text);
        utimesSync(file, 1_000, 1_000);
      },
    ],
  ];

  test.each(CHANGES)("because it is %s counts from then on", (_, change) => {
    const file = newFile(`alice:${ALICE}\n`);
    utimesSync(file, 1_000, 1_000);
    const { names, later, tokens, logged } = open({ file });
    later(60_000);
    expect(names(ALICE, CAROL)).toEqual(["alice", undefined]);
    change(file, `carol:${CAROL}\n`.padEnd(`alice:${ALICE}\n`.length, "\n"));
    later(999);
    expect(names(ALICE, CAROL)).toEqual(["alice", undefined]);
    later(1);
    expect(names(ALICE, CAROL)).toEqual([undefined, "carol"]);
    expect(tokens.size).toBe(1);
    expect(logged).toEqual([{ level: "info", message: "the file of tokens was read again", fields: { file } }]);
  });

  test("because a link above it points elsewhere, as mounted secrets do, counts", () => {
    const old = newFile(`alice:${ALICE}\n`);
    const folder = join(old, "..");
    mkdirSync(join(folder, "2"));
    write(join(folder, "2", "tokens"), `carol:${CAROL}\n`);
    symlinkSync(folder, join(folder, "data"));
    const { names, later } = open({ file: join(folder, "data", "tokens") });
    expect(names(ALICE)).toEqual(["alice"]);
    symlinkSync(join(folder, "2"), join(folder, "data.new"));
    renameSync(join(folder, "data.new"), join(folder, "data"));
    later(1_000);
    expect(names(ALICE, CAROL)).toEqual([undefined, "carol"]);
  });

  test("is looked at once a second, not with every call", () => {
    const file = newFile(`alice:${ALICE}\n`);
    const { names, later } = open({ file });
    later(1_000);
    expect(names(ALICE)).toEqual(["alice"]);
    write(file, `carol:${CAROL}\n`);
    for (let call = 0; call < 9; call++) {
      later(100);
      expect(names(CAROL)).toEqual([undefined]);
    }
    later(100);
    expect(names(CAROL)).toEqual(["carol"]);
  });

  test("keeps what http_token says", () => {
    const file = newFile(`alice:${ALICE}\n`);
    const { names, later } = open({ inline: `bob:${BOB}`, file });
    write(file, `carol:${CAROL}\n`);
    later(1_000);
    expect(names(ALICE, BOB, CAROL)).toEqual([undefined, "bob", "carol"]);
  });

  const BREAKS: [string, string, (file: string) => void][] = [
    ["gone", "does not exist", (file) => rmSync(file)],
    ["empty", "no token in http_token_file", (file) => write(file, "")],
    ["full of comments", "no token in http_token_file", (file) => write(file, `# ${CAROL}`)],
    ["half written", "Line 2 of http_token_file has no name", (file) => write(file, `carol:${CAROL}\nSECRET`)],
    ["short of a token", "Line 1 of http_token_file is shorter", (file) => write(file, "carol:SECRET")],
    ["in contradiction to http_token", "under two names", (file) => write(file, `carol:${BOB}`)],
    ["huge", "is larger than", (file) => write(file, Buffer.alloc(2 ** 20 + 1, "SECRET"))],
    [
      "a folder",
      "is not a regular file",
      (file) => {
        rmSync(file);
        mkdirSync(file);
      },
    ],
  ];

  test.each(BREAKS)("and is %s leaves the old tokens, with one warning until it is right", (_, why, spoil) => {
    const file = newFile(`alice:${ALICE}\n`);
    const { names, later, logged } = open({ inline: `bob:${BOB}`, file });
    spoil(file);
    for (let second = 0; second < 10; second++) {
      later(1_000);
      expect(names(ALICE, BOB, CAROL)).toEqual(["alice", "bob", undefined]);
    }
    expect(logged).toHaveLength(1);
    expect(logged[0]).toMatchObject({ level: "warn", fields: { file, reason: expect.stringContaining(why) } });
    expect(JSON.stringify(logged)).not.toMatch(/SECRET|0123456789/);
    rmSync(file, { recursive: true, force: true });
    write(file, `carol:${CAROL}\n`);
    later(1_000);
    expect(names(ALICE, BOB, CAROL)).toEqual([undefined, "bob", "carol"]);
    expect(logged.at(-1)?.level).toBe("info");
    later(1_000);
    expect(names(CAROL)).toEqual(["carol"]);
    expect(logged).toHaveLength(2);
  });

  test("its mode is complained about when others may read it from now on", () => {
    const file = newFile(`alice:${ALICE}\n`);
    const { later, names, warnings } = open({ file });
    chmodSync(file, 0o644);
    later(1_000);
    expect(names(ALICE)).toEqual(["alice"]);
    later(1_000);
    expect(names(ALICE)).toEqual(["alice"]);
    expect(warnings()).toHaveLength(1);
  });
});
