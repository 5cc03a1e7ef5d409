//! What Grafana's PostgreSQL data source sends, sent by psql: its probes, its lists, and every question of our dashboard
//! and manual with the macros expanded as the data source expands them.

use crate::server::{Home, Server};
use crate::sql::{office, rows, send};

const FROM: &str = "2025-10-25T00:00:00Z";
const TO: &str = "2025-11-24T00:00:00.5Z";

/// The macros that stand in our questions, as `pkg/tsdb/grafana-postgresql-datasource/macros.go` expands them.
fn expanded(sql: &str) -> String {
    let mut sql = sql.replace("$__interval", "5m");
    for (name, expand) in [
        ("$__timeGroupAlias", group_alias as fn(&str) -> String),
        ("$__timeGroup", group),
        ("$__timeFilter", filter),
        ("$__unixEpochFilter", epoch_filter),
        ("$__timeFrom", |_| format!("'{FROM}'")),
        ("$__timeTo", |_| format!("'{TO}'")),
        ("$__time", |column| format!("{column} AS \"time\"")),
    ] {
        while let Some(at) = sql.find(&format!("{name}(")) {
            let rest = &sql[at + name.len() + 1..];
            let end = rest.find(')').expect("the macro ends");
            let (inside, after) = (&rest[..end], &rest[end + 1..]);
            sql = format!("{}{}{after}", &sql[..at], expand(inside));
        }
    }
    for (variable, value) in [
        ("($device)", "('d0','d1')"),
        ("$channel", "temperature"),
        ("$counter", "energy.total"),
        ("$zone", "Europe/Berlin"),
    ] {
        sql = sql.replace(variable, value);
    }
    assert!(!sql.contains('$'), "a macro that this test does not know: {sql}");
    sql
}

fn group(inside: &str) -> String {
    let (column, interval) = inside.split_once(',').expect("a column and an interval");
    assert_eq!(interval.trim().trim_matches('\''), "5m");
    format!("floor(extract(epoch from {column})/300)*300")
}

fn group_alias(inside: &str) -> String {
    format!("{} AS \"time\"", group(inside))
}

fn filter(column: &str) -> String {
    format!("{column} BETWEEN '{FROM}' AND '{TO}'")
}

fn epoch_filter(column: &str) -> String {
    format!("{column} >= 1763769600 AND {column} <= 1763775600")
}

/// The schemas of `search_path`, as the data source's lists ask for them.
const SCHEMAS: &str = r#"SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s"#;

/// A counter that runs from 100 to 160, hour by hour from 2025-10-25T12:00Z: over the night in which Berlin's clocks go
/// back.
fn energy(server: &Server) {
    let lines: Vec<String> = (0..61_i64)
        .map(|n| {
            format!("{{\"ts\":{},\"energy\":{{\"total\":{}}}}}", 1_761_393_600_000 + n * 3_600_000, 100 + n)
        })
        .collect();
    send(server, "dt/d0/meter", &lines);
    assert_eq!(server.value("SELECT count(*) FROM readings WHERE channel = 'energy.total'"), "61");
}

#[test]
fn grafana_s_probes_lists_and_macros_are_answered() {
    let home = Home::new();
    let server = home.start();
    office(&server);
    assert_eq!(rows(&server, "SELECT current_setting('server_version_num')::int/100 as version"), ["1600"]);
    assert!(rows(&server, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'").is_empty());
    let tables = format!(
        r#"SELECT CASE WHEN quote_ident(table_schema) IN ({SCHEMAS}) THEN quote_ident(table_name)
             ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table"
           FROM information_schema.tables
           WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache')
           ORDER BY CASE WHEN quote_ident(table_schema) IN ({SCHEMAS}) THEN 0 ELSE 1 END, 1"#
    );
    let tables = rows(&server, &tables);
    for name in ["latest", "messages", "readings"] {
        assert!(tables.iter().any(|table| table == name), "{tables:?}");
    }
    for table in ["readings", "public.readings"] {
        let columns = format!(
            r#"SELECT quote_ident(column_name) AS "column", data_type AS "type"
               FROM information_schema.columns
               WHERE CASE WHEN array_length(parse_ident('{table}'),1) = 2
                 THEN quote_ident(table_schema) = (parse_ident('{table}'))[1]
                   AND quote_ident(table_name) = (parse_ident('{table}'))[2]
                 ELSE quote_ident(table_name) = '{table}' AND quote_ident(table_schema) IN ({SCHEMAS}) END"#
        );
        let columns = rows(&server, &columns);
        assert_eq!(columns[0], "time|timestamp with time zone", "{table}: {columns:?}");
        assert_eq!(columns[3], "value|double precision");
    }
    let of_d0 = "FROM readings WHERE channel = 'co2' AND device = 'd0'";
    let grouped = format!(
        "SELECT $__timeGroupAlias(time, $__interval), avg(value) {of_d0} AND $__timeFilter(time) GROUP BY 1 ORDER BY 1 LIMIT 2"
    );
    assert_eq!(rows(&server, &expanded(&grouped)), ["1763769600|402", "1763769900|407"].map(number_rows));
    let plain = format!(
        "SELECT $__time(time), value {of_d0} AND time >= $__timeFrom() AND time < $__timeTo() ORDER BY 1 LIMIT 1"
    );
    assert_eq!(rows(&server, &expanded(&plain)), ["2025-11-22 00:00:00.000000+00|400.0"]);
    let epoch = format!("SELECT count(*) {of_d0} AND $__unixEpochFilter(extract(epoch from time))");
    let epoch = epoch
        .replace("$__unixEpochFilter(extract(epoch from time))", &epoch_filter("extract(epoch from time)"));
    assert_eq!(rows(&server, &epoch), ["50"]);
}

/// Numbers of eight bytes are written with their point.
fn number_rows(row: &str) -> String {
    row.split('|').map(|number| format!("{number}.0")).collect::<Vec<_>>().join("|")
}

#[test]
fn every_question_of_the_dashboard_and_of_the_manuals_is_answered() {
    let home = Home::new();
    let server = home.start();
    office(&server);
    energy(&server);
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../../docs/grafana/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut asked = 0;
    for panel in panels {
        for target in panel["targets"].as_array().expect("targets") {
            let sql = expanded(target["rawSql"].as_str().expect("SQL"));
            let answer = rows(&server, &sql);
            let title = panel["title"].as_str().expect("a title");
            // Messages are counted by receipt, which is now.
            assert!(!answer.is_empty() || title == "Messages", "{title}: {sql}");
            if title.contains("by day") {
                // The second day has 25 readings, one an hour.
                let days = [
                    "2025-10-24 22:00:00.000000+00|d0|9.0",
                    "2025-10-25 22:00:00.000000+00|d0|24.0",
                    "2025-10-26 23:00:00.000000+00|d0|23.0",
                    "2025-10-27 23:00:00.000000+00|d0|1.0",
                ];
                assert_eq!(answer, days);
            }
            asked += 1;
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if variable["type"] == "query" {
            let answer = rows(&server, variable["query"].as_str().expect("SQL"));
            assert!(!answer.is_empty(), "{}", variable["name"]);
            asked += 1;
        }
    }
    assert!(asked >= 8, "{asked}");
    for manual in
        [include_str!("../../../../docs/grafana/README.md"), include_str!("../../../../docs/sql.md")]
    {
        for block in manual.split("```sql\n").skip(1) {
            let sql = block.split("```").next().expect("it ends");
            rows(&server, &expanded(sql.trim()));
        }
    }
}
