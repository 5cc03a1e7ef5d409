//! Webhooks: what a receiver gets, and what becomes of messages that it does not take.

use std::sync::Arc;
use std::time::Duration;

use host::Clock;
use sinks::{Reason, Settings};

use crate::house::{House, clock, journal_settings, load, quick};
use crate::receiver::{Answer, OK, Receiver, Request};

/// A rule of one webhook.
fn rule(name: &str, url: &str) -> String {
    format!(
        "  - rule: {name}\n    sql: SELECT n, topic(2) AS device FROM 'dt/+/climate' WHERE n >= 0\n    actions: [{{webhook: \"{url}\"}}]\n"
    )
}

fn body(device: &str, n: usize) -> String {
    format!(r#"{{"n":{n},"device":"{device}"}}"#)
}

/// Sends messages; their `seq`s.
async fn send(house: &House, device: &str, range: std::ops::Range<usize>) -> Vec<u64> {
    let mut seqs = Vec::with_capacity(range.len());
    for n in range {
        seqs.push(house.publish(device, &format!("dt/{device}/climate"), &format!(r#"{{"n":{n}}}"#)).await);
    }
    seqs
}

/// The bodies of one device, in the order in which they were taken.
fn of_device(taken: &[Request], device: &str) -> Vec<String> {
    let begins = format!("dt/{device}/");
    let of = |request: &&Request| {
        request.taken && request.header("godwit-topic").is_some_and(|topic| topic.starts_with(&begins))
    };
    taken.iter().filter(of).map(|request| request.body.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selected_message_is_posted_with_its_id_its_headers_and_a_signature() {
    let receiver = Receiver::start(OK).await;
    let rule = format!(
        "  - rule: hot
    sql: SELECT temperature, topic(2) AS device FROM 'dt/+/climate' WHERE temperature > 30
    actions: [{{webhook: {{url: \"{}/${{device}}\", headers: {{x-site: \"${{site}}\"}}, secret: 0123456789abcdef}}}}]
",
        receiver.url("/hook")
    );
    let house = House::open(&rule).await;
    house.publish("a", "dt/a/climate", r#"{"temperature":20,"site":"hq"}"#).await;
    let seq = house.publish("a", "dt/a/climate", r#"{"temperature":31.5,"site":"hq"}"#).await;
    house.publish("a", "dt/a/other", r#"{"temperature":40,"site":"hq"}"#).await;
    receiver.taken(1).await;
    house.until("the position is past all", |house| house.status("hot/webhook-1").position >= seq).await;
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1, "{requests:#?}");
    let request = &requests[0];
    assert_eq!(request.path, "/hook/a");
    assert_eq!(request.body, r#"{"temperature":31.5,"device":"a"}"#);
    assert_eq!(request.header("godwit-id"), Some(format!("hot/webhook-1:{seq}").as_str()));
    assert_eq!(request.header("idempotency-key"), request.header("godwit-id"));
    assert_eq!(request.header("godwit-topic"), Some("dt/a/climate"));
    assert_eq!(request.header("x-site"), Some("hq"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let timestamp = request.header("godwit-timestamp").expect("a time");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"0123456789abcdef");
    let tag = aws_lc_rs::hmac::sign(&key, format!("{timestamp}.{}", request.body).as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(request.header("godwit-signature"), Some(format!("v1={hex}").as_str()));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_fails_or_is_busy_gets_everything_in_the_order_of_each_device() {
    let receiver = Receiver::start(OK).await;
    let address = receiver.address;
    let url = receiver.url("/hook");
    drop(receiver);
    // Nobody listens there now.
    let house = House::open(&rule("r", &url)).await;
    send(&house, "a", 0..20).await;
    send(&house, "b", 0..20).await;
    house.until("it is in trouble", |house| house.status("r/webhook-1").trouble.is_some()).await;
    let trouble = house.status("r/webhook-1").trouble.expect("trouble");
    assert!(trouble.reason.contains("no connection"), "{trouble:?}");

    let receiver = Receiver::at(address, OK).await;
    // It fails every other request: whoever does not wait for the failed one overtakes it.
    let flaky = [500, 200, 503, 200, 429, 200, 408, 200].map(|status| Answer::Status(status, "", "not now"));
    receiver.next(flaky.iter().cycle().take(80).cloned());
    receiver.taken(40).await;
    let taken = receiver.requests();
    for device in ["a", "b"] {
        let expect: Vec<String> = (0..20).map(|n| body(device, n)).collect();
        assert_eq!(of_device(&taken, device), expect, "{device}");
    }
    house.until("trouble is over", |house| house.status("r/webhook-1").trouble.is_none()).await;
    assert_eq!(house.letters(), []);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_or_answers_500_for_long_delays_no_other_action() {
    let (hangs, fails, works) = (
        Receiver::start(Answer::Hang).await,
        Receiver::start(Answer::Status(500, "", "")).await,
        Receiver::start(OK).await,
    );
    let rules =
        rule("hangs", &hangs.url("/")) + &rule("fails", &fails.url("/")) + &rule("works", &works.url("/"));
    let house = House::open(&rules).await;
    send(&house, "a", 0..50).await;
    let taken = works.taken(50).await;
    assert_eq!(taken, (0..50).map(|n| body("a", n)).collect::<Vec<_>>());
    hangs.until("the hanging one is asked more than once", |all| all.len() > 1).await;
    fails.until("the failing one is asked more than once", |all| all.len() > 1).await;
    for name in ["hangs/webhook-1", "fails/webhook-1"] {
        let status = house.status(name);
        assert_eq!((status.delivered, status.failed, status.position), (0, 0, 0), "{status:?}");
    }
    // Their turn comes, and nothing is missing.
    hangs.stand(OK);
    fails.stand(OK);
    for receiver in [&hangs, &fails] {
        assert_eq!(receiver.taken(50).await, (0..50).map(|n| body("a", n)).collect::<Vec<_>>());
    }
    assert_eq!(house.letters(), []);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_receiver_is_not_asked_again_before_the_time_it_named() {
    let receiver = Receiver::start(OK).await;
    receiver.next([Answer::Status(429, "retry-after: 1\r\n", "slow down")]);
    let house = House::open(&rule("r", &receiver.url("/"))).await;
    let clock = host::SystemClock::start();
    send(&house, "a", 0..1).await;
    receiver.taken(1).await;
    let waited = clock.mono_micros();
    assert!(waited >= 1_000_000, "{waited} µs; the waits of the settings are 20 ms at most");
    assert_eq!(receiver.requests().len(), 2);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_refuses_is_one_dead_letter_that_is_told_and_can_be_tried_again() {
    let receiver = Receiver::start(Answer::Status(404, "", "no such hook")).await;
    let rule = format!(
        "{}    error_action: {{publish: \"ops/errors\"}}\n",
        rule("r", &receiver.url("/hook?token=t"))
    );
    let house = House::open(&rule).await;
    let seqs = send(&house, "a", 0..3).await;
    house.until("all are given up", |house| house.status("r/webhook-1").failed == 3).await;
    house.until("it is stored", |house| house.status("r/webhook-1").position >= seqs[2]).await;
    let letters = house.letters();
    let [letter] = &letters[..] else { panic!("{letters:#?}") };
    assert_eq!((letter.from, letter.to, letter.messages), (seqs[0], seqs[2], Some(3)));
    assert_eq!((letter.reason, letter.detail.as_str()), (Reason::Refused, "404 Not Found: no such hook"));
    assert_eq!(letter.sink, "r/webhook-1");
    assert!(!letter.target.contains("token"), "{}", letter.target);

    let told = house.on("ops/errors");
    assert_eq!(told.len(), 3, "{told:#?}");
    let first: serde_json::Value = serde_json::from_str(&told[0]).expect("JSON");
    assert_eq!(first["ruleName"], "r");
    assert_eq!(first["topic"], "dt/a/climate");
    assert_eq!(first["clientId"], "a");
    assert_eq!(first["base64OriginalPayload"], "eyJuIjowfQ==");
    assert_eq!(first["failures"][0]["failedAction"], "webhook");
    assert_eq!(first["failures"][0]["errorMessage"], "404 Not Found: no such hook");
    assert_eq!(first["cloudwatchTraceId"].as_str().expect("text").len(), 36);

    // Tried again, one is taken and the next refused: what is left is what was not delivered.
    receiver.next([OK]);
    let retried = house.sinks.retry(letter.id).await.expect("tried");
    assert_eq!(retried.delivered, 1);
    assert_eq!(retried.left.map(|left| (left.from, left.to)), Some((seqs[1], seqs[2])));
    receiver.stand(OK);
    let retried = house.sinks.retry(letter.id).await.expect("tried");
    assert_eq!((retried.delivered, retried.left), (2, None));
    assert_eq!(receiver.taken(3).await, (0..3).map(|n| body("a", n)).collect::<Vec<_>>());
    assert_eq!(house.letters(), []);
    let gone = house.sinks.retry(letter.id).await.expect_err("gone");
    assert_eq!(gone.to_string(), format!("there is no dead letter {}", letter.id));
    // Each attempt of a message had the same id.
    let ids: std::collections::BTreeSet<_> = receiver
        .requests()
        .iter()
        .filter_map(|request| request.header("godwit-id").map(str::to_owned))
        .collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_delivers_each_message_at_least_once_under_the_same_id() {
    let receiver = Receiver::start(OK).await;
    let rules = rule("r", &receiver.url("/"));
    let house = House::open(&rules).await;
    send(&house, "a", 0..10).await;
    receiver.taken(10).await;
    house.until("the first are stored", |house| house.status("r/webhook-1").position >= 10).await;
    // These are under way when the power fails.
    receiver.stand(Answer::Hang);
    send(&house, "a", 10..20).await;
    send(&house, "b", 10..20).await;
    receiver.until("some are under way", |all| all.len() > 10).await;
    receiver.stand(OK);
    let house = house.crash(&rules).await;
    receiver.taken(30).await;
    house.until("all are stored", |house| house.status("r/webhook-1").position >= 30).await;
    let requests = receiver.requests();
    // Some may have been taken when the power failed, and come again: what matters is when each came first.
    let first = |device: &str| {
        let mut seen = std::collections::HashSet::new();
        of_device(&requests, device).into_iter().filter(|body| seen.insert(body.clone())).collect::<Vec<_>>()
    };
    assert_eq!(first("a"), (0..20).map(|n| body("a", n)).collect::<Vec<_>>());
    assert_eq!(first("b"), (10..20).map(|n| body("b", n)).collect::<Vec<_>>());
    for request in &requests {
        let same = |other: &&Request| other.body == request.body;
        assert!(
            requests
                .iter()
                .filter(same)
                .all(|other| other.header("godwit-id") == request.header("godwit-id"))
        );
    }
    assert_eq!(house.letters(), []);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_receiver_takes_within_its_hold_is_cut_by_its_exact_range_and_can_be_tried_again() {
    assert_the_old_are_cut(false, "a").await;
}

/// Whoever is young is tried for its own time, which nobody waits for who is told of the old ones.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_are_cut_in_their_time_although_a_young_one_is_under_way_with_them() {
    assert_the_old_are_cut(true, "a").await;
    assert_the_old_are_cut(true, "b").await;
}

/// Five old messages of `a` and, two hours younger, one of `young`: one after the other, or all at once.
async fn assert_the_old_are_cut(at_once: bool, young: &str) {
    let receiver = Receiver::start(Answer::Status(500, "", "down")).await;
    let settings = Settings { hold: Duration::from_secs(3_600), ..quick() };
    let clock = clock();
    let house = House::with(
        &rule("r", &receiver.url("/")),
        settings,
        journal_settings(),
        Arc::clone(&clock) as Arc<dyn Clock>,
    )
    .await;
    let message =
        |device: &str, n| house.message(device, &format!("dt/{device}/climate"), &format!(r#"{{"n":{n}}}"#));
    let mut messages: Vec<model::Message> = (0..5).map(|n| message("a", n)).collect();
    messages
        .push(model::Message { received_at: clock.now().plus_micros(7_200_000_000), ..message(young, 5) });
    let batches = if at_once { vec![messages] } else { messages.into_iter().map(|one| vec![one]).collect() };
    for batch in batches {
        house.journal.append(batch).await.expect("durable");
    }
    receiver.until("it is tried", |all| all.len() > 2).await;
    assert_eq!(house.letters(), [], "nothing is given up before its time");
    clock.advance(Duration::from_secs(7_200));
    house
        .until("the old ones are cut", |house| !house.letters().is_empty() && house.letters()[0].to >= 5)
        .await;
    let letters = house.letters();
    let covered: Vec<_> =
        letters.iter().rev().map(|letter| (letter.from, letter.to, letter.reason)).collect();
    assert_eq!(covered, [(1, 5, Reason::Held)], "{letters:#?}");

    receiver.stand(OK);
    assert_eq!(receiver.taken(1).await, [body(young, 5)]);
    let retried = house.sinks.retry(letters[0].id).await.expect("tried");
    assert_eq!((retried.delivered, retried.left), (5, None));
    let mut taken = receiver.taken(6).await;
    taken.sort();
    let mut expect: Vec<String> = (0..5).map(|n| body("a", n)).collect();
    expect.push(body(young, 5));
    expect.sort();
    assert_eq!(taken, expect);
    house.close().await;
}

/// `a` is always refused, `b` is taken, `c` asks for an hour: each time an old one of `a` is given up, the others are as they were.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_answered_is_not_asked_again_because_another_is_given_up() {
    let receiver = Receiver::start(OK).await;
    receiver.stand_at("/a", Answer::Status(500, "", "down"));
    receiver.stand_at("/c", Answer::Status(429, "retry-after: 3600\r\n", "busy"));
    let settings = Settings { hold: Duration::from_secs(3_600), ..quick() };
    let clock = clock();
    let rule = format!(
        "  - rule: r\n    sql: SELECT n, topic(2) AS device FROM 'dt/+/climate'\n    actions: [{{webhook: \"{}/${{topic(2)}}\"}}]\n",
        receiver.url("")
    );
    let house = House::with(&rule, settings, journal_settings(), Arc::clone(&clock) as Arc<dyn Clock>).await;
    // A minute between each: `a` a b c a a.
    let mut messages = Vec::new();
    for (minute, device) in ["a", "a", "b", "c", "a", "a"].into_iter().enumerate() {
        let message = house.message(device, &format!("dt/{device}/climate"), r#"{"n":1}"#);
        let received_at = clock.now().plus_micros(minute as i64 * 60_000_000);
        messages.push(model::Message { received_at, ..message });
    }
    house.journal.append(messages).await.expect("durable");
    let of = |all: &[Request], path: &str| all.iter().filter(|request| request.path == path).count();
    receiver.until("all are asked", |all| of(all, "/a") > 0 && of(all, "/b") > 0 && of(all, "/c") > 0).await;
    // The first two of `a` are too old, one after the other.
    clock.advance(Duration::from_secs(3_600));
    house.until("the first is cut", |house| house.letters().iter().any(|letter| letter.to >= 1)).await;
    clock.advance(Duration::from_secs(60));
    house.until("the second is cut", |house| house.letters().iter().any(|letter| letter.to >= 2)).await;
    let before = of(&receiver.requests(), "/a");
    receiver.until("the third of `a` is tried", |all| of(all, "/a") > before + 3).await;
    let all = receiver.requests();
    assert_eq!(of(&all, "/b"), 1, "taken once");
    assert_eq!(house.status("r/webhook-1").delivered, 1);
    // The hour that it asked for passed on the same clock: it may have been asked once more then, not each time.
    assert!(of(&all, "/c") <= 2, "{}", of(&all, "/c"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_comes_to_nothing_gives_up_that_message_alone() {
    let receiver = Receiver::start(OK).await;
    let rule = format!(
        "  - rule: r\n    sql: SELECT * FROM 'dt/#'\n    actions: [{{webhook: \"{}/${{site}}\"}}]\n",
        receiver.url("")
    );
    let house = House::open(&rule).await;
    house.publish("a", "dt/a/x", r#"{"site":"hq"}"#).await;
    house.publish("a", "dt/a/x", r#"{"place":"hq"}"#).await;
    house.publish("a", "dt/a/x", "raw").await;
    house.publish("a", "dt/a/x", r#"{"site":"b c"}"#).await;
    house.publish("a", "dt/a/x", r#"{"site":"hq2"}"#).await;
    receiver.taken(2).await;
    house.until("it is stored", |house| house.status("r/webhook-1").position >= 5).await;
    let mut letters = house.letters();
    letters.reverse();
    let told: Vec<_> = letters.iter().map(|letter| (letter.from, letter.to, letter.reason)).collect();
    assert_eq!(told, [(2, 3, Reason::Template), (4, 4, Reason::Target)], "{letters:#?}");
    assert!(letters[0].detail.contains("`${site}` is undefined"), "{}", letters[0].detail);
    assert_eq!(
        receiver.requests().iter().map(|request| request.path.as_str()).collect::<Vec<_>>(),
        ["/hq", "/hq2"]
    );
    house.close().await;
}

#[test]
fn the_rules_of_these_tests_are_rules() {
    assert_eq!(load(&rule("r", "http://127.0.0.1:1/")).actions.len(), 1);
}
