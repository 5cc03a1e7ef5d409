//! What a message costs a rule in SQL: one that its filter does not let through, and one that is made into another.

use divan::Bencher;
use divan::counter::ItemsCount;
use rules::sql::{Context, Statement, Template};

fn main() {
    divan::main();
}

/// A row of the office recording, as `godwit replay` sends it.
const OFFICE: &str = r#"{"ts":1423072260000,"temperature":23.18,"humidity":27.272,"light":426,"co2":721.25,"humidityratio":0.00479298817650529,"occupancy":1}"#;
const ONE: &str = r#"{"ts":1423072260000,"temperature":23.18}"#;

fn evaluate(bencher: Bencher<'_, '_>, sql: &str, payload: &'static str, passes: bool) {
    let statement = Statement::parse(sql).expect("a statement");
    let context = Context::of_topic("dt/office-1/climate");
    let once = || {
        let matches = statement.filter().matches(divan::black_box(context.topic));
        matches
            .then(|| statement.evaluate(divan::black_box(payload).as_bytes(), &context).expect("an outcome"))
    };
    assert_eq!(once().expect("its topic").selection.is_some(), passes);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(once);
}

/// `WHERE temperature > 30` of the office row: seven members, of which one is kept.
#[divan::bench]
fn filter_of_an_office_row(bencher: Bencher<'_, '_>) {
    evaluate(bencher, "SELECT * FROM 'dt/+/climate' WHERE temperature > 30", OFFICE, false);
}

#[divan::bench]
fn filter_of_one_reading(bencher: Bencher<'_, '_>) {
    evaluate(bencher, "SELECT * FROM 'dt/+/climate' WHERE temperature > 30", ONE, false);
}

/// The design's own example, let through.
#[divan::bench]
fn selection_of_an_office_row(bencher: Bencher<'_, '_>) {
    let sql = "SELECT temperature, topic(2) AS device, timestamp() AS at FROM 'dt/+/climate' WHERE temperature > 20";
    evaluate(bencher, sql, OFFICE, true);
}

/// A message of another topic.
#[divan::bench]
fn filter_of_another_topic(bencher: Bencher<'_, '_>) {
    let statement =
        Statement::parse("SELECT * FROM 'dt/+/climate' WHERE temperature > 30").expect("a statement");
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| statement.filter().matches(divan::black_box("dt/office-1/power")));
}

#[divan::bench]
fn topic_of_a_republish(bencher: Bencher<'_, '_>) {
    let template = Template::parse("ops/hot/${topic(2)}").expect("a template");
    let context = Context::of_topic("dt/office-1/climate");
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        template.render(divan::black_box(ONE).as_bytes(), &context, None).expect("filled in")
    });
}
