//! How long the past is kept: what is open, and what waits, is never forgotten.

use std::time::Duration;

use alerts::{EpisodeFilter, Forgotten, Keep, Transition};
use catalog::{ReadError, params};

use crate::delivery::Running;
use crate::house::{House, firing, resolved};
use crate::receivers::{Manner, Receiver};

const SECOND: Duration = Duration::from_secs(1);

fn rows(house: &House, table: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM {table}");
    let read = house
        .catalog
        .read::<_, ReadError>(|connection| Ok(connection.query_one(&sql, params![], |row| row.get(0))?));
    read.expect("read").expect("a count")
}

/// As if it had been stored by the clock of the room that runs.
async fn now(house: &House) {
    write(house, &["UPDATE alert_episodes SET changed_at = (SELECT max(made_at) FROM alert_notices)"]).await;
}

/// As if all that is there had happened a day before.
async fn a_day_passes(house: &House) {
    let statements = [
        "UPDATE alert_episodes SET changed_at = changed_at - 86400000000",
        "UPDATE alert_notices SET made_at = made_at - 86400000000",
        "UPDATE alert_deliveries SET made_at = made_at - 86400000000",
        "UPDATE alert_groups SET sent_at = sent_at - 86400000000",
    ];
    write(house, &statements).await;
}

async fn write(house: &House, statements: &[&'static str]) {
    for sql in statements.iter().copied() {
        let written = house.catalog.write(move |tx| {
            tx.execute(sql, params![])?;
            Ok::<_, catalog::WriteError>(())
        });
        written.await.expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_forgotten_in_time_and_what_is_open_or_waits_never() {
    let house = House::new();
    let (takes, fails) =
        (Receiver::start(Manner::Answers(200)).await, Receiver::start(Manner::Answers(500)).await);
    let config = format!(
        "route:
  receiver: ops
  group_by: ['...']
  group_wait: 0s
  group_interval: 100ms
  routes: [{{matchers: [device=stuck], receiver: broken}}]
receivers:
- {{name: ops, webhook_configs: [{{url: '{}'}}]}}
- {{name: broken, webhook_configs: [{{url: '{}'}}]}}
",
        takes.url, fails.url
    );
    let running = Running::start(&house, &config).await;
    let (over, open, stuck) = (firing("Hot", "over", 0), firing("Hot", "open", 0), firing("Hot", "stuck", 0));
    for episode in [&over, &open, &stuck] {
        running.store(&house, &[Transition::Fired(episode.clone())]).await;
    }
    takes.wait(2).await;
    fails.wait(1).await;
    running.store(&house, &[Transition::Resolved(resolved(over.clone(), 900))]).await;
    takes.wait(3).await;
    running.until(&house, "sent", 3).await;
    let is_settled = async {
        let sql = "SELECT count(*) FROM alert_episodes WHERE settled = $1";
        loop {
            let read = house.catalog.read::<_, ReadError>(|connection| {
                Ok(connection.query_one(sql, params![true], |row| row.get::<u64>(0))?)
            });
            if read.expect("read") == Some(1) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(60 * SECOND, is_settled).await.expect("the one that is over is settled");

    now(&house).await;
    let day = Keep { episodes: 86_400 * SECOND, notices: 86_400 * SECOND };
    assert_eq!(running.alerts.forget(day).await.expect("done"), Forgotten::default(), "nothing is so old");
    a_day_passes(&house).await;
    let longer = Keep { episodes: 2 * day.episodes, ..day };
    // Three notices to `ops`; that of `broken` waits still.
    let forgotten = running.alerts.forget(longer).await.expect("done");
    assert_eq!(forgotten, Forgotten { episodes: 0, notices: 3 });
    assert_eq!((rows(&house, "alert_notices"), rows(&house, "alert_deliveries")), (1, 1));
    let explained = running.alerts.explain(over.id()).await.expect("read").expect("it is there still");
    assert_eq!(explained.said.len(), 2, "who was told stands without the notice");
    assert!(explained.said.iter().all(|said| said.deliveries.is_empty()));

    let forgotten = running.alerts.forget(day).await.expect("done");
    assert_eq!(forgotten, Forgotten { episodes: 1, notices: 0 });
    assert_eq!(running.alerts.explain(over.id()).await.expect("read"), None);
    let (left, _) = running.alerts.episodes(EpisodeFilter::default(), None, 10).await.expect("read");
    let mut left: Vec<&str> = left.iter().map(|shown| shown.episode.key["device"].as_str()).collect();
    left.sort_unstable();
    assert_eq!(left, ["open", "stuck"], "however old, what fires stays");
    assert_eq!(rows(&house, "alert_said"), 2, "nothing hangs in the air");
    // How often a group was told matters for longer than any repetition, and not for ever.
    assert_eq!(rows(&house, "alert_groups"), 3);
    for _ in 0..30 {
        a_day_passes(&house).await;
    }
    running.alerts.forget(day).await.expect("done");
    assert_eq!(rows(&house, "alert_groups"), 0);
    running.stop().await;
}
