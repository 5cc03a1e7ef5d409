//! Publishing again: once, with what the rule attaches, and never in a circle without an end.

use std::sync::Arc;

use catalog::params;
use model::{Door, Message, Properties, Qos};
use sinks::{HOPS_MAX, HOPS_PROPERTY, Reason};

use crate::house::House;

const HOT: &str = "  - rule: hot
    sql: SELECT temperature, topic(2) AS device, newuuid() AS id FROM 'dt/+/climate' WHERE temperature > 30
    actions:
    - publish: {topic: \"ops/hot/${device}\", qos: 1, content_type: application/json, headers: {site: \"${site}\"}}
    - publish: \"$$aws/rules-of-ours/${topic(2)}\"
";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_published_again_with_what_the_rule_attaches() {
    let house = House::open(HOT).await;
    house.publish("a", "dt/a/climate", r#"{"temperature":20,"site":"hq"}"#).await;
    house.publish("a", "dt/a/climate", r#"{"temperature":31.5,"site":"hq"}"#).await;
    house.until("both actions have acted", |house| house.records().len() == 4).await;
    let records = house.records();
    let hot = records.iter().find(|record| &*record.message.topic == "ops/hot/a").expect("published");
    let message = &hot.message;
    assert_eq!((message.qos, message.retain, message.origin.door), (Qos::AtLeastOnce, false, Door::Inside));
    let properties = message.properties.as_ref().expect("some");
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    let user: Vec<_> = properties.user.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(user, [("site", "hq"), (HOPS_PROPERTY, "1")]);
    let payload: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
    assert_eq!((&payload["temperature"], &payload["device"]), (&31.5.into(), &"a".into()));
    assert_eq!(house.on("$aws/rules-of-ours/a").len(), 1);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_after_a_crash_publishes_nothing_twice() {
    let house = House::open(HOT).await;
    for n in 0..60 {
        house.publish("a", "dt/a/climate", &format!(r#"{{"temperature":{},"site":"hq"}}"#, 31 + n)).await;
    }
    house.until("all are published", |house| house.on("ops/hot/a").len() == 60).await;
    let before = house.on("ops/hot/a");
    // The effect was durable, the position not: as if the power had failed between the two.
    house.sinks.close().await;
    let back = |transaction: &catalog::Transaction<'_>| {
        Ok(transaction.execute("UPDATE sink_positions SET position = 0", params![])?)
    };
    assert_eq!(house.catalog.write(back).await.expect("written"), 2);
    let house = house.crash(HOT).await;
    let seq = house.publish("a", "dt/a/climate", r#"{"temperature":99,"site":"hq"}"#).await;
    house.until("the replay is over", |house| house.status("hot/publish-1").position >= seq).await;
    let after = house.on("ops/hot/a");
    assert_eq!(after.len(), 61, "each once");
    assert_eq!(after[..60], before[..], "and as they were, random ids too");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_rules_ends_and_is_told() {
    let rules = "  - rule: there\n    sql: SELECT n + 1 AS n FROM 'a'\n    actions: [{publish: b}]
  - rule: back\n    sql: SELECT n + 1 AS n FROM 'b'\n    actions: [{publish: a}]\n";
    let house = House::open(rules).await;
    // What a device claims is not believed.
    let claimed =
        Properties { user: vec![(HOPS_PROPERTY.into(), "1000000".into())], ..Properties::default() };
    house
        .append(Message { properties: Some(Arc::new(claimed)), ..house.message("d", "a", r#"{"n":0}"#) })
        .await;
    house.until("it ends", |house| !house.letters().is_empty()).await;
    let letters = house.letters();
    assert_eq!((letters.len(), letters[0].reason), (1, Reason::Looped), "{letters:#?}");
    assert_eq!(house.records().len(), 1 + HOPS_MAX as usize);
    // What comes next is heard as before.
    house.append(house.message("d", "a", r#"{"n":0}"#)).await;
    house.until("the next ends too", |house| house.records().len() == 2 * (1 + HOPS_MAX as usize)).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_data_makes_impossible_gives_up_that_message_alone() {
    let rule = "  - rule: r\n    sql: SELECT * FROM 'dt/#'\n    actions: [{publish: \"ops/${site}\"}]\n";
    let house = House::open(rule).await;
    let mut seqs = Vec::new();
    for site in ["hq", "#", "a/+", "hq"] {
        seqs.push(house.publish("a", "dt/a/x", &format!(r#"{{"site":"{site}"}}"#)).await);
    }
    house.until("all are judged", |house| house.status("r/publish-1").position >= seqs[3]).await;
    assert_eq!(house.on("ops/hq").len(), 2);
    let letters = house.letters();
    assert_eq!(
        letters.iter().map(|letter| (letter.from, letter.to, letter.reason)).collect::<Vec<_>>(),
        [(seqs[1], seqs[2], Reason::Target)]
    );
    house.close().await;
}
