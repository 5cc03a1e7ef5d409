//! Rules at work on a real journal and real columns: the answers of a recording, whatever happens on its way.

use std::path::Path;

use model::{Message, Timestamp};

use crate::site::{Ground, MINUTE, Site, compiled, shuffled, telemetry};

/// A room: what was measured there, and the episodes that must come of it.
struct Room {
    messages: Vec<Message>,
    stale_air: Vec<&'static str>,
    warm: Vec<&'static str>,
    means: [&'static str; 2],
    means_count: usize,
}

/// The recording of a real office where the checkout has its shared data beside it, else a made-up room.
fn room() -> Room {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    let root = Path::new(&here).ancestors().nth(3).expect("beside the checkout");
    let recording = root.join("shared/data/occupancy-office.csv");
    let Ok(bytes) = host::Disk::read(&host::SystemDisk, &recording, 1 << 24) else { return made_up_room() };
    let text = String::from_utf8(bytes).expect("text");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let time = Timestamp::parse(&(fields[1].trim_matches('"').replace(' ', "T") + "Z")).expect("a time");
        measured(time, fields[2], fields[5])
    };
    Room {
        messages: text.lines().skip(1).map(row).collect(),
        stale_air: STALE_AIR.to_vec(),
        warm: WARM.to_vec(),
        means: [
            "02-04 17:54:00 / 02-04 17:57:59 / 02-04 19:43:00",
            "02-09 16:12:00 / 02-09 16:15:59 / 02-09 18:10:59",
        ],
        means_count: 5,
    }
}

/// Two days, a reading a minute: people come at 8 and go at 17, and it is warm from 10 to 15, and less so until 16.
fn made_up_room() -> Room {
    let begin = Timestamp::parse("2026-03-02T00:00:00Z").expect("a time");
    let row = |minute: i64| {
        let co2 = if (480..1_020).contains(&(minute % 1_440)) { "1200" } else { "450" };
        let degrees = match minute % 1_440 {
            600..900 => "23",
            900..960 => "21.8",
            _ => "20",
        };
        measured(begin.plus_micros(minute * MINUTE), degrees, co2)
    };
    Room {
        messages: (0..2 * 1_440).map(row).collect(),
        stale_air: vec![
            "03-02 08:00:00 / 03-02 08:10:00 / 03-02 17:00:00",
            "03-03 08:00:00 / 03-03 08:10:00 / 03-03 17:00:00",
        ],
        warm: vec![
            "03-02 10:00:00 / 03-02 10:05:00 / 03-02 16:00:00",
            "03-03 10:00:00 / 03-03 10:05:00 / 03-03 16:00:00",
        ],
        means: [
            "03-02 10:02:00 / 03-02 10:06:00 / 03-02 15:03:00",
            "03-03 10:02:00 / 03-03 10:06:00 / 03-03 15:03:00",
        ],
        means_count: 2,
    }
}

fn measured(time: Timestamp, temperature: &str, co2: &str) -> Message {
    telemetry("office-1", time, &format!(r#""temperature":{temperature},"co2":{co2}"#))
}

const OFFICE: &str = "
groups:
- name: office
  rules:
  - alert: StaleAir
    from: dt/+/telemetry
    expr: co2 > 1000
    for: 10m
    max_gap: 2m
  - alert: Warm
    from: dt/+/telemetry
    expr: temperature > 22
    clear: temperature < 21.5
    for: 5m
    max_gap: 2m
  - alert: WarmMean
    from: dt/+/telemetry
    expr: avg(temperature, last 4) > 22
    streak: 5
";

const STALE_AIR: [&str; 4] = [
    "02-05 09:35:00 / 02-05 09:45:00 / 02-05 10:37:00",
    "02-05 10:38:00 / 02-05 10:49:00 / 02-05 13:01:00",
    "02-05 14:39:59 / 02-05 14:50:00 / 02-05 17:10:59",
    "02-09 09:53:59 / 02-09 10:04:00 / 02-09 19:59:59",
];

const WARM: [&str; 5] = [
    "02-04 17:51:00 / 02-04 17:57:00 / 02-04 21:34:00",
    "02-05 09:23:59 / 02-05 09:29:00 / 02-05 18:36:00",
    "02-06 14:29:00 / 02-06 14:34:00 / 02-06 18:16:59",
    "02-07 10:46:59 / 02-07 10:52:00 / 02-07 15:47:00",
    "02-09 16:14:59 / 02-09 16:20:00 / 02-09 18:39:00",
];

impl Room {
    async fn assert_the_answers(&self, site: &Site) {
        assert_eq!(site.episodes("StaleAir").await, self.stale_air);
        assert_eq!(site.episodes("Warm").await, self.warm);
        let means = site.episodes("WarmMean").await;
        assert_eq!(means.len(), self.means_count, "{means:?}");
        assert_eq!([means[0].as_str(), means[means.len() - 1].as_str()], self.means);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_gives_its_answers() {
    for room in [room(), made_up_room()] {
        let ground = Ground::new();
        let site = ground.start(OFFICE).await;
        site.send(room.messages.clone()).await;
        room.assert_the_answers(&site).await;
        // Every row once more: a repeat changes nothing.
        site.send(room.messages.clone()).await;
        room.assert_the_answers(&site).await;
        site.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_out_of_order_gives_the_same_episodes() {
    let room = room();
    let ground = Ground::new();
    let site = ground.start(OFFICE).await;
    let mut days: Vec<Vec<Message>> = vec![Vec::new()];
    for message in room.messages.clone() {
        let is_new_day = |last: &Message| {
            last.received_at.micros() / Timestamp::DAY != message.received_at.micros() / Timestamp::DAY
        };
        if days.last().and_then(|day| day.last()).is_some_and(is_new_day) {
            days.push(Vec::new());
        }
        days.last_mut().expect("a day").push(message);
    }
    for (seed, day) in (1..).zip(days) {
        site.send(shuffled(day, seed)).await;
    }
    room.assert_the_answers(&site).await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_changes_no_episode() {
    let room = room();
    let mut ground = Ground::new();
    for part in room.messages.chunks(room.messages.len() / 5 + 1) {
        let site = ground.start(OFFICE).await;
        site.send(part.to_vec()).await;
        ground.crash(site).await;
    }
    let site = ground.start(OFFICE).await;
    site.judged().await;
    room.assert_the_answers(&site).await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_urgent_is_judged_while_a_backlog_waits() {
    let ground = Ground::new();
    let site = ground.start(&HOT.replace("    for: 5m\n", "")).await;
    let now = site.now();
    let hot = |device: String| Message { received_at: now, ..telemetry(&device, now, "\"temperature\":35") };
    let backlog = (0..5_000).map(|n| hot(format!("d-{n}"))).collect();
    site.journal.append(backlog).await.expect("durable");
    let alarm = Message { lane: model::Lane::Alarm, ..hot("smoke".to_owned()) };
    site.journal.append(vec![alarm]).await.expect("durable");
    site.judged().await;
    let read = site.catalog.read_async(|connection| {
        let sql = "SELECT key FROM alert_episodes ORDER BY turn";
        Ok::<_, catalog::ReadError>(connection.query(sql, catalog::params![], |row| row.get::<String>(0))?)
    });
    let order = read.await.expect("read");
    assert_eq!(order.len(), 5_001);
    let place = order.iter().position(|key| key.contains("smoke")).expect("it fired");
    assert!(place < 4_000, "{place} alerts of the backlog went before it");
    site.close().await;
}

const HOT: &str = "
groups:
- name: g
  rules:
  - alert: Hot
    from: dt/+/telemetry
    expr: temperature > 30
    for: 5m
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_rule_ends_the_old_episodes_and_looks_back() {
    let ground = Ground::new();
    let start = Timestamp::parse("2026-11-22T08:00:00Z").expect("a time");
    let site = ground.start(HOT).await;
    let minute =
        |n: i64, t: f64| telemetry("a", start.plus_micros(n * MINUTE), &format!(r#""temperature":{t}"#));
    site.send((0..10).map(|n| minute(n, 35.0)).collect()).await;
    assert_eq!(site.episodes("Hot").await, ["11-22 08:00:00 / 11-22 08:05:00 / open"]);
    let other = HOT.replace("> 30", "> 34");
    site.evaluation.replace(compiled(&other)).await;
    assert!(!site.episodes("Hot").await[0].ends_with("open"), "the old version's episode has ended");
    // The new version has been true since 08:00 too, and knows it with the first sample it sees.
    site.send(vec![minute(10, 35.0)]).await;
    let episodes = site.episodes("Hot").await;
    assert_eq!(episodes.len(), 2, "{episodes:?}");
    assert!(episodes.contains(&"11-22 08:00:00 / 11-22 08:05:00 / open".to_owned()), "{episodes:?}");
    assert_eq!(site.evaluation.versions("Hot").await.expect("read").len(), 2);
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_is_rolled_back_looks_back_as_a_new_one_does() {
    let ground = Ground::new();
    let start = Timestamp::parse("2026-11-22T08:00:00Z").expect("a time");
    let minute =
        |n: i64, t: f64| telemetry("a", start.plus_micros(n * MINUTE), &format!(r#""temperature":{t}"#));
    // The other text holds for none of this. Each is put in force by a start of its own.
    let other = HOT.replace("> 30", "> 300");
    for (text, minutes) in [(HOT, 0..2), (other.as_str(), 2..4), (HOT, 4..7)] {
        let site = ground.start(text).await;
        ground.machine.clock.advance(std::time::Duration::from_secs(60));
        site.send(minutes.map(|n| minute(n, 35.0)).collect()).await;
        if text == HOT {
            assert_eq!(site.evaluation.versions("Hot").await.expect("read")[0].text, compiled(HOT)[0].text());
        }
        site.close().await;
    }
    let site = ground.start(HOT).await;
    assert_eq!(
        site.episodes("Hot").await,
        ["11-22 08:00:00 / 11-22 08:05:00 / open"],
        "hot since before the other text came"
    );
    site.close().await;
}
