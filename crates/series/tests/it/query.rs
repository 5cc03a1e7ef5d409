//! What SQL may ask and how it is answered.

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use host::sim::Machine;
use series::{Cell, ColumnKind, ForeignTable, Format, Offline, QueryError, QueryLimits};

use crate::support::{START, ask, csv, open, records, telemetry, written};

const MINUTE: i64 = 60_000_000;

fn office() -> Offline {
    let store = open(&Machine::new(1).host());
    let sent = (0..100).map(|n| {
        telemetry(
            &format!("d{}", n % 2),
            START + n * MINUTE,
            &format!(r#""co2":{},"t":{}"#, 400 + n, 20.0 + n as f64 / 10.0),
        )
    });
    store.apply(&records(1, sent));
    store.flush().expect("written");
    store
}

#[test]
fn a_statement_only_reads() {
    let store = office();
    for sql in [
        "DROP TABLE readings",
        "CREATE TABLE x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "COPY readings TO '/tmp/x.csv'",
        "INSERT INTO readings VALUES (1)",
        "DELETE FROM readings",
        "UPDATE readings SET value = 1",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "EXPLAIN DROP TABLE readings",
        "CREATE VIEW v AS SELECT 1",
        "PREPARE p AS SELECT 1",
    ] {
        let error = ask(&store, sql).expect_err(sql);
        assert!(matches!(error, QueryError::NotARead { .. }), "{sql}: {error:?}");
    }
    let refused = ask(&store, "DROP TABLE readings").expect_err("refused");
    assert_eq!(refused.to_string(), "`DROP` is not allowed: queries only read");
    for sql in
        ["SHOW TABLES", "DESCRIBE readings", "EXPLAIN SELECT 1", "SELECT 1;", "SHOW COLUMNS FROM latest"]
    {
        ask(&store, sql).expect(sql);
    }
    let two = ask(&store, "SELECT 1; SELECT 2").expect_err("one statement at a time");
    assert_eq!(two.kind(), model::Kind::Invalid);
}

#[test]
fn an_error_says_what_is_wrong_and_what_would_be_right() {
    let store = office();
    let said = |sql: &str| {
        let error = ask(&store, sql).expect_err(sql);
        assert!(!error.to_string().contains('\n'), "{error}");
        format!("{error} | {}", error.hint().unwrap_or("-"))
    };
    assert_eq!(
        said("SELECT vlaue FROM readings"),
        "there is no column `vlaue` | did you mean `value`? A text is written in single quotes: 'text'"
    );
    assert_eq!(said("SELECT 1 FROM reading"), "there is no table `reading` | did you mean `readings`?");
    assert_eq!(
        said("SELECT 1 FROM weather"),
        "there is no table `weather` | there are channels, latest, readings, readings_1h, readings_1m, readings_5m"
    );
    assert_eq!(said("SELECT avgg(value) FROM readings"), "there is no function `avgg` | did you mean `avg`?");
    assert_eq!(
        said("SELECT value FROM readings JOIN latest USING (device) WHERE channel = 'x'"),
        "column `channel` is in more than one table | write its table before it: `readings.channel` or `latest.channel`"
    );
    assert!(said("SELEC 1").starts_with("query is not SQL: "), "{}", said("SELEC 1"));
    assert_eq!(said("  ;"), "the query is empty | -");
    assert!(
        said("SELECT value + device FROM readings").starts_with("Cannot"),
        "{}",
        said("SELECT value + device FROM readings")
    );
}

#[test]
fn a_query_has_bounds() {
    let store = office();
    let ask = |sql: &str, limits: QueryLimits| {
        block_on(async { store.series().query(sql, &limits).await?.cells().await })
    };
    let cross = "SELECT count(*) FROM readings a, readings b, readings c, readings d WHERE a.value + b.value + c.value > d.value";
    let time = QueryLimits { time: Duration::from_millis(50), ..QueryLimits::default() };
    assert!(matches!(ask(cross, time), Err(QueryError::Time { .. })));
    let rows = QueryLimits { rows: 199, ..QueryLimits::default() };
    assert!(matches!(ask("SELECT * FROM readings", rows.clone()), Err(QueryError::Rows { limit_rows: 199 })));
    assert_eq!(ask("SELECT * FROM readings LIMIT 199", rows).expect("within").len(), 199);
    let memory = QueryLimits { memory_bytes: 1_000, ..QueryLimits::default() };
    let error = ask("SELECT value, count(*) FROM readings GROUP BY value ORDER BY 1", memory);
    assert!(matches!(error, Err(QueryError::Memory { limit_bytes: 1_000 })), "{error:?}");
    let long = format!("SELECT '{}'", "x".repeat(70_000));
    assert!(
        ask(&long, QueryLimits::default())
            .expect_err("too long")
            .to_string()
            .starts_with("query is 70009 bytes")
    );
}

#[test]
fn no_expression_makes_more_than_it_may() {
    let store = office();
    let doubled = |times: usize, how: &str| {
        let steps: Vec<String> =
            (1..=times).map(|n| format!("a{n} AS (SELECT {how} AS x FROM a{})", n - 1)).collect();
        format!(
            "WITH a0 AS (SELECT device AS x FROM readings), {} SELECT max(length(x)) FROM a{times}",
            steps.join(", ")
        )
    };
    for sql in [
        "SELECT repeat('a', 1000000000)",
        "SELECT length(repeat(device, 1000000)) FROM readings",
        "SELECT lpad('a', 1000000000)",
        "SELECT rpad(device, 10000000, 'ab') FROM readings",
        "SELECT replace(repeat('a', 1000000), 'a', repeat('b', 1000))",
        "SELECT regexp_replace(repeat('a', 1000000), 'a', repeat('b', 1000), 'g')",
        "SELECT range(0, 1000000000)",
        "SELECT range(1000000000)",
        "SELECT generate_series(0, -1000000000, -1)",
        "SELECT array_repeat(1, 1000000000)",
        "SELECT array_resize([1], 1000000000)",
        &doubled(26, "x || x"),
        &doubled(26, "concat(x, x)"),
    ] {
        let error = ask(&store, sql).expect_err(sql).to_string();
        assert!(error.contains("would make more than 67108864 bytes"), "{sql}: {error}");
    }
    // What is small is as it always was.
    assert_eq!(
        csv(
            &store,
            "SELECT repeat('ab', 3) AS a, lpad('7', 3, '0') AS b, rpad('x', 2) || '|' AS c, replace('aXb', 'X', '-') AS d, \
             range(3) AS e, range(1, 7, 3) AS f, generate_series(3, 1, -1) AS g, concat('a', NULL, 1) AS h, \
             'a' || NULL AS i, 1 || 'b' AS j, array_repeat(1, 2) AS k, repeat('a', -1) AS l, [1] || [2] AS m"
        ),
        csv(
            &store,
            "SELECT 'ababab' AS a, '007' AS b, 'x |' AS c, 'a-b' AS d, \
             [0, 1, 2] AS e, [1, 4] AS f, [3, 2, 1] AS g, 'a1' AS h, \
             NULL AS i, '1b' AS j, [1, 1] AS k, '' AS l, [1, 2] AS m"
        )
    );
    assert_eq!(
        csv(
            &store,
            "SELECT DISTINCT device || '/' || channel AS x, repeat(device, 2) AS y FROM readings ORDER BY 1 LIMIT 1"
        ),
        csv(
            &store,
            "SELECT DISTINCT concat(device, '/', channel) AS x, concat(device, device) AS y FROM readings ORDER BY 1 LIMIT 1"
        )
    );
}

#[test]
fn answers_are_written_as_promised() {
    let store = office();
    store.apply(&records(101, [telemetry("d9", START + 1, r#""note":"a,\"b\"\nc","empty":"","n":0.1"#)]));
    let sql = "SELECT time, channel, value, text FROM readings WHERE device = 'd9' ORDER BY channel";
    assert_eq!(
        csv(&store, sql),
        "time,channel,value,text\n\
         2026-11-22T00:00:00.000001Z,empty,,\"\"\n\
         2026-11-22T00:00:00.000001Z,n,0.1,\n\
         2026-11-22T00:00:00.000001Z,note,,\"a,\"\"b\"\"\nc\"\n"
    );
    assert_eq!(
        written(&store, sql, Format::Table),
        "time                         channel  value  text\n\
         ---------------------------  -------  -----  --------\n\
         2026-11-22T00:00:00.000001Z  empty\n\
         2026-11-22T00:00:00.000001Z  n          0.1\n\
         2026-11-22T00:00:00.000001Z  note            a,\"b\"\\nc\n\
         (3 rows)\n"
    );
    assert_eq!(
        written(
            &store,
            "SELECT 1 AS a, NULL AS b, 'x\"' AS c, 1.5e300 AS d, true AS e, 0.0/0.0 AS f",
            Format::Json
        ),
        "[\n{\"a\":1,\"b\":null,\"c\":\"x\\\"\",\"d\":1.5e300,\"e\":true,\"f\":null}\n]\n"
    );
    assert_eq!(written(&store, "SELECT 1 AS a WHERE false", Format::Json), "[]\n");
    assert_eq!(csv(&store, "SELECT 1 AS a WHERE false"), "a\n");
    assert_eq!(
        csv(&store, "SELECT max(value), avg(value) FROM readings WHERE channel = 't'"),
        "max(readings.value),avg(readings.value)\n29.9,24.95\n"
    );
    assert_eq!(
        csv(&store, "SELECT date_trunc('day', time) AS day, count(*) AS n FROM readings GROUP BY 1"),
        "day,n\n2026-11-22T00:00:00Z,203\n"
    );
    assert_eq!(csv(&store, "SELECT time::date AS d FROM readings LIMIT 1"), "d\n2026-11-22\n");
}

#[test]
fn a_file_is_read_only_where_it_must() {
    let store = office();
    let plan = csv(
        &store,
        "EXPLAIN ANALYZE SELECT value FROM readings WHERE device = 'nobody' AND time > '2020-01-01T00:00:00Z'",
    );
    assert!(plan.contains("EmptyExec") || !plan.contains("ParquetSource"), "{plan}");
    let count = csv(&store, "EXPLAIN SELECT count(*) FROM readings");
    assert!(count.contains("PlaceholderRowExec"), "answered by the manifest alone: {count}");
    let ordered = csv(&store, "EXPLAIN SELECT device, channel, time FROM readings WHERE device = 'd0'");
    assert!(!ordered.contains("SortExec"), "{ordered}");
}

#[test]
fn overlapping_generations_are_merged_without_sorting() {
    let store = office();
    store.apply(&records(101, [telemetry("d0", START, r#""co2":1"#)]));
    let plan = csv(&store, "EXPLAIN SELECT * FROM readings WHERE device = 'd0'");
    assert!(plan.contains("MergeGenerations"), "{plan}");
    assert!(!plan.contains("SortExec"), "{plan}");
    assert_eq!(csv(&store, "SELECT count(*) AS n FROM readings"), "n\n200\n");
}

#[test]
fn a_table_of_another_room_is_asked_like_ours() {
    let store = office();
    let rows = || {
        let moment = model::Timestamp::from_micros(START);
        Ok(vec![
            vec![Cell::Text("d0".to_owned()), Cell::Boolean(true), Cell::Time(moment), Cell::Integer(7)],
            vec![Cell::Text("d1".to_owned()), Cell::Null],
        ])
    };
    let columns = [
        ("name", ColumnKind::Text),
        ("connected", ColumnKind::Boolean),
        ("created", ColumnKind::Time),
        ("sessions", ColumnKind::Integer),
    ];
    store
        .series()
        .register(ForeignTable {
            name: "devices".to_owned(),
            columns: columns.map(|(name, kind)| (name.to_owned(), kind)).into(),
            rows: Arc::new(rows),
        })
        .expect("registered");
    let sql = "SELECT name, connected, created, sessions, count(*) AS n FROM devices JOIN readings ON device = name \
        GROUP BY 1, 2, 3, 4 ORDER BY 1";
    assert_eq!(
        csv(&store, sql),
        "name,connected,created,sessions,n\nd0,true,2026-11-22T00:00:00Z,7,100\nd1,,,,100\n"
    );
}

/// The plain question has a way of its own; a condition more, and the engine answers it.
#[test]
fn a_newest_reading_is_the_same_with_and_without_the_engine() {
    let machine = host::sim::Machine::new(1);
    let store = crate::support::open(&machine.host());
    let messages =
        (0..4).map(|n| telemetry(&format!("d{}", n % 2), START + n, &format!(r#""t":{n},"u":"x""#)));
    store.apply(&records(1, messages));
    for columns in ["*", "time, value", "VALUE, text", "\"channel\", device", "flags"] {
        for condition in [
            "device = 'd1'",
            "device = 'd1' AND channel = 'u'",
            "channel = 't' AND device = 'd0'",
            "device = 'none'",
        ] {
            let plain = format!("SELECT {columns} FROM latest WHERE {condition}");
            for format in [Format::Csv, Format::Json, Format::Table] {
                let (quick, planned) =
                    (written(&store, &plain, format), written(&store, &format!("{plain} AND 1 = 1"), format));
                assert_eq!(quick, planned, "{plain}");
            }
        }
    }
}

/// Each operator nests its expression or the plan by one level, and every step of the engine goes down so far.
#[test]
fn more_operators_than_the_stack_has_room_for_are_refused_and_as_many_as_it_has_are_answered() {
    let store = office();
    let many = |before: &str, one: &str, between: &str, count: usize| {
        format!("SELECT {before}{}", vec![one; count].join(between))
    };
    for (before, one, between) in [
        ("", "1", "+"),
        ("", "1", " - "),
        ("", "'a'", " || "),
        ("count(*) AS n FROM readings WHERE ", "value = 7", " OR "),
        ("", "true", " AND "),
        ("NOT ", "true", " AND NOT "),
        ("", "1", " UNION ALL SELECT "),
    ] {
        let too_many = many(before, one, between, 1_200);
        let error = ask(&store, &too_many).expect_err(before);
        let said = error.to_string();
        assert!(said.contains(" operators; the most are 1000"), "{said}");
        assert!(said.split(' ').any(|word| word.parse::<usize>().is_ok_and(|count| count > 1_000)), "{said}");
        assert_eq!(error.kind(), model::Kind::Invalid);
        assert!(error.hint().is_some_and(|hint| hint.contains("IN (")), "{error:?}");
    }
    assert_eq!(csv(&store, &format!("{} AS n", many("", "1", "+", 1_001))), "n\n1001\n");
    // What is long without being deep is answered.
    let list: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    let sql =
        format!("SELECT count(*) AS n FROM readings WHERE channel = 'co2' AND value IN ({})", list.join(","));
    assert_eq!(csv(&store, &sql), "n\n100\n");
    // What stands in parentheses is bounded by the parser.
    let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    let error = ask(&store, &deep).expect_err("deep");
    assert!(error.kind() == model::Kind::Invalid && error.to_string().len() < 300, "{error}");
}

/// Ours asks the engine without the zone, which is UTC: the same moments, before 1970 too.
#[test]
fn a_time_is_truncated_as_the_engine_does_it() {
    let store = open(&Machine::new(1).host());
    let times = [-1_i64, -3_600_000_001, 0, START + 59 * MINUTE + 59_999_999, START + 40 * 86_400_000_000];
    let sent = times.iter().map(|at| telemetry("d0", at.max(&946_684_800_000_001).to_owned(), r#""t":1"#));
    store.apply(&records(1, sent));
    store.flush().expect("written");
    for unit in ["microsecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year"] {
        let of = |time: &str| format!("SELECT date_trunc('{unit}', {time}) AS t FROM readings ORDER BY time");
        let plain = csv(&store, &of("arrow_cast(time, 'Timestamp(Microsecond, None)')"));
        assert_eq!(csv(&store, &of("time")).replace('Z', ""), plain.replace('Z', ""), "{unit}");
        let nanos = csv(&store, &of("arrow_cast(time, 'Timestamp(Nanosecond, Some(\"+00:00\"))')"));
        assert_eq!(nanos.replace('Z', ""), plain.replace('Z', ""), "{unit}");
    }
    assert_eq!(
        csv(&store, "SELECT date_trunc('hour', TIMESTAMP '1969-12-31T23:59:59Z') AS t"),
        "t\n1969-12-31T23:00:00Z\n"
    );
    let grouped = "SELECT date_trunc('hour', time) AS t, count(*) AS n FROM readings GROUP BY 1 ORDER BY 1 DESC LIMIT 1";
    assert_eq!(csv(&store, grouped), "t,n\n2027-01-01T00:00:00Z,1\n");
}
