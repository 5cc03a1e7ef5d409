//! What edge nodes of Sparkplug say, beside a disk and a journal: the state survives, and requests for births leave.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use host::Disk;
use host::sim::Machine;
use journal::{Chains, Journal};
use model::route::Routes;
use model::{ChannelSettings, Channels, Message, Qos, RouteSettings, Timestamp};
use series::{Offline, Series, Settings};

use crate::edge::{DOUBLE, Edge, Publish, Value, aliased, asks_for_births, born};
use crate::support::{DIR, START, csv, message, records, stored};

const SECOND: i64 = 1_000_000;

fn routes() -> Arc<Routes> {
    let route = RouteSettings {
        filter: "spBv1.0/#".to_owned(),
        decode: Some("sparkplug".to_owned()),
        ..RouteSettings::default()
    };
    Arc::new(Routes::new(&[route]).expect("a route"))
}

fn settings() -> Settings {
    Settings { query_threads: Some(1), ..Settings::default() }
}

fn open(machine: &Machine) -> Offline {
    Offline::open(Path::new(DIR), &settings(), routes(), Arc::default(), &machine.host()).expect("opened")
}

fn received(publish: &Publish, at: i64) -> Message {
    Message { qos: Qos::AtMostOnce, ..message(&publish.0, publish.1.clone(), at) }
}

/// A node and a device behind it that speak by alias; among it a gap, a death, and a new connection.
pub(crate) fn a_day() -> Vec<Message> {
    let mut edge = Edge::new("plant", "line", 0);
    let mut messages = Vec::new();
    for second in 0..60_i64 {
        edge.now_ms = (START / 1_000 + second * 1_000) as u64;
        let value = |n| Value::Double(second as f64 + n);
        let publish = match second {
            0 => edge.birth(vec![born("t", 1, DOUBLE, value(0.0)), born("p", 2, DOUBLE, value(0.5))]),
            1 => edge.device_birth("oven", vec![born("heat", 3, DOUBLE, value(0.0))]),
            30 => edge.death(),
            31 => {
                edge.bd_seq += 1;
                // The aliases have changed places.
                edge.birth(vec![born("t", 2, DOUBLE, value(0.0)), born("p", 1, DOUBLE, value(0.5))])
            }
            32 => edge.device_birth("oven", vec![born("heat", 3, DOUBLE, value(0.0))]),
            20 => {
                edge.seq += 1;
                edge.data(vec![aliased(1, value(0.0))])
            }
            n if n % 2 == 0 => edge.data(vec![aliased(1, value(0.0)), aliased(2, value(0.5))]),
            _ => edge.device_data("oven", vec![aliased(3, value(0.0))]),
        };
        messages.push(received(&publish, START + second * SECOND + 1_000));
    }
    messages
}

/// What a birth says of units is said once: it is kept through a graceful stop, and through a crash before and after the
/// first flush.
#[test]
fn the_units_of_a_birth_outlive_the_process_and_those_of_the_settings_win() {
    let mut edge = Edge::new("plant", "line", (START / 1_000) as u64);
    let value = || Value::Double(1.0);
    let birth = edge.birth(vec![
        born("t", 1, DOUBLE, value()).in_unit("°C"),
        born("energy", 2, DOUBLE, value()).in_unit("Wh"),
        born("power", 3, DOUBLE, value()),
    ]);
    edge.now_ms += 1_000;
    let data = edge.data(vec![aliased(1, value()), aliased(2, value())]);
    let said = records(1, [received(&birth, START), received(&data, START + SECOND)]);
    let sql = "SELECT channel, unit FROM channels WHERE channel <> 'health.online'";
    let expect = "channel,unit\nenergy,W.h\npower,W\nt,Cel\n";
    let mut machine = Machine::new(1);
    let store = open(&machine);
    store.apply(&said[..1]);
    assert_eq!(csv(&store, sql), expect);
    drop(store);
    machine.crash();
    let store = open(&machine);
    store.apply(&said[..1]);
    store.flush().expect("written");
    store.apply(&said[1..]);
    assert_eq!(csv(&store, sql), expect, "data says no units, and takes none away");
    drop(store);
    machine.crash();
    let store = open(&machine);
    assert_eq!(csv(&store, sql), expect);
    store.apply(&said[1..]);
    store.flush().expect("written");
    drop(store);
    assert_eq!(csv(&open(&machine), sql), expect);

    let own = ChannelSettings {
        name: "energy".to_owned(),
        unit: Some("J".to_owned()),
        ..ChannelSettings::default()
    };
    let channels = Arc::new(Channels::new(&[own]).expect("a channel"));
    let store =
        Offline::open(Path::new(DIR), &settings(), routes(), channels, &machine.host()).expect("opened");
    assert_eq!(csv(&store, sql), expect.replace("W.h", "J"));
}

/// The power goes off after each of the changes that two flushes make to the disk.
#[test]
fn what_is_known_of_edge_nodes_moves_with_the_position() {
    let day = records(1, a_day());
    let whole = open(&Machine::new(0));
    whole.apply(&day);
    let expect = stored(&whole);
    assert_eq!(expect.len(), 29 + 28 + 30 + 6, "t, p, heat, presence");

    let mut power_cuts = 0;
    for changes in 0.. {
        let mut machine = Machine::new(changes);
        let store = open(&machine);
        store.apply(&day[..10]);
        store.flush().expect("written");
        store.apply(&day[10..25]);
        machine.disk.cut_power_after(changes);
        let first = store.flush().is_ok();
        store.apply(&day[25..40]);
        let done = first && store.flush().is_ok();
        drop(store);
        machine.crash();

        let store = open(&machine);
        let position = store.series().applied();
        assert!([10, 25, 40].contains(&position), "{position}");
        // The journal begins after the position: births of before are not heard again.
        store.apply(&day[position as usize..]);
        assert_eq!(stored(&store), expect, "after {changes} changes, from {position}");
        assert_eq!(store.series().stats().tally, whole.series().stats().tally);
        store.flush().expect("written");
        let files = machine.disk.list(Path::new(DIR)).expect("listed");
        let states = files.iter().filter(|file| file.name.starts_with("nodes-")).count();
        assert_eq!(states, 1, "one state, none left over");
        if done {
            break;
        }
        power_cuts += 1;
    }
    assert!(power_cuts > 8, "only {power_cuts} cuts: the disk was hardly used");
}

#[test]
fn a_state_that_did_not_change_is_not_written_again() {
    let machine = Machine::new(1);
    let store = open(&machine);
    let name = || {
        let files = machine.disk.list(Path::new(DIR)).expect("listed");
        files.into_iter().map(|file| file.name).find(|name| name.starts_with("nodes-"))
    };
    store.apply(&records(1, [message("dt/a/x", r#"{"t":1}"#, START)]));
    store.flush().expect("written");
    assert_eq!(name(), None, "without edge nodes there is none");
    store.apply(&records(2, a_day().into_iter().take(2)));
    store.flush().expect("written");
    let first = name().expect("there");
    store.apply(&records(4, [message("dt/a/x", r#"{"t":2}"#, START + 1)]));
    store.flush().expect("written");
    assert_eq!(name(), Some(first.clone()));
    drop(store);
    assert_eq!(open(&machine).series().applied(), 4);
    assert_eq!(name(), Some(first), "it is named, so a start does not remove it");
}

#[test]
fn a_state_that_is_damaged_or_missing_stops_nobody() {
    for is_missing in [true, false] {
        let machine = Machine::new(1);
        let store = open(&machine);
        let day = records(1, a_day());
        store.apply(&day[..2]);
        store.flush().expect("written");
        drop(store);
        let files = machine.disk.list(Path::new(DIR)).expect("listed");
        let file = files.iter().find(|file| file.name.starts_with("nodes-")).expect("there");
        let path = Path::new(DIR).join(&file.name);
        if is_missing {
            machine.disk.remove(&path).expect("removed");
        } else {
            machine.disk.flip_bit(&path, 40, 3);
        }
        let store = open(&machine);
        store.apply(&day[2..31]);
        assert_eq!(store.series().stats().tally.notes["sparkplug_unborn"], 28);
        store.apply(&day[31..]);
        let sql =
            "SELECT count(*) AS n FROM readings WHERE channel = 'heat' AND time > '2026-11-22T00:00:32Z'";
        assert_eq!(csv(&store, sql), "n\n14\n", "from the next birth on all is as ever");
        store.flush().expect("written");
    }
}

/// The first command in the journal.
async fn command(journal: &Journal) -> Message {
    let mut reader = journal.reader(1, Chains::Both);
    loop {
        let batch = reader.next().await.expect("records");
        if let Some(found) = batch.records.iter().find(|record| record.message.topic.contains("CMD")) {
            return found.message.clone();
        }
    }
}

#[tokio::test]
async fn a_node_that_nobody_saw_born_is_asked_once_and_only_if_it_lives_now() {
    let machine = Machine::new(1);
    let host = machine.host();
    let (journal, _) =
        Journal::open(Path::new("data/journal"), &journal::Settings::default(), &host).expect("a journal");
    let series =
        Series::open(Path::new(DIR), &settings(), routes(), Arc::default(), journal.clone(), host.clone())
            .expect("opened");
    let now = |machine: &Machine| machine.host().clock.now();
    let data = |node: &str, at: Timestamp| {
        let mut edge = Edge::new("plant", node, (at.micros() / 1_000) as u64);
        received(&edge.data(vec![aliased(1, Value::Double(1.0))]), at.micros())
    };
    // One of the past, one of now, and one whose birth was only overtaken.
    let past = now(&machine).minus(Duration::from_secs(61));
    let mut overtaken = Edge::new("plant", "overtaken", (now(&machine).micros() / 1_000) as u64);
    let birth = overtaken.birth(vec![born("t", 1, DOUBLE, Value::Double(1.0))]);
    let sent = vec![
        data("past", past),
        data("overtaken", now(&machine)),
        received(&birth, now(&machine).micros()),
        data("live", now(&machine)),
    ];
    journal.append(sent).await.expect("durable");
    series.caught_up(4).await;
    assert_eq!(journal.durable_seq(), 4, "nobody is asked before what was overtaken could come");
    machine.clock.advance(Duration::from_secs(2));
    // Any record makes the reader look at the time.
    journal.append(vec![data("live", now(&machine))]).await.expect("durable");

    let command = command(&journal).await;
    assert_eq!(command.topic.as_str(), "spBv1.0/plant/NCMD/live");
    assert!(asks_for_births(&command.payload));
    assert_eq!((command.qos, command.retain, command.lane), (Qos::AtMostOnce, false, model::Lane::Control));
    assert_eq!(command.origin.principal, model::Principal::Inside);
    series.caught_up(6).await;
    series.close().await;
    assert_eq!(journal.durable_seq(), 6, "one request, to one node");
    journal.close().await;
}
