import { openQueryEngine } from "../../../../src/engine/query/duckdb/query.ts";
import { queryEngineContract } from "../contract.ts";

queryEngineContract("DuckDB", openQueryEngine);
