// Preloaded into the built server: an error that nobody catches, in the middle of a segment that DuckDB reads from memory.
import { DuckDBTableFunction } from "@duckdb/node-api";

const { create } = DuckDBTableFunction;
DuckDBTableFunction.create = (parts) =>
  create.call(DuckDBTableFunction, {
    ...parts,
    mainFunction: (info, output) => {
      setImmediate(() => {
        throw new Error("nobody catches this");
      });
      return parts.mainFunction(info, output);
    },
  });
