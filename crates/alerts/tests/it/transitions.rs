//! What the evaluation stores is stored once, whatever it says again.

use alerts::{Applied, Episode, EpisodeId, Transition};
use catalog::{Catalog, ReadError, params};
use model::Timestamp;

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

fn ids(catalog: &Catalog) -> Vec<(EpisodeId, Timestamp)> {
    catalog
        .read::<_, ReadError>(|connection| {
            let sql = "SELECT id, started_at FROM alert_episodes ORDER BY started_at";
            Ok(connection.query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))?)
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
async fn an_episode_whose_start_moves_keeps_its_id_and_another_with_the_old_start_has_its_own() {
    let house = House::new();
    let first = firing("Hot", "a", 600);
    let earlier = Episode { learnt_at: at(1_000), ..firing("Hot", "a", 0) };
    house.store(&[Transition::Fired(first.clone())]).await;
    let moved = Transition::Moved { id: first.id(), episode: earlier.clone() };
    assert_eq!(house.store(std::slice::from_ref(&moved)).await, [Applied::Stored]);
    // A replay from before: what fires by the old start, resolves by it, and moves again, is known.
    let replay = [
        Transition::Fired(first.clone()),
        Transition::Resolved(Episode { learnt_at: at(1_100), ..resolved(first.clone(), 1_050) }),
        moved,
        Transition::Fired(earlier.clone()),
    ];
    assert_eq!(house.store(&replay).await, [Applied::Known; 4]);
    assert_eq!(ids(&house.catalog), [(first.id(), at(0))]);

    // It splits: the first part is over, and the second begins where the whole was thought to begin.
    let over = Episode { learnt_at: at(2_000), ..resolved(earlier, 500) };
    let second = Episode { learnt_at: at(2_000), ..first.clone() };
    let split = [Transition::Changed(over), Transition::Fired(second)];
    assert_eq!(house.store(&split).await, [Applied::Stored; 2]);
    assert_eq!(house.store(&split).await, [Applied::Known; 2]);
    let found = ids(&house.catalog);
    assert_eq!(found.iter().map(|(_, start)| *start).collect::<Vec<_>>(), [at(0), at(600)]);
    assert_eq!(found[0].0, first.id());
    assert_ne!(found[1].0, first.id());
    // Its end is its own.
    let end = Episode { learnt_at: at(3_000), ..resolved(first, 2_500) };
    house.store(&[Transition::Resolved(end)]).await;
    assert_eq!(rows(&house.catalog).iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["resolved"; 2]);
    assert_eq!(ids(&house.catalog).len(), 2);
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
