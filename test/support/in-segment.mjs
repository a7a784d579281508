// Preloaded into the built server: says so when DuckDB reads a segment from memory, and fails there when it is to.
import { DuckDBTableFunction } from "@duckdb/node-api";

const { create } = DuckDBTableFunction;
DuckDBTableFunction.create = (parts) =>
  create.call(DuckDBTableFunction, {
    ...parts,
    mainFunction: (info, output) => {
      process.stderr.write("in a segment\n");
      if (process.env.FAIL_WITH === "error") setImmediate(() => Promise.reject(new Error("nobody catches this")));
      if (process.env.FAIL_WITH === "null") {
        setImmediate(() => {
          throw null;
        });
      }
      return parts.mainFunction(info, output);
    },
  });
