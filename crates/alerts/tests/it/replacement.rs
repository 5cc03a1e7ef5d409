//! Another configuration takes the place of the one in force: nobody is told twice, nothing is forgotten.

use alerts::{Config, Transition};

use crate::delivery::Running;
use crate::house::{House, firing, resolved};
use crate::receivers::{Manner, Receiver};

fn to(receiver: &str, url: &str) -> String {
    format!(
        "route: {{receiver: {receiver}, group_by: [site, cause], group_wait: 0s, group_interval: 100ms}}
receivers: [{{name: {receiver}, webhook_configs: [{{url: '{url}'}}]}}]
"
    )
}

fn config(house: &House, text: &str) -> Config {
    let dir = house.dir.path().to_path_buf();
    Config::parse("alerts.yaml", text, dir, &|path| std::fs::read(path)).expect("a whole configuration")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_configuration_tells_what_is_new_and_repeats_nothing() {
    let house = House::new();
    let (old, new) =
        (Receiver::start(Manner::Answers(200)).await, Receiver::start(Manner::Answers(200)).await);
    let running = Running::start(&house, &to("ops", &old.url)).await;
    running.store(&house, &[Transition::Fired(firing("Hot", "a", 0))]).await;
    old.wait(1).await;
    running.until(&house, "sent", 1).await;

    // The same receiver is somewhere else now: what it was told it is not told again; news goes to the new place.
    running.alerts.replace(config(&house, &to("ops", &new.url))).await;
    assert_eq!(running.alerts.config().receivers(), ["ops", "inbox"]);
    running.store(&house, &[Transition::Fired(firing("Hot", "b", 0))]).await;
    let news = new.wait(1).await.remove(0).json();
    assert_eq!(news["alerts"].as_array().expect("alerts").len(), 2, "in the company of what fires: {news}");
    running.until(&house, "sent", 2).await;

    // Another receiver is told of what still fires, and the one before hears the end no more: it is not there.
    let third = Receiver::start(Manner::Answers(200)).await;
    running.alerts.replace(config(&house, &to("night", &third.url))).await;
    assert_eq!(third.wait(1).await[0].json()["receiver"], "night");
    running.store(&house, &[Transition::Resolved(resolved(firing("Hot", "a", 0), 900))]).await;
    assert_eq!(third.wait(2).await[1].json()["receiver"], "night");
    running.until(&house, "sent", 4).await;
    assert_eq!((old.wait(1).await.len(), new.wait(1).await.len()), (1, 1), "nobody heard anything twice");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_up_neither_a_change_nor_what_comes_after_it() {
    let house = House::new();
    let (hangs, answers) =
        (Receiver::start(Manner::Hangs).await, Receiver::start(Manner::Answers(200)).await);
    let running = Running::start(&house, &to("ops", &hangs.url)).await;
    running.store(&house, &[Transition::Fired(firing("Hot", "a", 0))]).await;
    hangs.wait(1).await;
    let both = |first: &str, second: &str| {
        format!(
            "route: {{receiver: ops, group_by: [site, cause], group_wait: 0s, group_interval: 100ms}}
receivers: [{{name: ops, webhook_configs: [{{url: '{first}'}}, {{url: '{second}'}}]}}]
"
        )
    };
    running.alerts.replace(config(&house, &both(&hangs.url, &answers.url))).await;
    running.store(&house, &[Transition::Fired(firing("Hot", "b", 0))]).await;
    answers.wait(1).await;
    running.until(&house, "sent", 1).await;
    let ways = running.alerts.ways().await.expect("read");
    let lying: Vec<_> = ways.iter().map(|way| (way.way.as_str(), way.waiting)).collect();
    assert_eq!(lying[..2], [("ops/webhook/0", 2), ("ops/webhook/1", 0)], "{ways:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_was_away_for_a_moment_ends_its_attempt_before_it_makes_another() {
    let house = House::new();
    let (hangs, answers) =
        (Receiver::start(Manner::Hangs).await, Receiver::start(Manner::Answers(200)).await);
    let both = format!(
        "route: {{receiver: ops, group_by: ['...'], group_wait: 0s, group_interval: 100ms}}
receivers: [{{name: ops, webhook_configs: [{{url: '{}'}}, {{url: '{}'}}]}}]
",
        hangs.url, answers.url
    );
    let running = Running::start(&house, &both).await;
    running.store(&house, &[Transition::Fired(firing("Hot", "a", 0))]).await;
    hangs.wait(1).await;
    answers.wait(1).await;
    let night = Receiver::start(Manner::Answers(200)).await;
    running.alerts.replace(config(&house, &to("night", &night.url))).await;
    night.wait(1).await;
    running.alerts.replace(config(&house, &both)).await;
    // What comes now goes to the way that answers; the other is at its first attempt still.
    for (n, device) in ["b", "c", "d"].into_iter().enumerate() {
        running.store(&house, &[Transition::Fired(firing("Hot", device, 0))]).await;
        answers.wait(n + 2).await;
    }
    assert_eq!(hangs.wait(1).await.len(), 1);
    running.stop().await;
}
