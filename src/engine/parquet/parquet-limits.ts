/**
 * What a Parquet file of others may have before a native reader opens it. Each bound is far above what writers make, and
 * low enough that reading what is within it takes bounded memory and time.
 */
export const PARQUET_LIMITS = {
  /** pyarrow's readers stop at 100 MB of Thrift text by default. */
  footerBytes: 128 * 2 ** 20,
  /** As many as a spreadsheet has. DuckDB keeps a reader and a writer for each, and a plan that names it. */
  columns: 16_384,
  /** A list takes three elements, a map four. */
  schemaElements: 65_536,
  /** A list takes three levels, and DuckDB twice as long to read with every list in a list. */
  levels: 48,
  /** Columns times row groups: DuckDB keeps some hundred bytes for each. */
  chunks: 1_000_000,
  /** Of one page. DuckDB needs twice that; writers end a page at 1 MB, or after one longer value. */
  pageBytes: 2 ** 30,
  /** A page header has the page's smallest and largest value; pyarrow's readers stop at 16 MiB too. */
  pageHeaderBytes: 16 * 2 ** 20,
} as const;
