//! What the evaluation stores is stored once, whatever it says again.

use alerts::{Applied, Transition};
use catalog::{Catalog, ReadError, params};

use crate::house::{House, at, firing, resolved};

fn rows(catalog: &Catalog) -> Vec<(String, bool, u64, u64)> {
    catalog
        .read::<_, ReadError>(|connection| {
            Ok(connection.query(
                "SELECT state, late, generation, turn FROM alert_episodes ORDER BY rule, started_at",
                params![],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )?)
        })
        .expect("read")
}

#[tokio::test]
async fn a_replay_of_transitions_inserts_nothing_twice() {
    let house = House::new();
    let one = firing("Hot", "a", 0);
    let other = firing("Hot", "b", 0);
    let all = [
        Transition::Fired(one.clone()),
        Transition::Resolved(resolved(one.clone(), 900)),
        Transition::Fired(other.clone()),
        Transition::Withdrawn { id: other.id(), learnt_at: at(400) },
    ];
    assert_eq!(house.store(&all).await, [Applied::Stored; 4]);
    let before = rows(&house.catalog);
    assert_eq!(house.store(&all).await, [Applied::Known; 4], "again, all of it");
    assert_eq!(house.store(&all[2..3]).await, [Applied::Known], "from an older state, in part");
    assert_eq!(rows(&house.catalog), before);
}

#[tokio::test]
async fn an_episode_that_was_taken_back_comes_back_only_by_what_was_learnt_later() {
    let house = House::new();
    let mut episode = firing("Hot", "a", 0);
    house.store(&[Transition::Fired(episode.clone())]).await;
    house.store(&[Transition::Withdrawn { id: episode.id(), learnt_at: at(500) }]).await;
    episode.learnt_at = at(500);
    assert_eq!(house.store(&[Transition::Fired(episode.clone())]).await, [Applied::Known]);
    episode.learnt_at = at(501);
    assert_eq!(house.store(&[Transition::Fired(episode.clone())]).await, [Applied::Stored]);
    assert_eq!(rows(&house.catalog)[0].0, "firing");
}

#[tokio::test]
async fn a_live_alarm_is_not_demoted_and_a_late_one_that_still_holds_becomes_urgent() {
    let house = House::new();
    let live = firing("Hot", "a", 0);
    let mut late = firing("Hot", "b", 0);
    late.late = true;
    house.store(&[Transition::Fired(live.clone()), Transition::Fired(late.clone())]).await;

    let mut demoted = live;
    demoted.late = true;
    demoted.fired_at = at(301);
    let mut promoted = late;
    promoted.late = false;
    house.store(&[Transition::Changed(demoted), Transition::Changed(promoted)]).await;
    let late: Vec<bool> = rows(&house.catalog).iter().map(|row| row.1).collect();
    assert_eq!(late, [false, false]);
}

#[tokio::test]
async fn what_an_episode_says_lies_sealed_and_its_state_is_readable() {
    let house = House::new();
    let mut episode = firing("Hot", "a", 0);
    episode.annotations.insert("summary".to_owned(), "a word nobody else writes: quokka".to_owned());
    house.store(&[Transition::Fired(episode)]).await;
    house.catalog.close().await;
    let bytes = std::fs::read(house.dir.path().join("catalog.db")).expect("the file");
    let holds = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
    assert!(holds(b"firing"));
    assert!(!holds(b"quokka"));
    drop(house.machine);
}
