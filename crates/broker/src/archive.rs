//! The durable copy of the retained messages: a consumer of the journal with a table in the catalog.
//!
//! It reads what became durable, gives it to memory at once, and writes the changes to its table soon after,
//! many in one operation, together with the position they bring it to. The laws:
//!
//! - **Effect and position move together.** After a crash the table is as of its position, and the journal brings the
//!   rest again.
//! - The table holds what memory holds: the bounds of the one are the bounds of the other.
//! - What a message carries is sealed.
//!
//! ```sql
//! broker_retained  (topic, seq, qos, received_at, expires_at, packet, device, is_sealed)
//!                  packet: an MQTT 5 PUBLISH of QoS 0, sealed; in the clear where a version before 6 wrote it
//! broker_positions (consumer, seq)
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use catalog::{Catalog, Migration, WriteError, params};
use hashbrown::HashMap;
use host::Host;
use journal::{Chains, Consumer, Hold, Journal, ReadError, Reader};
use model::{DeviceName, Lane, Message, Origin, Qos, Timestamp, TopicName};
use mqtt::{Decoder, Packet, Publish, PublishProperties, Side, Version};
use parking_lot::Mutex;

use crate::StartError;
use crate::at_rest;
use crate::link::{APPLIED, Link};
use crate::retained::Kept;
use crate::shared::Shared;

/// The name under which the journal and the table know it.
const CONSUMER: &str = "broker.retained";

/// How far it may read without a change before it saves its position all the same: the most that a start reads again
/// without need.
const SAVE_EVERY: u64 = 100_000;

/// How long its position may stay unsaved: so long it holds the journal's retention behind what it has read.
const SAVE_WITHIN: Duration = Duration::from_secs(1);

/// How often it looks for messages whose time is over. They are not sent meanwhile; this gives their memory back.
const EXPIRE: Duration = Duration::from_secs(60);

/// How long it waits after the catalog or the journal failed.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        room: "broker",
        version: 1,
        sql: "
        CREATE TABLE broker_retained (
            topic TEXT PRIMARY KEY, seq BIGINT NOT NULL, qos BIGINT NOT NULL, received_at BIGINT NOT NULL,
            expires_at BIGINT, packet BYTEA NOT NULL);
        CREATE TABLE broker_positions (consumer TEXT PRIMARY KEY, seq BIGINT NOT NULL);
    ",
    },
    Migration { room: "broker", version: 2, sql: crate::store::SQL },
    Migration { room: "broker", version: 3, sql: crate::store::SQL_STEPS },
    Migration { room: "broker", version: 4, sql: crate::store::SQL_OWNERS },
    Migration { room: "broker", version: 5, sql: "ALTER TABLE broker_retained ADD COLUMN device TEXT;" },
    Migration {
        room: "broker",
        version: 6,
        sql: "
        ALTER TABLE broker_retained ADD COLUMN is_sealed BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE broker_wills ADD COLUMN is_sealed BIGINT NOT NULL DEFAULT 0;
    ",
    },
    Migration {
        room: "broker",
        version: 7,
        sql: "
        ALTER TABLE broker_wills ADD COLUMN password BIGINT;
        ALTER TABLE broker_wills ADD COLUMN token BIGINT;
    ",
    },
];

/// How far the retained messages in memory have followed the journal, and who waits for them.
#[derive(Default)]
pub(crate) struct Applied {
    seq: AtomicU64,
    waiting: Mutex<Vec<(u64, Arc<Link>)>>,
}

impl Applied {
    /// Whether records up to `seq` have had their effect; if not, `link` hears of it with [`APPLIED`].
    pub(crate) fn has(&self, seq: u64, link: &Arc<Link>) -> bool {
        if self.seq.load(Ordering::Acquire) >= seq {
            return true;
        }
        let mut waiting = self.waiting.lock();
        // Looked at again under the lock that `reach` takes after its store.
        if self.seq.load(Ordering::Acquire) >= seq {
            return true;
        }
        waiting.push((seq, Arc::clone(link)));
        false
    }

    fn reach(&self, seq: u64) {
        self.seq.store(seq, Ordering::Release);
        self.waiting.lock().retain(|(wanted, link)| {
            let waits = *wanted > seq;
            if !waits {
                link.signal.raise(APPLIED);
            }
            waits
        });
    }
}

/// The table, as what is sealed in it is bound to it.
const TABLE: &str = "broker_retained";

/// Changes of topics that the table does not have yet: the message, or nothing.
type Changes = HashMap<TopicName, Option<Arc<Kept>>>;

/// The consumer.
pub(crate) struct Archive {
    shared: Arc<Shared>,
    reader: Reader,
    consumer: Consumer,
    /// Every record up to here is in memory, and up to `saved` in the table.
    position: u64,
    saved: u64,
    changes: Changes,
}

impl Archive {
    /// Brings memory to where the journal stands: the table first, then what came after it.
    ///
    /// # Errors
    /// [`StartError::Retained`] when the table or the journal cannot be read.
    pub(crate) fn open(shared: &Arc<Shared>) -> Result<Self, StartError> {
        let failed = |error: catalog::ReadError| StartError::Retained(Box::new(error));
        let (position, rows) = shared.catalog.read(read_table).map_err(failed)?;
        let (now, now_mono) = (shared.host.clock.now(), shared.host.clock.mono_micros());
        let mut changes = Changes::new();
        for row in rows {
            let (seq, is_sealed) = (row.seq, row.is_sealed);
            let Some(message) = row.message(&shared.host, now, now_mono) else { continue };
            shared.retained.apply(&message, seq, &shared.tallies);
            if !is_sealed {
                let topic = crate::retained::own(&message.topic);
                changes.insert(topic, shared.retained.find(&message.topic));
            }
        }
        let journal: &Journal = &shared.journal;
        let mut archive = Self {
            reader: journal.reader(position + 1, Chains::Both),
            consumer: journal.consumer(CONSUMER, Hold::Builtin),
            shared: Arc::clone(shared),
            position,
            saved: position,
            // What lies in the clear is written anew, sealed.
            changes,
        };
        archive.consumer.report(position);
        let durable = journal.durable_seq();
        while archive.position < durable {
            match archive.reader.try_next() {
                Ok(Some(batch)) => archive.take(&batch),
                Ok(None) => break,
                Err(error) => return Err(StartError::Retained(Box::new(error))),
            }
        }
        archive.reached(durable.max(archive.position));
        Ok(archive)
    }

    /// Follows the journal until it closes or the door does.
    pub(crate) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut save = tokio::time::interval(SAVE_WITHIN);
        let mut expire = tokio::time::interval(EXPIRE);
        for interval in [&mut save, &mut expire] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                biased;
                batch = self.reader.next() => match batch {
                    Ok(batch) => self.take(&batch),
                    Err(ReadError::Closed) => break,
                    Err(error) => {
                        tracing::error!(%error, "retained messages cannot follow the journal");
                        tokio::time::sleep(RETRY).await;
                    }
                },
                _ = save.tick() => if self.position > self.saved {
                    self.save_while_reading().await;
                },
                _ = expire.tick() => {
                    for topic in shared.retained.expire(shared.host.clock.mono_micros(), &shared.tallies) {
                        self.changes.insert(topic, None);
                    }
                }
                () = shared.stop.stopping() => break,
            }
            if !self.changes.is_empty() || self.position - self.saved >= SAVE_EVERY {
                self.save_while_reading().await;
            }
        }
        // What became durable while the door closed.
        while let Ok(Some(batch)) = self.reader.try_next() {
            self.take(&batch);
        }
        self.save_while_reading().await;
    }

    /// Gives records their effect in memory.
    fn take(&mut self, batch: &journal::Batch) {
        for record in &batch.records {
            let message = &record.message;
            if message.retain && message.to.is_none() {
                self.shared.retained.apply(message, record.seq, &self.shared.tallies);
                self.changes
                    .insert(crate::retained::own(&message.topic), self.shared.retained.find(&message.topic));
            }
        }
        let skipped = batch.skipped.last().map_or(0, |skipped| skipped.to);
        self.reached(batch.records.last().map_or(skipped, |record| record.seq.max(skipped)));
    }

    fn reached(&mut self, seq: u64) {
        self.position = seq.max(self.position);
        self.shared.applied.reach(self.position);
    }

    /// Writes the changes and the position to the table; memory goes on following the journal meanwhile.
    async fn save_while_reading(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        let position = self.position;
        let (catalog, clock) = (self.shared.catalog.clone(), Arc::clone(&self.shared.host.clock));
        let (now, now_mono) = (clock.now(), clock.mono_micros());
        let host = &self.shared.host;
        let rows: Vec<Row> = changes
            .iter()
            .map(|(topic, kept)| Row::of(host, topic, kept.as_deref(), now, now_mono))
            .collect();
        let writing = write_table(&catalog, rows, position);
        tokio::pin!(writing);
        let mut is_closed = false;
        let written = loop {
            tokio::select! {
                biased;
                written = &mut writing => break written,
                batch = self.reader.next(), if !is_closed => match batch {
                    Ok(batch) => self.take(&batch),
                    // It is found again by the caller, after this write.
                    Err(_) => is_closed = true,
                },
            }
        };
        match written {
            Ok(()) => {
                self.saved = position;
                self.consumer.report(position);
            }
            Err(error) => {
                tracing::error!(%error, "retained messages cannot be saved; they are tried again");
                for (topic, kept) in changes {
                    self.changes.entry(topic).or_insert(kept);
                }
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    () = self.shared.stop.stopping() => {}
                }
            }
        }
    }
}

/// One row of the table; without a packet: to be taken away.
struct Row {
    topic: TopicName,
    seq: u64,
    qos: u8,
    received_at: Timestamp,
    expires_at: Option<Timestamp>,
    packet: Option<Vec<u8>>,
    is_sealed: bool,
    /// Whose it is, if a device's.
    device: Option<String>,
}

impl Row {
    fn of(host: &Host, topic: &TopicName, kept: Option<&Kept>, now: Timestamp, now_mono: u64) -> Self {
        let topic = topic.clone();
        let Some(Kept { message, seq }) = kept else {
            return Self {
                topic,
                seq: 0,
                qos: 0,
                received_at: now,
                expires_at: None,
                packet: None,
                is_sealed: true,
                device: None,
            };
        };
        let publish = Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: true,
            topic: Some(message.topic.clone()),
            packet_id: 0,
            properties: message.properties.as_ref().map(|attached| {
                Box::new(PublishProperties { attached: (**attached).clone(), ..PublishProperties::default() })
            }),
            payload: message.payload.clone(),
        };
        let mut packet = BytesMut::new();
        // What passed the door as a packet is one; what cannot be one (made inside, too long) is not kept.
        let is_packet = mqtt::encode(&Packet::Publish(publish), Version::V5, &mut packet).is_ok();
        let expires_at = message.expiry_s.map(|seconds| {
            let end_mono = message.received_mono.saturating_add(u64::from(seconds) * 1_000_000);
            now.plus_micros(i64::try_from(end_mono.saturating_sub(now_mono)).unwrap_or(i64::MAX))
        });
        Self {
            topic,
            seq: *seq,
            qos: message.qos as u8,
            received_at: message.received_at,
            expires_at,
            packet: is_packet.then(|| at_rest::seal(host, TABLE, message.topic.as_str(), &packet)),
            is_sealed: true,
            device: message.origin.device.as_ref().map(ToString::to_string),
        }
    }

    /// The message as it was, for the clocks of this start; `None` when its time is over or the row is no packet.
    fn message(self, host: &Host, now: Timestamp, now_mono: u64) -> Option<Message> {
        let packet = at_rest::open(host, TABLE, self.topic.as_str(), self.packet?, self.is_sealed)?;
        let mut packet = BytesMut::from(packet.as_slice());
        let mut decoder = Decoder::new(Side::Server, usize::MAX);
        decoder.set_version(Version::V5);
        let Ok(Some(Packet::Publish(publish))) = decoder.decode(&mut packet) else {
            tracing::error!(topic = ?self.topic.as_str(), "a retained message in the catalog is damaged");
            return None;
        };
        let expiry_s = match self.expires_at {
            None => None,
            Some(at) if at <= now => return None,
            Some(at) => {
                Some(u32::try_from(at.micros_since(now).div_euclid(1_000_000) + 1).unwrap_or(u32::MAX))
            }
        };
        let attached = publish.properties.map(|properties| properties.attached).unwrap_or_default();
        Some(Message {
            topic: self.topic,
            payload: publish.payload,
            qos: Qos::from_u8(self.qos).unwrap_or_default(),
            retain: true,
            dup: false,
            lane: Lane::default(),
            packet_id: 0,
            expiry_s,
            received_at: self.received_at,
            received_mono: now_mono,
            properties: (!attached.is_empty()).then(|| Arc::new(attached)),
            message_id: None,
            trace_id: None,
            to: None,
            origin: Arc::new(Origin {
                device: self.device.and_then(|device| DeviceName::parse(device).ok()),
                ..Origin::inside(host.boot)
            }),
        })
    }
}

fn read_table(connection: &catalog::Connection<'_>) -> Result<(u64, Vec<Row>), catalog::ReadError> {
    let position = connection.query_one(
        "SELECT seq FROM broker_positions WHERE consumer = $1",
        params![CONSUMER],
        |row| row.get(0),
    )?;
    let rows = connection.query(
        "SELECT topic, seq, qos, received_at, expires_at, packet, device, is_sealed FROM broker_retained",
        params![],
        |row| {
            let topic: String = row.get(0)?;
            // Somebody else wrote what is no topic; it is passed over.
            let Ok(topic) = TopicName::parse(topic) else { return Ok(None) };
            Ok(Some(Row {
                topic,
                seq: row.get(1)?,
                qos: row.get(2)?,
                received_at: row.get(3)?,
                expires_at: row.get(4)?,
                packet: row.get(5)?,
                device: row.get(6)?,
                is_sealed: row.get::<i64>(7)? != 0,
            }))
        },
    )?;
    Ok((position.unwrap_or(0), rows.into_iter().flatten().collect()))
}

async fn write_table(catalog: &Catalog, rows: Vec<Row>, position: u64) -> Result<(), WriteError> {
    catalog
        .write(move |transaction| {
            for row in &rows {
                match &row.packet {
                    Some(packet) => transaction.execute(
                        "INSERT INTO broker_retained (topic, seq, qos, received_at, expires_at, packet, device, is_sealed)
                         VALUES ($1, $2, $3, $4, $5, $6, $7, 1)
                         ON CONFLICT (topic) DO UPDATE SET seq = excluded.seq, qos = excluded.qos,
                           received_at = excluded.received_at, expires_at = excluded.expires_at,
                           packet = excluded.packet, device = excluded.device, is_sealed = 1",
                        params![
                            row.topic.as_str(),
                            row.seq,
                            row.qos,
                            row.received_at,
                            row.expires_at,
                            *packet,
                            row.device
                        ],
                    )?,
                    None => transaction.execute(
                        "DELETE FROM broker_retained WHERE topic = $1",
                        params![row.topic.as_str()],
                    )?,
                };
            }
            transaction.execute(
                "INSERT INTO broker_positions (consumer, seq) VALUES ($1, $2)
                 ON CONFLICT (consumer) DO UPDATE SET seq = excluded.seq",
                params![CONSUMER, position],
            )?;
            Ok(())
        })
        .await
}
