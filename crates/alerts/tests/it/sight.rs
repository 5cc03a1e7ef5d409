//! What somebody sees whose role is bound to a group: his alerts, and how much is looked through for them.

use alerts::{EpisodeFilter, Sight};
use catalog::{WriteError, params};
use identity::{Actor, Grant, NewDevice, Rights, Role};
use model::{DeviceName, GroupPath};

use crate::site::Ground;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sees_little_gets_it_page_by_page_and_no_page_looks_through_everything() {
    let rules = "
groups:
- name: g
  rules:
  - {alert: Hot, from: dt/+/telemetry, expr: temperature > 30, labels: {severity: critical}}
";
    let ground = Ground::new();
    let site = ground.start(rules).await;
    let by = Actor::inside();
    let group = GroupPath::parse("hall".to_owned()).expect("a group");
    site.identity.add_group(&by, &group).await.expect("a group");
    let name = DeviceName::parse("mine").expect("a name");
    let mine = NewDevice { group: Some(group.clone()), ..NewDevice::from(&name) };
    site.identity.add_device(&by, mine).await.expect("added");
    for device in ["mine", "other"] {
        site.hear(device, site.now(), "\"temperature\":35").await;
    }
    site.pass(2).await;
    // As many again of the other, all newer than the one that is seen.
    let copied = site.catalog.write(|tx| {
        tx.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
             INSERT INTO alert_episodes (id, rule, version, key, state, late, started_at, fired_at, resolved_at, learnt_at,
                                         changed_at, turn, generation, settled, document)
             SELECT randomblob(16), rule, version, key, 'resolved', late, started_at + i, fired_at + i, fired_at + i, learnt_at,
                    changed_at, turn, generation, 1, document
             FROM alert_episodes, n WHERE key = $1",
            params!["{\"device\":\"other\"}"],
        )?;
        Ok::<_, WriteError>(())
    });
    copied.await.expect("written");
    let grants = ["viewer@hall".parse::<Grant>().expect("a grant")];
    let sight = Sight::of(site.identity.clone(), Rights::of(grants), Role::Viewer);
    let filter = || EpisodeFilter { sight: Some(sight.clone()), ..EpisodeFilter::default() };
    let (none, next) = site.alerts.episodes(filter(), None, 10).await.expect("read");
    assert_eq!(none, [], "all that was looked through is another's");
    let (found, end) = site.alerts.episodes(filter(), next, 10).await.expect("read");
    let found: Vec<&str> = found.iter().map(|shown| shown.episode.key["device"].as_str()).collect();
    assert_eq!((found, end), (vec!["mine"], None));
    assert!(next.is_some());
    site.close().await;
}
