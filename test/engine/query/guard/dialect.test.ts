import { afterAll, beforeAll, expect, test } from "vitest";
import { openParquetLake, type ParquetLake } from "../../../support/parquet-lake.ts";

/** Everything the guard does not know is refused, so the breadth of the dialect is a test. */
const statements = [
  "SELECT * FROM workers ORDER BY id DESC",
  "SELECT * FROM workers ORDER BY id ASC NULLS FIRST, name DESC NULLS LAST",
  "SELECT * FROM workers ORDER BY ALL DESC",
  "SELECT id, sum(id) OVER (ORDER BY id DESC ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) FROM workers",
  "SELECT id, sum(id) OVER (ORDER BY id RANGE BETWEEN 1 PRECEDING AND CURRENT ROW), count(*) OVER (ORDER BY id GROUPS 1 PRECEDING) FROM workers",
  "SELECT first_value(name IGNORE NULLS) OVER (PARTITION BY state ORDER BY id), last_value(id) OVER (), nth_value(id, 2) OVER (ORDER BY id), ntile(4) OVER (ORDER BY id), percent_rank() OVER (ORDER BY id), cume_dist() OVER (ORDER BY id), dense_rank() OVER (ORDER BY id), rank() OVER (ORDER BY id), lead(id) OVER (ORDER BY id) FROM workers",
  "SELECT count(DISTINCT state), sum(DISTINCT id), array_agg(name ORDER BY id DESC), list(DISTINCT state ORDER BY state) FROM workers",
  "SELECT * FROM workers a FULL OUTER JOIN pay b ON a.id = b.id",
  "SELECT * FROM workers a RIGHT JOIN pay b USING (id)",
  "SELECT * FROM workers a LEFT JOIN pay b ON a.id = b.id AND b.cents > 3",
  "SELECT count(*) FROM workers CROSS JOIN pay",
  "SELECT id IS DISTINCT FROM 3, id IS NOT DISTINCT FROM 3, id BETWEEN 1 AND 3, id NOT BETWEEN 1 AND 3, id NOT IN (1, 2), name NOT LIKE 'a%', name LIKE 'a%' ESCAPE '\\', name NOT ILIKE 'b', NOT id = 1, id <> 1, id != 1 FROM workers",
  "SELECT id = ANY (SELECT id FROM pay), id > ALL (SELECT id FROM pay), id = ANY([1, 2]) FROM workers",
  "SELECT skills[1], skills[-1], skills[1:2], skills[:1], skills[1:3:2], name[1], name[1:2] FROM workers",
  "SELECT CASE state WHEN 'IL' THEN 1 WHEN 'MA' THEN 2 END, CASE WHEN id > 1 THEN 'x' END FROM workers",
  "SELECT ARRAY[1, 2], MAP {'a': 1}, {'x': 1}.x, (1, 'a'), [1, 2] || [3], ROW(1, 2)",
  "SELECT greatest(*COLUMNS('id|years')) FROM workers",
  "SELECT struct_pack(*COLUMNS('id|years')) FROM workers",
  "FROM (SELECT id, years, rate::BIGINT AS rate FROM workers) UNPIVOT (v FOR n IN (years, rate))",
  "SELECT id FROM workers INTERSECT ALL SELECT id FROM pay",
  "SELECT id FROM workers EXCEPT ALL SELECT id FROM pay",
  "(SELECT 1 ORDER BY 1 DESC LIMIT 1) UNION (SELECT 2) ORDER BY 1 DESC LIMIT 1 OFFSET 0",
  "FROM unnest(['a', 'b']) WITH ORDINALITY AS t(v, n)",
  "SELECT unnest([1, 2]), unnest({'a': 1}, recursive := true)",
  "SELECT unnest([{'a': 1, 'b': [2]}], max_depth := 2)",
  "SELECT list_transform([1, 2], (x, i) -> x + i), list_transform([1], lambda x, i: x * i), [x * 2 FOR x IN [1, 2, 3] IF x > 1]",
  "SELECT id, count(*) FROM workers GROUP BY id HAVING count(*) > 0 ORDER BY 2 DESC, 1 LIMIT 5",
  "SELECT state, mode() WITHIN GROUP (ORDER BY years), percentile_cont(0.5) WITHIN GROUP (ORDER BY rate DESC) FROM workers GROUP BY state",
  "SELECT quantile_disc(rate, [0.1, 0.9]), quantile_cont(rate, 0.5), approx_quantile(rate, 0.5), median(rate), mad(rate), stddev(rate), var_samp(rate), skewness(rate), kurtosis(rate), entropy(state), corr(id, rate), covar_pop(id, rate), regr_slope(rate, id) FROM workers",
  "SELECT arg_max(name, rate), arg_min(name, rate), max_by(name, rate), max(rate, 3), arg_max(name, rate, 2), bool_and(id > 0), bool_or(id > 3), bit_and(id), product(years), first(name ORDER BY id), last(name), any_value(name), string_agg(DISTINCT state, ', '), listagg(name), group_concat(name), histogram(state), approx_count_distinct(id), approx_top_k(state, 2), sumkahan(rate), favg(rate), count_if(id > 2), geomean(rate + 1), weighted_avg(rate, id) FROM workers",
  "SELECT date_part('year', hired), year(hired), month(hired), dayname(hired), monthname(hired), week(hired), quarter(hired), weekday(hired), last_day(hired), date_diff('day', hired, DATE '2025-01-01'), datediff('month', hired, today()), date_sub('day', hired, today()), time_bucket(INTERVAL '1 week', seen), to_timestamp(0), epoch(seen), epoch_ms(seen), make_date(2024, 1, 1), make_timestamp(2024, 1, 1, 0, 0, 0), strftime(hired, '%Y-%m'), strptime('2024-01-01', '%Y-%m-%d'), try_strptime('x', '%Y'), hired - INTERVAL '1' MONTH, hired - DATE '2023-01-01', INTERVAL 3 HOURS, to_days(3), current_time, localtimestamp, century(hired), julian(hired), isodow(hired), yearweek(hired) FROM workers LIMIT 1",
  "SELECT concat(name, 'x'), concat_ws('-', name, state), name || 'x', upper(name), lower(name) FROM workers",
  "SELECT length(name), strlen(name), reverse(name), left(name, 1), right(name, 1), substr(name, 1, 1), ltrim(name), rtrim(name), lpad(name, 5, ' '), split_part(name, 'w', 2), string_split(name, 'w'), str_split_regex(name, 'w'), regexp_split_to_array(name, 'w'), regexp_extract_all(name, '\\d'), regexp_replace(name, '\\d', 'x', 'g'), regexp_full_match(name, 'w.*'), contains(name, 'w'), starts_with(name, 'w'), ends_with(name, '1'), prefix(name, 'w'), instr(name, 'w'), strpos(name, 'w'), ascii('a'), chr(65), unicode('a'), translate(name, 'w', 'x'), levenshtein(name, 'w'), jaccard(name, 'wa'), md5(name), sha1(name), hash(name), base64('a'::BLOB), from_base64('YQ=='), hex('a'), unhex('61'), encode('a'), decode('a'::BLOB), url_encode('a b'), format('{} {:.2f}', name, rate), printf('%s %d', name, id), nfc_normalize(name), strip_accents(name), parse_filename('a/b.c'), format_bytes(1000), bin(3), to_base(7, 2), ord('a') FROM workers LIMIT 1",
  "SELECT abs(-1), ceil(1.5), floor(1.5), round(1.555, 2), trunc(1.5), sign(-1), sqrt(4), cbrt(8), power(2, 3), 2 ** 3, 2 ^ 3, exp(1), ln(2), log(10), log2(8), mod(5, 3), 5 % 3, 7 // 2, 7 / 2, pi(), degrees(1), radians(1), sin(1), cos(1), tan(1), atan2(1, 2), gcd(4, 6), lcm(4, 6), factorial(5), even(1.5), isnan(1.0), isfinite(1.0), isinf(1.0), 5 & 3, 5 | 3, xor(5, 3), 1 << 3, 8 >> 1, ~1, -1, +1, @(-1), 5!, bit_count(5), gamma(2), nextafter(1.0, 2.0), random() < 2",
  "SELECT list_sum([1, 2]), list_avg([1]), list_min([1]), list_max([1]), list_count([1]), list_contains([1], 1), list_has_any([1], [1]), list_distinct([1, 1]), list_unique([1]), list_sort([2, 1], 'DESC'), list_reverse_sort([1, 2]), list_position([1], 1), list_append([1], 2), list_prepend(0, [1]), list_concat([1], [2]), list_slice([1, 2], 1, 1), list_zip([1], [2]), list_where([1, 2], [true, false]), list_select([1, 2], [1]), list_grade_up([2, 1]), list_reverse([1, 2]), flatten([[1], [2]]), array_to_string(['a', 'b'], ','), array_length([1]), len([1]), list_any_value([NULL, 1]), list_first([1]), list_last([1]), list_intersect([1], [1]), list_cosine_similarity([1.0], [1.0]), array_value(1, 2), list_mode([1]), list_histogram([1]), list_string_agg(['a']), list_filter([1, 2], x -> x > 1), list_reduce([1, 2], (a, x) -> a + x), apply([1], x -> x), list_element([1], 1), list_extract([1], 1), [1, 2] && [2], [1] @> [1], generate_subscripts([1, 2], 1)",
  "SELECT map_keys(map {'a': 1}), map_values(map {'a': 1}), map_entries(map {'a': 1}), map_from_entries([('a', 1)]), map_extract(map {'a': 1}, 'a'), map_contains(map {'a': 1}, 'a'), cardinality(map {'a': 1}), map_concat(map {'a': 1}, map {'b': 2}), element_at(map {'a': 1}, 'a'), struct_extract({'a': 1}, 'a'), struct_insert({'a': 1}, b := 2), struct_keys({'a': 1}), struct_concat({'a': 1}, {'b': 2}), union_extract(union_value(k := 1), 'k'), union_tag(union_value(k := 1)), enum_range(NULL::ENUM('a', 'b')), row_to_json({'a': 1})",
  "SELECT json_extract_string(doc, '$.k'), json_keys(doc), json_type(doc), json_valid(doc), json_array_length('[1]'), json_structure(doc), json_contains(doc, '1'), json_merge_patch(doc, '{}'), json_array(1, 2), json_quote('a'), to_json([1]), array_to_json([1]), from_json(doc, '{\"k\": \"INTEGER\"}'), json_exists(doc, '$.k'), json_value(doc, '$.k'), doc->'$.k', json_group_object(name, id), json(doc) FROM workers GROUP BY doc",
  "SELECT if(true, 1, 2), ifnull(NULL, 1), coalesce(NULL, 1), nullif(1, 2), typeof(1), pg_typeof(1), alias(1), constant_or_null(1, 2), hash(1), uuid() IS NULL, can_cast_implicitly(1, 1.0), version() IS NULL, gen_random_uuid() IS NULL, uuidv7() IS NULL, equi_width_bins(0, 10, 2, true), bar(1, 0, 10), pg_size_pretty(1000), least(1, 2), error(NULL)",
  "SELECT * FROM workers WHERE (id, name) = (1, 'w1') OR (id, name) IN ((2, 'w2')) OR EXISTS (SELECT 1 FROM pay WHERE pay.id = workers.id) AND NOT EXISTS (SELECT 1 WHERE false)",
  "SELECT state, years, count(*) FROM workers GROUP BY ROLLUP (state, years) ORDER BY 1 NULLS LAST, 2",
  "SELECT alias_used + 1 FROM (SELECT id AS alias_used FROM workers) LIMIT 1",
  "SELECT id AS a, a + 1 AS b FROM workers WHERE a > 3 GROUP BY ALL HAVING a > 4 ORDER BY b DESC",
  "SELECT w.* FROM workers AS w(a, b) LIMIT 1",
  "SELECT extra.* FROM workers",
  "SELECT a: id, b: name FROM workers",
  "SELECT id FROM workers WHERE name COLLATE NOCASE = 'W1' ORDER BY name COLLATE NOCASE DESC",
  "SELECT * FROM workers WHERE seen > now() - INTERVAL 7 DAY OR seen::DATE = DATE '2024-01-05' OR seen BETWEEN '2024-01-01' AND '2024-02-01'",
  "SELECT TIMESTAMP '2024-01-01 00:00:00' AT TIME ZONE 'America/Chicago', TIMESTAMPTZ '2024-01-01 00:00:00+00' AT TIME ZONE 'Europe/Berlin'",
  "SELECT 1::HUGEINT, 'x'::BLOB, '101'::BIT, CAST('1' AS DECIMAL(5, 2)), TRY_CAST('x' AS DATE), 1e3, .5, 1_000, 0xFF, 0b11, E'a\\n', 'it''s', $$dollar$$, $t$x$t$, NULL, true",
  "WITH a AS NOT MATERIALIZED (SELECT 1 AS x), b(y) AS (SELECT x FROM a) SELECT * FROM b, a ORDER BY y DESC",
  "WITH RECURSIVE chain(id, depth) AS (SELECT id, 0 FROM workers WHERE id = 1 UNION SELECT w.id, depth + 1 FROM workers w JOIN chain c ON w.id = c.id + 1 WHERE depth < 5) SELECT * FROM chain ORDER BY depth DESC",
  "SELECT * FROM workers TABLESAMPLE bernoulli(50%)",
  "SELECT * FROM workers USING SAMPLE reservoir(5 ROWS) REPEATABLE (42)",
  "SELECT * FROM (SELECT * FROM workers LIMIT 3) AS t JOIN LATERAL (SELECT t.id + 1 AS n) AS l ON true",
  "SELECT id FROM workers ORDER BY random() LIMIT 3",
  "SELECT DISTINCT state FROM workers ORDER BY state DESC",
  "SELECT count(*) FILTER (state = 'IL'), sum(id) FILTER (WHERE id > 3) FROM workers",
  "SUMMARIZE FROM workers WHERE id > 3 ORDER BY id DESC",
  "DESCRIBE WITH a AS (SELECT 1 AS x) SELECT * FROM a",
  "PIVOT workers ON state USING sum(rate) GROUP BY years ORDER BY years DESC",
  "PIVOT workers ON year(hired) USING count(*)",
  "PIVOT (SELECT * FROM workers ORDER BY id DESC LIMIT 9) ON state USING max(name), min(id) GROUP BY years",
  "SELECT * FROM generate_series(1, 3) AS g(n), LATERAL (SELECT n * 2)",
  "FROM repeat('a', 3)",
  "FROM repeat_row(1, 'a', num_rows := 2)",
  "SELECT t.key, t.value FROM workers, json_tree(doc) t LIMIT 2",
  "SELECT array_cosine_similarity([1, 2]::FLOAT[2], [1, 2]::FLOAT[2]), array_distance([1, 2]::FLOAT[2], [1, 3]::FLOAT[2]), array_inner_product([1]::FLOAT[1], [1]::FLOAT[1])",
  "UNPIVOT (SELECT id, years FROM workers) ON years INTO NAME n VALUE v ORDER BY v DESC NULLS LAST",
];

let lake: ParquetLake;
beforeAll(async () => {
  lake = await openParquetLake();
  await lake.write(
    "workers",
    `SELECT i AS id, 'w' || i AS name, ['IL', 'MA', 'TX'][1 + i % 3] AS state, i % 7 AS years, i * 1.5::DOUBLE AS rate,
       ['forklift', 'welding'][1:1 + i % 2] AS skills, {'a': i} AS extra, '{"k": ' || i || '}' AS doc,
       TIMESTAMP '2024-01-01' + INTERVAL (i) DAY AS seen, DATE '2024-01-01' + i::INTEGER AS hired
     FROM range(50) t(i)`,
  );
  await lake.write("pay", "SELECT i AS id, i AS cents FROM range(25) t(i)");
});
afterAll(() => lake[Symbol.asyncDispose]());

test.each(statements)("%s", async (sql) => {
  const result = await lake.query.query(sql);
  expect(result.columns.length).toBeGreaterThan(0);
});
