import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ExactNumber,
  isExactNumber,
  parseExact,
  parseExactInSlices,
  stringifyExact,
} from "../../../src/engine/kernel/exact-json.ts";
import { JsonLimitError } from "../../../src/engine/kernel/json-limit-error.ts";

const MESSAGE = { maxDepth: 100, maxKeys: 10_000, message: { maxKeys: 1_000 } };
const BIG = "9007199254740993";

describe("numbers that a double does not hold", () => {
  test.each([
    BIG,
    "9007199254740992",
    "-9007199254740993",
    "100000000000000000000",
    "9007199254740993.0",
    "9007199254740993.5",
    "0.1234567890123456789",
    "123456789012345678.91",
    "9.007199254740993e15",
    "1e400",
    "-1e400",
    "1e-400",
    "3e-324",
    "9".repeat(5_000),
  ])("%s is kept as it was written", (literal) => {
    const read = parseExact(literal);
    expect(isExactNumber(read)).toBe(true);
    expect(String(read)).toBe(literal);
    expect(parseExact(` {"a" : [ ${literal}\n]}`)).toEqual({ a: [new ExactNumber(literal)] });
  });

  test.each([
    ["9007199254740991", 9007199254740991],
    ["5000000000000000", 5e15],
    ["0.12345678901234568", 0.12345678901234568],
    ["123456789012345.67", 123456789012345.67],
    ["1.00000000000000000000", 1],
    ["1e23", 1e23],
    ["5e-324", 5e-324],
    ["0e-999", 0],
    ["-0", -0],
  ])("%s is a number", (literal, number) => {
    expect(parseExact(literal)).toBe(number);
  });

  test.each([`0${BIG}`, `{${BIG}: 1}`, `"a"${BIG}`, "1e", "-", `+${BIG}`, `${BIG}.`, `[${BIG} ${BIG}]`])(
    "%s is no JSON",
    (text) => {
      expect(() => parseExact(text)).toThrow(SyntaxError);
    },
  );

  test("in strings, digits are text; of a key that comes twice the last value counts", () => {
    expect(parseExact(`{"a\\"${BIG}": "\\\\\\"${BIG}"}`)).toEqual({ [`a"${BIG}`]: `\\"${BIG}` });
    expect(parseExact(`{"a": ${BIG}, "a": 1}`)).toEqual({ a: 1 });
    const own = parseExact(`{"__proto__": ${BIG}}`) as object;
    expect(Object.getOwnPropertyDescriptor(own, "__proto__")?.value).toEqual(new ExactNumber(BIG));
  });

  test("a string that looks like what stands for one is none", () => {
    const once = stringifyExact(parseExact(`[${BIG}]`));
    expect(once).toBe(`[${BIG}]`);
    expect(JSON.stringify(parseExact(`[${BIG}, "${BIG}"]`))).toBe(`["${BIG}","${BIG}"]`);
  });

  test("it crosses to another thread as what it is, unlike an object or a text of the same characters", () => {
    const [exact, text] = structuredClone([new ExactNumber(BIG), BIG]);
    expect(isExactNumber(exact)).toBe(true);
    expect(String(exact)).toBe(BIG);
    expect(isExactNumber(text)).toBe(false);
  });
});

test("what JSON.parse reads without a loss is read the same, and written the same", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(undefined, 1), (value, indent) => {
      const text = JSON.stringify(value, null, indent);
      expect(stringifyExact(parseExact(text))).toBe(JSON.stringify(JSON.parse(text)));
    }),
  );
});

test("every number comes back as it was written, or as the double that is the same", () => {
  const digits = fc.stringMatching(/^(0|[1-9]\d{0,24})(\.\d{1,24})?(e[+-]?\d{1,3})?$/);
  fc.assert(
    fc.property(digits, fc.jsonValue(), (literal, beside) => {
      const text = `{"k": [${JSON.stringify(beside)}, {"n": ${literal}}]}`;
      const { k } = parseExact(text) as { k: [unknown, { n: unknown }] };
      const { n } = k[1];
      if (isExactNumber(n)) expect(String(n)).toBe(literal);
      else expect(decimal(String(n))).toBe(decimal(literal));
    }),
    { numRuns: 2_000 },
  );
});

/** The number as a fraction of whole numbers. */
function decimal(literal: string): string {
  const [mantissa = "", exponent = "0"] = literal.toLowerCase().split("e");
  const [whole = "", fraction = ""] = mantissa.split(".");
  let value = BigInt(whole + fraction);
  let power = Number(exponent) - fraction.length;
  while (value !== 0n && value % 10n === 0n) {
    value /= 10n;
    power++;
  }
  return value === 0n ? "0" : `${value}e${power}`;
}

describe("a message of the protocol", () => {
  const call = (args: string, more = "") => `{"id":${BIG},"params":{"_meta":{"x":${BIG}},"arguments":${args}}${more}}`;

  test("has exact numbers in its arguments alone, whatever surrounds them", () => {
    const text = call(
      `{"a":${BIG},"params":[{"vector":[${BIG}]}]}`,
      `,"x":[[[${BIG}]]],"y":{"arguments":{"a":${BIG}}}`,
    );
    const rounded = Number(BIG);
    expect(parseExact(text, MESSAGE)).toEqual({
      id: rounded,
      params: {
        _meta: { x: rounded },
        arguments: { a: new ExactNumber(BIG), params: [{ vector: [new ExactNumber(BIG)] }] },
      },
      x: [[[rounded]]],
      y: { arguments: { a: rounded } },
    });
    expect(parseExact(`[${call(`{"a":${BIG}}`)}]`, MESSAGE)).toMatchObject([
      { params: { arguments: { a: new ExactNumber(BIG) } } },
    ]);
    expect(parseExact(`{"p\\u0061rams":{"\\u0061rguments":{"a":${BIG}}}}`, MESSAGE)).toEqual({
      params: { arguments: { a: new ExactNumber(BIG) } },
    });
  });

  test("has vectors of doubles", () => {
    const text = call(
      `{"vector":[${BIG}],"items":[{"vector":[${BIG}, 1],"id":${BIG},"metadata":{"vector":[${BIG}]}}]}`,
    );
    expect(parseExact(text, MESSAGE)).toMatchObject({
      params: {
        arguments: {
          vector: [Number(BIG)],
          items: [
            {
              vector: [Number(BIG), 1],
              id: new ExactNumber(BIG),
              metadata: { vector: [new ExactNumber(BIG)] },
            },
          ],
        },
      },
    });
    // What ends a vector is not in a string.
    const odd = call(`{"vector":["]",${BIG}],"where":${BIG}}`);
    expect(parseExact(odd, MESSAGE)).toMatchObject({
      params: { arguments: { vector: ["]", Number(BIG)], where: new ExactNumber(BIG) } },
    });
  });

  test("has a limited depth, and a limited number of keys: more of them in the values of arguments", () => {
    const keys = (count: number) => `{${Array.from({ length: count }, (_, at) => `"k${at}":1`).join()}}`;
    expect(() => parseExact("[".repeat(100_000), MESSAGE)).toThrow(JsonLimitError);
    expect(() => parseExact(call(keys(1_001)), MESSAGE)).toThrow("more than 1000 keys");
    expect(() => parseExact(`{"params":{"_meta":${keys(1_001)}}}`, MESSAGE)).toThrow("more than 1000 keys");
    expect(() => parseExact(call(`{"a":${keys(1_001)}}`), MESSAGE)).not.toThrow();
    expect(() => parseExact(call(`{"a":[${keys(10_001)}]}`), MESSAGE)).toThrow("more than 10000 keys");
  });
});

test("the long way round gives the same", { tags: ["slow"] }, async () => {
  const numbers = Array.from({ length: 20_000 }, (_, at) =>
    at % 3 === 0 ? `900719925474${1000 + (at % 9000)}993` : at,
  );
  const text = `{"numbers":[${numbers.join()}],"text":${JSON.stringify('a"\\'.repeat(50_000))}}`;
  expect(await parseExactInSlices(text)).toEqual(parseExact(text));
  const tooMany = `[${Array(100_001).fill(BIG).join()}]`;
  await expect(parseExactInSlices(tooMany)).rejects.toThrow("send them as texts");
});

describe("a long text is parsed in pieces", () => {
  const PIECES = { maxDepth: 1_000, maxKeys: Number.POSITIVE_INFINITY, pieceChars: 1 };
  const outcome = (parse: () => unknown): unknown => {
    try {
      const value = parse();
      // Also the order of keys, and -0.
      return { value, text: JSON.stringify(value) };
    } catch (error) {
      return error instanceof SyntaxError ? "no JSON" : error;
    }
  };

  test.each([
    '{"a":1,"b":[1,2,{"c":[],"d":{}}],"a":[3]}',
    '{"a":[1,2],"b":2,"a":[3,4],"b":{"a":[5,6]}}',
    '{"b":1,"2":[1,2],"1":{"x":1,"0":2},"b":[3,4]}',
    '{"__proto__":{"a":1,"b":2},"c":1,"__proto__":[1,2],"constructor":[1,2]}',
    '{"":[1,2],"a":{"":1,"":2}}',
    '[ [1 ,2 ] ,\n[ {"a" : [ 1 , 2 ] , "b" : 1 } , 2 ] , -0 ]',
    '{"k\\u0022\\n,]":[1,"a,[{\\"",2],"l":1}',
    "[,1]",
    "[ ,1]",
    "[1,]",
    "[1,,2]",
    '{,"a":1}',
    '{"a":1,}',
    '{"a":1,,"b":2}',
    '{"a":,"b":1}',
    '{"a",1}',
    '{"a":[1,2},3]',
    "[1,2}",
    "[1,[2,3]",
    "[1,2],[3,4]",
    "[1,2] [3,4]",
    "[1,2]],[3",
    "1,2",
    "[1,2,-]",
    '["a,b',
    '[1,"a\nb",2]',
    '{"a":1,2}',
    '[1,"a":2]',
  ])("%s as in one piece", (text) => {
    expect(outcome(() => parseExact(text, PIECES))).toEqual(outcome(() => JSON.parse(text)));
  });

  test("any text, and any that is damaged", { tags: ["slow"] }, () => {
    const damaged = fc.record({
      text: fc.json({ maxDepth: 6, depthSize: "large" }),
      at: fc.nat(),
      removed: fc.nat(2),
      added: fc.constantFrom("", ",", "[", "]", "{", "}", ":", '"', "1", " ", "\\", '"a":'),
    });
    const pieceChars = fc.integer({ min: 1, max: 20 });
    fc.assert(
      fc.property(damaged, pieceChars, ({ text, at, removed, added }, size) => {
        const from = at % (text.length + 1);
        for (const each of [text, `${text.slice(0, from)}${added}${text.slice(from + removed)}`]) {
          const once = outcome(() => JSON.parse(each));
          const inPieces = outcome(() => parseExact(each, { ...PIECES, pieceChars: size, asText: true }));
          // Numbers that a double does not hold are kept apart, and tested above.
          if (!/\d[\d.]{15}|\d[eE]/.test(each)) expect(inPieces).toEqual(once);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  test("numbers stay exact in each piece", () => {
    const text = `{"a":[${BIG},1,${BIG}1],"b":{"c":${BIG},"__proto__":${BIG}2}}`;
    const read = parseExact(text, PIECES);
    expect(stringifyExact(read)).toBe(text);
  });
});

/** Megabytes, and what takes the longest to parse of it. */
const LONG: [what: string, value: unknown][] = [
  ["whole numbers", Array.from({ length: 1_000_000 }, (_, at) => at % 10)],
  ["short texts", Array.from({ length: 400_000 }, (_, at) => `a${at % 10}`)],
  ["objects", Array.from({ length: 90_000 }, (_, at) => ({ a: at, b: ["x"] }))],
  [
    "keys",
    Array.from({ length: 20 }, () => Object.fromEntries(Array.from({ length: 9_000 }, (_, at) => [`k${at}`, at]))),
  ],
  ["a vector", { jsonrpc: "2.0", params: { arguments: { vector: Array(1_000_000).fill(1) } } }],
  [
    "vectors",
    {
      jsonrpc: "2.0",
      params: {
        arguments: { items: Array.from({ length: 300 }, (_, id) => ({ id, vector: Array(768).fill(0.123456789) })) },
      },
    },
  ],
];

test.each(LONG)("a long text of %s is parsed in short pieces", { tags: ["slow"] }, async (_, value) => {
  const text = JSON.stringify(value);
  const lengths: number[] = [];
  const parse = JSON.parse;
  JSON.parse = (part: string) => {
    lengths.push(part.length);
    return parse(part);
  };
  try {
    expect(await parseExactInSlices(text, { ...MESSAGE, message: { maxKeys: 10_000 } })).toEqual(value);
  } finally {
    JSON.parse = parse;
  }
  expect(lengths.length).toBeGreaterThan(10);
  expect(Math.max(...lengths)).toBeLessThan(200_000);
});
