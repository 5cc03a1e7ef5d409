//! How fast readings become columns, how small they are, and how fast four questions are answered.
//!
//! `cargo bench -p series --bench store [-- ROWS_PER_DEVICE]`: 1,000 devices × 10,000 readings, 250 s ± 0.4 s apart,
//! temperatures of 2 decimals that drift by about half a degree a step (some 8 bits of entropy; the jitter has 9.6).

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures::executor::block_on;
use host::{Host, KeyRing, SystemClock, SystemDisk, SystemRandom};
use journal::Record;
use model::{Message, Origin, Qos, Timestamp, TopicName};
use series::{Format, Offline, QueryLimits, Settings};

const DEVICES: usize = 1_000;
const PACE_MS: i64 = 250_000;
/// 2026-01-01T00:00:00Z in milliseconds.
const START_MS: i64 = 1_767_225_600_000;
const BATCH: usize = 4_096;

/// A generator of small quality that is the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn between(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from + 1) as u64) as i64
    }
}

/// How receipt follows the time of a reading.
#[derive(Clone, Copy, PartialEq)]
enum Receipt {
    /// A fleet: 20 to 51 ms after.
    Live,
    /// A recording that is replayed: a thousand readings each millisecond.
    Replayed,
}

fn main() {
    let rows = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(10_000);
    for receipt in [Receipt::Replayed, Receipt::Live] {
        for encrypt in [false, true] {
            run(rows, receipt, encrypt);
        }
    }
}

fn run(rows: usize, receipt: Receipt, encrypt: bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host {
        clock: Arc::new(SystemClock::start()),
        disk: Arc::new(SystemDisk),
        random: Arc::new(SystemRandom),
        keys: Arc::new(KeyRing::new(&[7; 32])),
        boot: 1,
    };
    let settings = Settings { memory_readings: usize::MAX, encrypt, ..Settings::default() };
    let store = Offline::open(dir.path(), &settings, Arc::default(), Arc::default(), &host).expect("opened");
    let kind = if receipt == Receipt::Live { "live, 20-51 ms on the way" } else { "replayed" };
    let form = if encrypt { "encrypted" } else { "plain" };
    println!("\n{} readings, {kind}, {form}", DEVICES * rows);
    ingest(&store, rows, receipt);
    let before = store.series().stats();
    let started = Instant::now();
    let merged = store.compact().expect("merged");
    println!(
        "merge       {:8.2} s  {} files of {} became {}; {:.2} bytes before",
        started.elapsed().as_secs_f64(),
        merged,
        before.files,
        store.series().stats().files,
        before.file_bytes as f64 / before.file_readings as f64,
    );
    let stats = store.series().stats();
    println!(
        "size        {:8.3} bytes per reading ({} readings, {} bytes in {} files)",
        stats.file_bytes as f64 / stats.file_readings as f64,
        stats.file_readings,
        stats.file_bytes,
        stats.files
    );
    if !encrypt {
        columns(dir.path(), "20", stats.file_readings);
    }
    let rolled = roll_up(&store);
    let all = bytes_of(dir.path()) as f64 / stats.file_readings as f64;
    println!("with them   {all:8.3} bytes per reading, everything in the directory included");
    if !encrypt {
        columns(dir.path(), "rollup-1h", rolled);
    }
    questions(&store, rows);
    repairs(&store, rows);
}

/// What the rollups of all days cost: rows that are written. Beside apply, flush and merge of the same run.
fn roll_up(store: &Offline) -> u64 {
    let started = Instant::now();
    let rows = store.roll_up().expect("rolled up");
    let took = started.elapsed().as_secs_f64();
    let readings = store.series().stats().file_readings as f64;
    println!(
        "roll up     {took:8.2} s  {:6.2} M readings/s  ({rows} rows, {:.1} readings each)",
        readings / took / 1e6,
        readings / rows as f64
    );
    rows
}

/// What it costs to put a day right again after late readings: of all devices, of one.
fn repairs(store: &Offline, rows: usize) {
    let origin = Arc::new(Origin::inside(1));
    let at = START_MS + 86_400_000 * (rows as i64 * PACE_MS / 86_400_000 / 2) + 43_200_000;
    let received_at = Timestamp::from_micros((START_MS + rows as i64 * PACE_MS + 86_400_000) * 1_000);
    for (late, name) in
        [(1, "one late reading"), (100, "100 of 100 devices"), (DEVICES, "one of each device")]
    {
        let mut took = Vec::new();
        for round in 0..5 {
            let from = store.series().stats().applied + 1;
            let records = (0..late).map(|device| {
                let topic = TopicName::parse(format!("dt/device-{device:04}/climate")).expect("a topic");
                let payload = format!("{{\"ts\":{},\"temperature\":20.5}}", at + round * 1_000 + 7);
                Record {
                    seq: from + device as u64,
                    id_reused: false,
                    message: Message { received_at, ..Message::new(topic, payload, Arc::clone(&origin)) },
                }
            });
            store.apply(&records.collect::<Vec<_>>());
            store.flush().expect("written");
            let started = Instant::now();
            let redone = store.roll_up().expect("rolled up");
            took.push(started.elapsed().as_secs_f64() * 1e3);
            assert!(redone > 0, "the day was touched");
        }
        took.sort_by(f64::total_cmp);
        println!("repair      {:8.2} ms median of a day of rollups: {name}", took[2]);
    }
}

fn bytes_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("listed");
    entries.map(|entry| entry.expect("listed").metadata().expect("there").len()).sum()
}

fn ingest(store: &Offline, rows: usize, receipt: Receipt) {
    let origin = Arc::new(Origin::inside(1));
    let topics: Vec<TopicName> = (0..DEVICES)
        .map(|n| TopicName::parse(format!("dt/device-{n:04}/climate")).expect("a topic"))
        .collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let phases: Vec<i64> = (0..DEVICES).map(|_| dice.between(0, PACE_MS - 1)).collect();
    let mut hundredths: Vec<i64> = (0..DEVICES).map(|_| dice.between(1_500, 3_000)).collect();
    let (mut applying, mut flushing) = (0.0, 0.0);
    let mut seq = 0;
    let mut records: Vec<Record> = Vec::with_capacity(BATCH);
    for row in 0..rows as i64 {
        for device in 0..DEVICES {
            let at = START_MS + phases[device] + row * PACE_MS + dice.between(-400, 400);
            // Four dice: near a bell of 0.5 degrees.
            let step = (0..4).map(|_| dice.between(-43, 43)).sum::<i64>();
            hundredths[device] = (hundredths[device] + step).clamp(-1_000, 5_000);
            let (whole, part) = (hundredths[device] / 100, hundredths[device].unsigned_abs() % 100);
            let sign = if hundredths[device] < 0 && whole == 0 { "-" } else { "" };
            let payload = format!("{{\"ts\":{at},\"temperature\":{sign}{whole}.{part:02}}}");
            let received_at = match receipt {
                Receipt::Live => (at + dice.between(20, 51)) * 1_000,
                Receipt::Replayed => (START_MS + 86_400_000 * 60 + row) * 1_000 + device as i64,
            };
            seq += 1;
            records.push(Record {
                seq,
                id_reused: false,
                message: Message {
                    qos: Qos::AtLeastOnce,
                    packet_id: 1,
                    received_at: Timestamp::from_micros(received_at),
                    ..Message::new(topics[device].clone(), payload, Arc::clone(&origin))
                },
            });
            if records.len() == BATCH {
                let started = Instant::now();
                store.apply(&records);
                applying += started.elapsed().as_secs_f64();
                records.clear();
            }
        }
        if store.series().stats().memory_readings >= 500_000 {
            let started = Instant::now();
            store.flush().expect("written");
            flushing += started.elapsed().as_secs_f64();
        }
    }
    let started = Instant::now();
    store.apply(&records);
    applying += started.elapsed().as_secs_f64();
    let started = Instant::now();
    store.flush().expect("written");
    flushing += started.elapsed().as_secs_f64();
    let count = (DEVICES * rows) as f64 / 1e6;
    println!("apply       {applying:8.2} s  {:6.2} M readings/s  (JSON, one thread)", count / applying);
    println!(
        "flush       {flushing:8.2} s  {:6.2} M readings/s  (memory to synced Parquet)",
        count / flushing
    );
    println!(
        "both        {:8.2} s  {:6.2} M readings/s  (one after the other)",
        applying + flushing,
        count / (applying + flushing)
    );
}

/// Bytes per column over all files whose names begin so, for each of `rows`.
fn columns(dir: &Path, prefix: &str, rows: u64) {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let mut columns = std::collections::BTreeMap::<String, (u64, i64)>::new();
    for entry in std::fs::read_dir(dir).expect("listed") {
        let path = entry.expect("listed").path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
            continue;
        }
        let file = SerializedFileReader::new(std::fs::File::open(&path).expect("opened")).expect("Parquet");
        let mut rest = std::fs::metadata(&path).expect("there").len() as i64;
        let mut count = |name: String, bytes: i64| {
            let (files, sum) = columns.entry(name).or_default();
            (*files, *sum) = (*files + 1, *sum + bytes);
        };
        for column in
            file.metadata().row_groups().iter().flat_map(parquet::file::metadata::RowGroupMetaData::columns)
        {
            count(column.column_path().string(), column.compressed_size());
            rest -= column.compressed_size();
        }
        count("(footers)".to_owned(), rest);
    }
    for (name, (files, bytes)) in columns {
        println!("            {:8.3} bytes  {name} (in {files} files)", bytes as f64 / rows as f64);
    }
}

fn questions(store: &Offline, rows: usize) {
    let moment = |ms: i64| Timestamp::from_micros(ms * 1_000);
    let day = START_MS + 86_400_000 * (rows as i64 * PACE_MS / 86_400_000 / 2);
    let month = START_MS + 86_400_000 * 30;
    let device = "device = 'device-0500' AND channel = 'temperature'";
    let asked = [
        ("last value, from `latest`", format!("SELECT time, value FROM latest WHERE {device}")),
        (
            "last value, from `readings`",
            format!("SELECT time, value FROM readings WHERE {device} ORDER BY time DESC LIMIT 1"),
        ),
        (
            "one day of a device",
            format!(
                "SELECT time, value FROM readings WHERE {device} AND time >= '{}' AND time < '{}'",
                moment(day),
                moment(day + 86_400_000)
            ),
        ),
        (
            "5-minute means of a month of one device",
            format!(
                "SELECT date_bin(INTERVAL '5 minutes', time) AS t, avg(value) FROM readings WHERE {device} AND time >= '{}' AND time < '{}' GROUP BY 1 ORDER BY 1",
                moment(START_MS),
                moment(month)
            ),
        ),
        (
            "hourly means over all",
            "SELECT date_bin(INTERVAL '1 hour', time) AS t, avg(value) FROM readings GROUP BY 1 ORDER BY 1"
                .to_owned(),
        ),
        ("count(*)", "SELECT count(*) FROM readings".to_owned()),
    ];
    for (name, sql) in asked {
        let medians = [true, false].map(|rollups| {
            let limits = QueryLimits { rollups, ..QueryLimits::default() };
            let mut times = Vec::new();
            let mut lines = 0;
            for _ in 0..9 {
                let started = Instant::now();
                let answer = block_on(async {
                    let answer = store.series().query(&sql, &limits).await.expect("a query");
                    answer.whole(Format::Csv).await.expect("an answer")
                });
                times.push(started.elapsed().as_secs_f64() * 1e3);
                lines = answer.lines().count() - 1;
            }
            times.sort_by(f64::total_cmp);
            (times[4], lines)
        });
        let [(with, lines), (without, _)] = medians;
        println!("query       {with:8.2} ms median, {without:8.2} without rollups: {name} ({lines} rows)");
    }
}
