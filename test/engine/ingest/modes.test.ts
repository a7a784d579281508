import { describe, expect, it } from "vitest";
import { type Ingesting, openIngesting } from "../../support/ingesting.ts";

const text = (content: string) => ({ source: { text: content } });

describe("modes", () => {
  it("create what is not there, whichever it is", async () => {
    await using lake = await openIngesting();
    for (const mode of ["replace", "append", "create"] as const) {
      const { version } = await lake.ingest({ ...text("a\n1\n"), name: `by_${mode}`, mode });
      expect([version, (await lake.catalog.load(`by_${mode}`)).provenance.operation]).toEqual([1, "create"]);
    }
  });

  it("replace by default, and keep the old version", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("a\n1\n2\n"));
    const result = await lake.ingest(text("a\n3\n"));
    expect(result).toMatchObject({ version: 2, rows: 1, rows_written: 1, unchanged: false });
    expect(await lake.rows()).toEqual([{ a: "3" }]);
    expect((await lake.catalog.load("t", 1)).rows).toBe(2);
  });

  it("append rows as another file, in the dataset's order of columns", async () => {
    await using lake = await openIngesting();
    const first = await lake.ingest(text("a,b\n1,x\n"));
    const result = await lake.ingest({ ...text("b,a\ny,2\n"), mode: "append" });
    expect(result).toMatchObject({
      version: 2,
      rows: 2,
      rows_written: 1,
      schema_fingerprint: first.schema_fingerprint,
    });
    expect(await lake.rows()).toEqual([
      { a: "1", b: "x" },
      { a: "2", b: "y" },
    ]);
    expect((await lake.catalog.load("t")).files).toHaveLength(2);
  });

  it("refuse to create what exists, naming its version", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("a\n1\n"));
    const error = await lake.refused({ ...text("a\n2\n"), mode: "create" });
    expect([error.kind, error.message]).toEqual(["conflict", "t exists already, at version 1."]);
  });

  it("refuse a name that is none, offering one", async () => {
    await using lake = await openIngesting();
    expect(await lake.refused({ ...text("a\n1\n"), name: "My Data" })).toMatchObject({ kind: "invalid" });
  });

  it("start afresh after a drop, with field ids never used", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("a,b\n1,2\n"));
    await drop(lake);
    const { version } = await lake.ingest({ ...text("a\n1\n"), mode: "create" });
    const { columns } = await lake.catalog.load("t");
    expect([version, columns]).toEqual([3, [{ id: 3, name: "a", type: "BIGINT" }]]);
  });
});

async function drop(lake: Ingesting): Promise<void> {
  await lake.catalog.commit("t", (current) => ({
    kind: "table",
    dropped: true,
    columns: current?.columns ?? [],
    files: [],
    provenance: { operation: "drop", source: "", sourceHash: "", options: {} },
  }));
}

describe("schema", () => {
  it("that differs is refused, listing how, with the data untouched", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("a,b,c\n1,x,2020-01-01\n"));
    const before = await lake.files();
    for (const mode of ["replace", "append"] as const) {
      const error = await lake.refused({ ...text("a,c,d\n1,later,2\n"), mode });
      expect([error.kind, error.message]).toEqual([
        "conflict",
        'The columns differ from t@1. added: d BIGINT; removed: b VARCHAR; changed: c DATE → VARCHAR. Nothing was changed. inline text, line 2, column "c": "later" does not fit DATE: not a DATE.',
      ]);
    }
    expect(await lake.files()).toEqual(before);
    expect(await lake.rows()).toEqual([{ a: "1", b: "x", c: "2020-01-01" }]);
  });

  it("is replaced where that is allowed, and ids follow names", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("a,b\n1,x\n"));
    await lake.ingest({ ...text("b,c\ny,2\n"), schemaChange: "allow" });
    await lake.ingest({ ...text("a,b\nz,3\n"), schemaChange: "allow" });
    expect((await lake.catalog.load("t")).columns).toEqual([
      { id: 4, name: "a", type: "VARCHAR" },
      { id: 2, name: "b", type: "BIGINT" },
    ]);
  });

  it("grows on append where that is allowed; what rows do not have is NULL", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("a,b\n1,x\n"));
    await lake.ingest({ ...text("c,a\n5,2\n"), mode: "append", schemaChange: "allow" });
    expect(await lake.rows()).toEqual([
      { a: "1", b: "x", c: null },
      { a: "2", b: null, c: "5" },
    ]);
    expect((await lake.catalog.load("t")).columns.map(({ id }) => id)).toEqual([1, 2, 3]);
  });

  it("cannot change a type on append", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("a,b\n1,x\n"));
    for (const content of ["a,b\nq,x\n", "A,b\nq,x\n"]) {
      const error = await lake.refused({ ...text(content), mode: "append", schemaChange: "allow" });
      expect(error.kind).toBe("conflict");
    }
  });

  it("of the dataset is how a new file is read, as far as its values fit", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("zip,n,d\n02134,1.5,2020-01-01\n"));
    const second = await lake.ingest({ ...text("zip,n,d\n60431,2,\n"), mode: "append" });
    expect(second.columns.map(({ type }) => type)).toEqual(["VARCHAR", "DOUBLE", "DATE"]);
    const third = await lake.ingest(text("zip,n,d\n60431,3,2020-01-02\n"));
    expect(third.columns.map(({ type }) => type)).toEqual(["VARCHAR", "DOUBLE", "DATE"]);
    const fresh = await lake.ingest({ ...text("zip,n,d\n60431,3,2020-01-02\n"), schemaChange: "allow" });
    expect(fresh.columns.map(({ type }) => type)).toEqual(["BIGINT", "BIGINT", "DATE"]);
  });

  it("of wider types holds narrower values, not the other way round", async () => {
    await using lake = await openIngesting();
    await lake.ingest({ source: { sql: "SELECT 1::BIGINT AS a, 1.5::DOUBLE AS b" } });
    const result = await lake.ingest({ source: { sql: "SELECT 2::INTEGER AS a, 2.5::FLOAT AS b" }, mode: "append" });
    expect(result.columns.map(({ type }) => type)).toEqual(["BIGINT", "DOUBLE"]);
    expect(await lake.refused({ source: { sql: "SELECT 2::HUGEINT AS a, 2.5 AS b" }, mode: "append" })).toMatchObject({
      kind: "conflict",
    });
  });
});

describe("writers at once", () => {
  it("all append, none is lost", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("a\n0\n"));
    await Promise.all([1, 2, 3, 4].map((n) => lake.ingest({ ...text(`a\n${n}\n`), mode: "append" })));
    expect((await lake.rows()).length).toBe(5);
    expect(new Set((await lake.rows()).map(({ a }) => a))).toEqual(new Set(["0", "1", "2", "3", "4"]));
  });

  it("cannot both change the schema", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("a\n0\n"));
    const outcomes = await Promise.allSettled(
      ["b", "c"].map((name) => lake.ingest({ ...text(`a,${name}\n1,2\n`), mode: "append", schemaChange: "allow" })),
    );
    const [lost] = outcomes.filter(({ status }) => status === "rejected");
    expect(lost).toMatchObject({ reason: { kind: "conflict" } });
    const { columns } = await lake.catalog.load("t");
    expect(new Set(columns.map(({ id }) => id)).size).toBe(columns.length);
  });
});

describe("an append", () => {
  it("whose value does not fit names file, line, column and value", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("id,day\n1,2024-01-31\n"));
    const refused = async (name: string, content: string) =>
      lake.refused({ source: { path: await lake.file(name, content) }, mode: "append" });
    const code = await refused("more.csv", "id,day\n8,2024-02-01\n007,2024-02-02\n");
    expect(code).toMatchObject({ kind: "conflict", hint: expect.stringContaining("null_values") });
    expect(code.message).toContain("changed: id BIGINT → VARCHAR");
    expect(code.message).toContain('more.csv, line 3, column "id": "007" does not fit BIGINT: leading zeros would be');
    const word = await refused("word.csv", "id,day\n8,soon\n");
    expect(word.message).toContain('word.csv, line 2, column "day": "soon" does not fit DATE: not a DATE');
    const far = `id,day\n${"9,2024-02-01\n".repeat(25_000)}1_0,2024-02-02\n`;
    expect((await refused("far.csv", far)).message).toContain('far.csv, line 25002, column "id": "1_0" does not fit');
    expect((await lake.rows()).length).toBe(1);
  });

  it.each([
    ["CSV", "NAME,City,N\nBo,Rome,1\n", undefined],
    ["JSON", '[{"NAME":"Bo","City":"Rome","N":1}]', "json"],
  ] as const)("takes columns that differ by case alone as the dataset's: %s", async (_, content, format) => {
    await using lake = await openIngesting();
    await lake.ingest(text("name,city,n\nAl,Oslo,2\n"));
    const result = await lake.ingest({ ...text(content), ...(format && { format }), mode: "append" });
    expect(result.columns.map(({ name }) => name)).toEqual(["name", "city", "n"]);
    expect(await lake.rows()).toEqual([
      { name: "Al", city: "Oslo", n: "2" },
      { name: "Bo", city: "Rome", n: "1" },
    ]);
  });

  it("of JSON reads a column of other case as the dataset has it", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("n\n1.5\n"));
    await lake.ingest({ ...text('[{"N":2}]'), format: "json", mode: "append" });
    expect(await lake.rows()).toEqual([{ n: 1.5 }, { n: 2 }]);
  });

  it("tells of the spelling, takes types by it, and adds columns beside", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("name,zip\nAl,1\n"));
    const csv = { types: { Zip: "BIGINT" } };
    const result = await lake.ingest({
      ...text("Name,Zip,more\nBo,7,5\n"),
      mode: "append",
      schemaChange: "allow",
      csv,
    });
    expect(result.columns.map(({ name }) => name)).toEqual(["name", "zip", "more"]);
    expect(result.notes.renamed_columns).toEqual([
      { from: "Name", to: "name" },
      { from: "Zip", to: "zip" },
    ]);
    expect(await lake.rows()).toMatchObject([{ name: "Al" }, { name: "Bo", zip: "7", more: "5" }]);
  });

  it("tells apart what SQL tells apart, and refuses types of columns renamed for another reason", async () => {
    await using lake = await openIngesting();
    await lake.ingest({ source: { sql: 'SELECT 1::BIGINT AS "É", 2::BIGINT AS "é"' } });
    await lake.ingest({ source: { sql: 'SELECT 3::BIGINT AS "é", 4::BIGINT AS "É"' }, mode: "append" });
    expect(await lake.rows()).toEqual([
      { É: "1", é: "2" },
      { É: "4", é: "3" },
    ]);
    const twins = await lake.refused({ ...text("a,A\n1,2\n"), name: "twins", csv: { types: { A: "VARCHAR" } } });
    expect(twins.message).toContain("has no column");
  });

  it("from a query matches without case, too, and so does a replace", async () => {
    await using lake = await openIngesting();
    await lake.ingest(text("name,n\nAl,1\n"));
    await lake.ingest({ source: { sql: "SELECT 2::BIGINT AS N, 'Bo' AS \"Name\"" }, mode: "append" });
    expect(await lake.rows()).toEqual([
      { name: "Al", n: "1" },
      { name: "Bo", n: "2" },
    ]);
    await lake.ingest(text("NAME,N\nCy,3\n"));
    expect(await lake.rows()).toEqual([{ name: "Cy", n: "3" }]);
  });
});
