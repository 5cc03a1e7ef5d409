//! Acknowledgements per second, beside `fjall`: producers that each wait for their own acknowledgement.
//!
//! Both sides get 200 B payloads from tokio tasks and gather what waits into one `fdatasync`; ours also encrypts and
//! keeps the topic, the times and the sender of every message. Rounds take turns, so that a busy machine hurts
//! both; the ratio of the medians is what counts.
//!
//! `GODWIT_BENCH_SECONDS` (default 3) is the length of a round, `GODWIT_BENCH_ROUNDS` (default 3) their number.

#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use host::{Host, KeyRing, SystemClock, SystemDisk, SystemRandom};
use journal::{Journal, Settings};
use model::{DeviceName, Door, Message, Origin, Principal, Qos, Timestamp, TopicName};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

const PAYLOAD_BYTES: usize = 200;

fn main() {
    let seconds = setting("GODWIT_BENCH_SECONDS", 3);
    let rounds = setting("GODWIT_BENCH_ROUNDS", 3);
    println!(
        "{:>9}  {:>8}  {:>10}  {:>8}  {:>8}  {:>10}",
        "producers", "engine", "acks/s", "p50 ms", "p99 ms", "core-s/M"
    );
    for producers in [64, 1_000] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (engine, rates) in rates.iter_mut().enumerate() {
                let name = ["journal", "fjall"][engine];
                let length = Duration::from_secs(seconds);
                let run =
                    if engine == 0 { run_journal(producers, length) } else { run_fjall(producers, length) };
                println!(
                    "{producers:>9}  {name:>8}  {:>10.0}  {:>8.2}  {:>8.2}  {:>10.2}",
                    run.rate, run.p50_ms, run.p99_ms, run.core_seconds_per_million
                );
                rates.push(run.rate);
            }
        }
        let [ours, theirs] = rates.map(median);
        println!("{producers:>9}  median   {ours:.0} : {theirs:.0} = {:.2}", ours / theirs);
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

struct Run {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Of the whole process, producers included: what a busy machine cannot blur.
    core_seconds_per_million: f64,
}

/// Core-seconds that this process has used, from `/proc/self/stat` (fields 14 and 15, hundredths of a second).
fn core_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Lets that many tasks append one after the other for the given time.
fn drive<F, A>(producers: usize, length: Duration, append: F) -> Run
where
    F: Fn() -> A + Clone + Send + 'static,
    A: Future<Output = ()> + Send,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let (begin, cores) = (Instant::now(), core_seconds());
        let tasks: Vec<_> = (0..producers)
            .map(|_| {
                let append = append.clone();
                tokio::spawn(async move {
                    let mut micros = Vec::new();
                    loop {
                        let sent = Instant::now();
                        append().await;
                        micros.push(sent.elapsed().as_micros() as u32);
                        if begin.elapsed() >= length {
                            return micros;
                        }
                    }
                })
            })
            .collect();
        let mut micros = Vec::new();
        for task in tasks {
            micros.extend(task.await.expect("a producer ends"));
        }
        let rate = micros.len() as f64 / begin.elapsed().as_secs_f64();
        let core_seconds_per_million = (core_seconds() - cores) * 1e6 / micros.len() as f64;
        micros.sort_unstable();
        let at = |part: f64| f64::from(micros[((micros.len() - 1) as f64 * part) as usize]) / 1_000.0;
        Run { rate, p50_ms: at(0.5), p99_ms: at(0.99), core_seconds_per_million }
    })
}

fn run_journal(producers: usize, length: Duration) -> Run {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host {
        clock: Arc::new(SystemClock::start()),
        disk: Arc::new(SystemDisk),
        random: Arc::new(SystemRandom),
        keys: Arc::new(KeyRing::new(&[7; 32])),
        boot: 1,
    };
    let (journal, _) = Journal::open(dir.path(), &Settings::default(), &host).expect("a journal");
    let message = message();
    drive(producers, length, move || {
        let (journal, message) = (journal.clone(), message.clone());
        async move {
            journal.append(vec![message]).await.expect("durable");
        }
    })
}

fn message() -> Message {
    let device = DeviceName::parse("sensor-0042").expect("a name");
    let topic = TopicName::parse("dt/sensor-0042/telemetry").expect("a topic");
    let origin = Origin {
        door: Door::Mqtt,
        principal: Principal::DevicePassword(device.clone()),
        device: Some(device.clone()),
        client_id: ByteString::from(device.as_str()),
        connection: 17,
        boot: 1,
        partition: 3,
    };
    Message {
        qos: Qos::AtLeastOnce,
        packet_id: 77,
        received_at: Timestamp::from_micros(1_767_225_600_000_000),
        received_mono: 123_456_789,
        ..Message::new(topic, vec![b'x'; PAYLOAD_BYTES], origin)
    }
}

/// What waits for fjall's writer.
#[derive(Default)]
struct Waiting {
    items: Mutex<Vec<(u64, Bytes, oneshot::Sender<()>)>>,
    arrived: Condvar,
    /// How many must wait before the writer is woken: it is not to be woken for each.
    wake_at: AtomicUsize,
    stop: AtomicBool,
}

fn run_fjall(producers: usize, length: Duration) -> Run {
    let dir = tempfile::tempdir().expect("a directory");
    let waiting = Arc::new(Waiting::default());
    let writer = {
        let (waiting, path) = (Arc::clone(&waiting), dir.path().to_owned());
        thread::spawn(move || write_fjall(&waiting, &path))
    };
    let next = Arc::new(AtomicU64::new(0));
    let payload = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let run = drive(producers, length, {
        let waiting = Arc::clone(&waiting);
        move || {
            let (waiting, next, payload) = (Arc::clone(&waiting), Arc::clone(&next), payload.clone());
            async move {
                let (done, durable) = oneshot::channel();
                let seq = next.fetch_add(1, Ordering::Relaxed);
                let count = {
                    let mut items = waiting.items.lock();
                    items.push((seq, payload, done));
                    items.len()
                };
                if count >= waiting.wake_at.load(Ordering::SeqCst) {
                    waiting.arrived.notify_one();
                }
                durable.await.expect("durable");
            }
        }
    });
    waiting.stop.store(true, Ordering::SeqCst);
    waiting.arrived.notify_one();
    writer.join().expect("the writer ends");
    run
}

/// The same group commit as ours: at once when idle, else gathering for as long as the last sync took, at most 2 ms,
/// or until as many wait as the last time.
fn write_fjall(waiting: &Waiting, path: &Path) {
    let db = Database::builder(path).manual_journal_persist(true).open().expect("a database");
    let items = db.keyspace("journal", KeyspaceCreateOptions::default).expect("a keyspace");
    let (mut group, mut last_sync, mut last_count) = (Vec::new(), Duration::ZERO, 0);
    loop {
        {
            let mut queue = waiting.items.lock();
            let until = Instant::now() + last_sync.min(Duration::from_millis(2));
            while queue.len() < last_count && Instant::now() < until {
                waiting.wake_at.store(last_count, Ordering::SeqCst);
                waiting.arrived.wait_until(&mut queue, until);
            }
            waiting.wake_at.store(1, Ordering::SeqCst);
            while queue.is_empty() {
                if waiting.stop.load(Ordering::SeqCst) {
                    return;
                }
                waiting.arrived.wait_for(&mut queue, Duration::from_millis(50));
            }
            waiting.wake_at.store(usize::MAX, Ordering::SeqCst);
            std::mem::swap(&mut *queue, &mut group);
        }
        last_count = group.len();
        let mut batch = db.batch();
        for (seq, payload, _) in &group {
            batch.insert(&items, seq.to_be_bytes(), payload.as_ref());
        }
        batch.commit().expect("written");
        let begin = Instant::now();
        db.persist(PersistMode::SyncData).expect("synced");
        last_sync = begin.elapsed();
        for (_, _, done) in group.drain(..) {
            let _ = done.send(());
        }
    }
}
