//! Rules that come, change and go while messages flow.

use crate::house::{House, load};
use crate::receiver::{Answer, OK, Receiver};

fn to(name: &str, url: &str) -> String {
    format!("  - rule: {name}\n    sql: SELECT VALUE n FROM 'dt/#'\n    actions: [{{webhook: \"{url}\"}}]\n")
}

async fn send(house: &House, range: std::ops::Range<usize>) {
    for n in range {
        house.publish("a", "dt/a/x", &format!(r#"{{"n":{n}}}"#)).await;
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_changes_goes_on_where_it_stood_and_loses_nothing() {
    let (old, new) = (Receiver::start(Answer::Status(503, "", "")).await, Receiver::start(OK).await);
    let house = House::open(&to("r", &old.url("/"))).await;
    send(&house, 0..5).await;
    old.until("the old one is asked", |all| !all.is_empty()).await;
    house.sinks.replace(load(&to("r", &new.url("/"))).actions).await.expect("replaced");
    send(&house, 5..8).await;
    assert_eq!(new.taken(8).await, numbers(0..8));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_did_not_change_is_not_disturbed_and_a_new_one_begins_with_what_comes() {
    let (first, second) = (Receiver::start(OK).await, Receiver::start(OK).await);
    let rules = to("first", &first.url("/"));
    let house = House::open(&rules).await;
    send(&house, 0..3).await;
    first.taken(3).await;
    // The receiver has a message a moment before the sink has read its answer.
    house.until("the answers are read", |house| house.status("first/webhook-1").delivered == 3).await;
    let both = rules.clone() + &to("second", &second.url("/"));
    house.sinks.replace(load(&both).actions).await.expect("replaced");
    assert_eq!(house.status("first/webhook-1").delivered, 3, "its task goes on");
    send(&house, 3..5).await;
    assert_eq!(second.taken(2).await, numbers(3..5));
    assert_eq!(first.taken(5).await, numbers(0..5));

    // A rule that goes forgets its place: when it comes back it begins anew.
    house.sinks.replace(load(&rules).actions).await.expect("replaced");
    send(&house, 5..7).await;
    house.sinks.replace(load(&both).actions).await.expect("replaced");
    send(&house, 7..8).await;
    assert_eq!(second.taken(3).await, ["3", "4", "7"]);
    assert_eq!(first.taken(8).await, numbers(0..8));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_catalog_did_not_take_is_made_by_the_next_call_with_nothing_lost() {
    let receiver = Receiver::start(OK).await;
    let rules = to("stays", &receiver.url("/")) + &to("changes", &receiver.url("/old"));
    let house = House::open(&rules).await;
    let other = to("stays", &receiver.url("/"))
        + &to("changes", &receiver.url("/new"))
        + &to("new", &receiver.url("/3"));
    let refusing =
        "CREATE TRIGGER full BEFORE INSERT ON sink_positions BEGIN SELECT RAISE(ABORT, 'no room'); END";
    house.sql(refusing).await;
    let failed = house.sinks.replace(load(&other).actions).await.expect_err("not taken");
    assert!(matches!(failed, sinks::StartError::Write(_)), "{failed:?}");
    let shown = |house: &House| house.sinks.status().into_iter().map(|sink| sink.target).collect::<Vec<_>>();
    assert_eq!(shown(&house), [receiver.url("/"), receiver.url("/new")], "what runs, and no other");
    house.sql("DROP TRIGGER full").await;
    house.sinks.replace(load(&other).actions).await.expect("taken");
    assert_eq!(shown(&house), ["/", "/new", "/3"].map(|path| receiver.url(path)));
    send(&house, 0..1).await;
    assert_eq!(receiver.taken(3).await, ["0", "0", "0"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dead_letter_is_in_one_page() {
    let receiver = Receiver::start(OK).await;
    let house = House::open(&to("r", &receiver.url("/"))).await;
    house
        .sql(
            "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 25)
             INSERT INTO sink_letters (id, sink, target, seq_from, seq_to, messages, reason, detail, at)
             SELECT id * 2, 'r/webhook-1', 'x', id, id, 1, 'held', '', 0 FROM n",
        )
        .await;
    let (mut seen, mut before) = (Vec::new(), None);
    // Three pages, and one that is empty.
    for expected in [10, 10, 5, 0] {
        let page = house.sinks.dead_letters(before, 10).expect("readable");
        assert_eq!(page.len(), expected);
        before = page.last().map(|last| last.id).or(before);
        seen.extend(page.into_iter().map(|letter| letter.id));
    }
    assert_eq!(seen, (1..=25).rev().map(|n| n * 2).collect::<Vec<i64>>());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_end_in_good_order_nothing_is_sent_twice() {
    let receiver = Receiver::start(OK).await;
    let rules = to("r", &receiver.url("/"));
    let house = House::open(&rules).await;
    send(&house, 0..30).await;
    receiver.taken(30).await;
    let house = house.restart(&rules).await;
    send(&house, 30..40).await;
    assert_eq!(receiver.taken(40).await, numbers(0..40));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_text_today_and_a_number_tomorrow_stops_nothing_and_is_counted() {
    let receiver = Receiver::start(OK).await;
    let rule = format!(
        "  - rule: r\n    sql: SELECT VALUE n FROM 'dt/#' WHERE 100 / n > 3\n    actions: [{{webhook: \"{}\"}}]\n",
        receiver.url("/")
    );
    let house = House::open(&rule).await;
    for payload in [
        r#"{"n":5}"#,
        r#"{"n":"warm"}"#,
        r#"{"n":0}"#,
        r#"{"n":[1]}"#,
        "{}",
        "not JSON",
        r#"{"n":"20"}"#,
        r#"{"n":50}"#,
    ] {
        house.publish("a", "dt/a/x", payload).await;
    }
    assert_eq!(receiver.taken(2).await, ["5", "\"20\""]);
    house.until("all are judged", |house| house.status("r/webhook-1").undefined == 5).await;
    assert_eq!(house.letters(), []);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_actions_than_run_at_once_are_refused_and_change_nothing() {
    let receiver = Receiver::start(OK).await;
    let house = House::open(&to("r", &receiver.url("/"))).await;
    // The loader refuses so many already: here they come from two sets of files.
    let many = |range: std::ops::Range<usize>| {
        load(&range.map(|n| to(&format!("r{n}"), &receiver.url("/"))).collect::<String>()).actions
    };
    let refused = house.sinks.replace([many(0..150), many(150..300)].concat()).await.expect_err("refused");
    assert_eq!(refused.to_string(), "the rules have 300 actions; the most is 256");
    send(&house, 0..1).await;
    assert_eq!(receiver.taken(1).await, numbers(0..1));
    house.close().await;
}
