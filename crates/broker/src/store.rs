//! Sessions on disk: what outlives the process of every session that outlives its connection.
//!
//! Not here: how they come back ([`restore`](crate::restore)). The laws:
//!
//! - A session and its subscriptions are durable before their answers (CONNACK, SUBACK, UNSUBACK); a release of a QoS 2
//!   packet id before PUBCOMP.
//! - Queues are lists of `seq`, saved at intervals together with the position in the journal that they are as of, all in
//!   one transaction: after a crash one scan from that position matches the rest again.
//! - Queues pin nothing: a `seq` that retention took is counted when it is missed.
//!
//! ```sql
//! broker_sessions (id, client_id, principal, principal_name, version, expiry_s, ends_at, since,
//!                  filters, filters_revision, queue)     ends_at: NULL while connected
//! broker_released (session, packet_id, seq)              PUBREL came for the message with this record
//! ```
//!
//! `filters`: version 1, then of each: filter (u16 length, UTF-8), QoS, flags (1 No Local, 2 retain as published), identifier
//! (u32), since (u64). `queue`: version 1; the next serial (u64); flights (u32 count: serial u64, 1 released or 0, delivery); what
//! waits (u32 count: delivery); QoS 2 ids on their way in (u32 count: id u16, seq u64). A delivery: seq u64, QoS u8, retain u8,
//! identifiers (u16 count, u32 each). Numbers are big-endian.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use bytestring::ByteString;
use catalog::{Transaction, WriteError, params};
use hashbrown::HashMap;
use model::{DeviceName, Principal, Qos, Timestamp, TopicFilter};
use mqtt::Version;

use crate::outbox::{Left, Saved};
use crate::session::{Filter, Session};
use crate::shared::Shared;

/// The name under which the journal and the table of positions know it.
pub(crate) const CONSUMER: &str = "broker.sessions";

/// First byte of both lists.
const FORMAT: u8 = 1;

/// The tables.
pub(crate) const SQL: &str = "
    CREATE TABLE broker_sessions (
        id BIGINT PRIMARY KEY, client_id TEXT NOT NULL UNIQUE, principal BIGINT NOT NULL,
        principal_name BYTEA NOT NULL, version BIGINT NOT NULL, expiry_s BIGINT NOT NULL, ends_at BIGINT,
        since BIGINT NOT NULL, filters BYTEA NOT NULL, filters_revision BIGINT NOT NULL, queue BYTEA NOT NULL);
    CREATE TABLE broker_released (
        session BIGINT NOT NULL, packet_id BIGINT NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (session, packet_id));
";

/// A session as its row has it.
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) client_id: ByteString,
    pub(crate) principal: Principal,
    pub(crate) version: Version,
    pub(crate) expiry_s: u32,
    pub(crate) ends_at: Option<Timestamp>,
    /// The journal's end when it began: what is older is not its own.
    pub(crate) since: u64,
    pub(crate) filters: HashMap<TopicFilter, Filter>,
    pub(crate) filters_revision: u64,
    pub(crate) queue: Queue,
}

/// What a session has to send, and what it took and was not released.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Queue {
    pub(crate) outbox: Saved,
    /// Packet id and record.
    pub(crate) incoming: Vec<(u16, u64)>,
}

/// What of a session changed since it was saved last, as of one moment.
pub(crate) struct Snapshot {
    pub(crate) session: Arc<Session>,
    pub(crate) version: Version,
    pub(crate) expiry_s: u32,
    pub(crate) ends_at: Option<Timestamp>,
    pub(crate) queue: Vec<u8>,
    /// Releases whose effect is in `queue`: their rows are needed no more.
    pub(crate) released: Vec<(u16, u64)>,
}

/// Makes the row of a new session, in place of an older one of its client id; durable when it returns.
pub(crate) async fn create(shared: &Shared, session: &Session) -> Result<(), WriteError> {
    let (id, client_id, since) = (session.id, session.client_id.to_string(), session.since);
    let (kind, name) = principal(&session.principal);
    let (version, expiry_s) = {
        let state = session.state();
        (state.version, state.expiry_s)
    };
    let empty = (filters(&HashMap::new()), queue(&Queue::default()));
    let write = move |transaction: &Transaction<'_>| {
        transaction.execute(
            "DELETE FROM broker_released WHERE session IN (SELECT id FROM broker_sessions WHERE client_id = $1)",
            params![client_id],
        )?;
        transaction.execute("DELETE FROM broker_sessions WHERE client_id = $1", params![client_id])?;
        transaction.execute(
            "INSERT INTO broker_sessions (id, client_id, principal, principal_name, version, expiry_s, ends_at, since,
               filters, filters_revision, queue) VALUES ($1, $2, $3, $4, $5, $6, NULL, $7, $8, 0, $9)",
            params![id, client_id, kind, name, version.level(), expiry_s, since, empty.0, empty.1],
        )?;
        Ok(())
    };
    shared.catalog.write(write).await
}

/// Takes the row of a session away.
pub(crate) async fn remove(shared: &Shared, id: u64) -> Result<(), WriteError> {
    let write = move |transaction: &Transaction<'_>| {
        transaction.execute("DELETE FROM broker_released WHERE session = $1", params![id])?;
        transaction.execute("DELETE FROM broker_sessions WHERE id = $1", params![id])?;
        Ok(())
    };
    shared.catalog.write(write).await
}

/// Saves the subscriptions of a session. An older list never replaces a newer one.
pub(crate) async fn save_filters(
    shared: &Shared,
    id: u64,
    filters: Vec<u8>,
    revision: u64,
) -> Result<(), WriteError> {
    let write = move |transaction: &Transaction<'_>| {
        transaction.execute(
            "UPDATE broker_sessions SET filters = $2, filters_revision = $3 WHERE id = $1 AND filters_revision < $3",
            params![id, filters, revision],
        )?;
        Ok(())
    };
    shared.catalog.write(write).await
}

/// Makes releases of QoS 2 packet ids durable: of each the id and the record of its message.
pub(crate) async fn release(shared: &Shared, id: u64, released: Vec<(u16, u64)>) -> Result<(), WriteError> {
    let write = move |transaction: &Transaction<'_>| {
        for (packet_id, seq) in &released {
            transaction.execute(
                "INSERT INTO broker_released (session, packet_id, seq) VALUES ($1, $2, $3)
                 ON CONFLICT (session, packet_id) DO UPDATE SET seq = excluded.seq",
                params![id, *packet_id, *seq],
            )?;
        }
        Ok(())
    };
    shared.catalog.write(write).await
}

/// Saves what changed, as of `position`.
pub(crate) async fn save(shared: &Shared, snapshots: &[Snapshot], position: u64) -> Result<(), WriteError> {
    struct Change {
        id: u64,
        version: u8,
        expiry_s: u32,
        ends_at: Option<Timestamp>,
        queue: Vec<u8>,
        released: Vec<(u16, u64)>,
    }
    let changes: Vec<_> = snapshots
        .iter()
        .map(|snapshot| Change {
            id: snapshot.session.id,
            version: snapshot.version.level(),
            expiry_s: snapshot.expiry_s,
            ends_at: snapshot.ends_at,
            queue: snapshot.queue.clone(),
            released: snapshot.released.clone(),
        })
        .collect();
    let write = move |transaction: &Transaction<'_>| {
        for change in &changes {
            transaction.execute(
                "UPDATE broker_sessions SET version = $2, expiry_s = $3, ends_at = $4, queue = $5 WHERE id = $1",
                params![change.id, change.version, change.expiry_s, change.ends_at, change.queue],
            )?;
            for (packet_id, seq) in &change.released {
                transaction.execute(
                    "DELETE FROM broker_released WHERE session = $1 AND packet_id = $2 AND seq = $3",
                    params![change.id, *packet_id, *seq],
                )?;
            }
        }
        transaction.execute(
            "INSERT INTO broker_positions (consumer, seq) VALUES ($1, $2)
             ON CONFLICT (consumer) DO UPDATE SET seq = excluded.seq",
            params![CONSUMER, position],
        )?;
        Ok(())
    };
    shared.catalog.write(write).await
}

/// What a row of `broker_released` says: session, packet id, record.
pub(crate) type Released = (u64, u16, u64);

/// Reads everything: the position, the sessions, the releases. A row that is damaged is named and left out.
pub(crate) fn load(
    connection: &catalog::Connection<'_>,
) -> Result<(u64, Vec<Row>, Vec<Released>), catalog::ReadError> {
    let position = connection.query_one(
        "SELECT seq FROM broker_positions WHERE consumer = $1",
        params![CONSUMER],
        |row| row.get(0),
    )?;
    let rows = connection.query(
        "SELECT id, client_id, principal, principal_name, version, expiry_s, ends_at, since, filters, queue,
           filters_revision FROM broker_sessions",
        params![],
        |row| {
            let (client_id, name): (String, Vec<u8>) = (row.get(1)?, row.get(3)?);
            let (filters, queue): (Vec<u8>, Vec<u8>) = (row.get(8)?, row.get(9)?);
            let parts = (
                principal_of(row.get(2)?, &name),
                version_of(row.get(4)?),
                read_filters(&filters),
                read_queue(&queue),
            );
            let (Some(principal), Some(version), Some(filters), Some(queue)) = parts else {
                tracing::error!(client_id, "a session in the catalog is damaged; it begins anew");
                return Ok(None);
            };
            Ok(Some(Row {
                id: row.get(0)?,
                client_id: client_id.into(),
                principal,
                version,
                expiry_s: row.get(5)?,
                ends_at: row.get(6)?,
                since: row.get(7)?,
                filters,
                filters_revision: row.get(10)?,
                queue,
            }))
        },
    )?;
    let released =
        connection.query("SELECT session, packet_id, seq FROM broker_released", params![], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    Ok((position.unwrap_or(0), rows.into_iter().flatten().collect(), released))
}

fn principal(principal: &Principal) -> (u8, Vec<u8>) {
    match principal {
        Principal::Anonymous => (0, Vec::new()),
        Principal::User(name) => (1, name.as_bytes().to_vec()),
        Principal::DevicePassword(name) => (2, name.as_bytes().to_vec()),
        Principal::Certificate(digest) => (3, digest.to_vec()),
        Principal::Inside => (4, Vec::new()),
    }
}

fn principal_of(kind: u8, name: &[u8]) -> Option<Principal> {
    let text = || str::from_utf8(name).ok();
    Some(match kind {
        0 => Principal::Anonymous,
        1 => Principal::User(text()?.into()),
        2 => Principal::DevicePassword(DeviceName::parse(text()?.to_owned()).ok()?),
        3 => Principal::Certificate(name.try_into().ok()?),
        _ => return None,
    })
}

fn version_of(level: u8) -> Option<Version> {
    [Version::V311, Version::V5].into_iter().find(|version| version.level() == level)
}

/// The list of subscriptions as bytes.
pub(crate) fn filters(filters: &HashMap<TopicFilter, Filter>) -> Vec<u8> {
    let mut out = vec![FORMAT];
    for (name, filter) in filters {
        // A filter fits its two bytes of length: it came in a packet.
        out.put_u16(u16::try_from(name.len()).unwrap_or(u16::MAX));
        out.put_slice(name.as_bytes());
        out.put_u8(filter.qos_max as u8);
        out.put_u8(u8::from(filter.no_local) | u8::from(filter.retain_as_published) << 1);
        out.put_u32(filter.id);
        out.put_u64(filter.since);
    }
    out
}

fn read_filters(mut bytes: &[u8]) -> Option<HashMap<TopicFilter, Filter>> {
    let mut filters = HashMap::new();
    if bytes.try_get_u8().ok()? != FORMAT {
        return None;
    }
    while bytes.has_remaining() {
        let length = usize::from(bytes.try_get_u16().ok()?);
        let (name, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        let name = TopicFilter::parse(str::from_utf8(name).ok()?.to_owned()).ok()?;
        let qos_max = Qos::from_u8(bytes.try_get_u8().ok()?)?;
        let flags = bytes.try_get_u8().ok()?;
        let id = bytes.try_get_u32().ok()?;
        let since = bytes.try_get_u64().ok()?;
        let (no_local, retain_as_published) = (flags & 1 != 0, flags & 2 != 0);
        filters.insert(name, Filter { qos_max, no_local, retain_as_published, id, since });
    }
    Some(filters)
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    // Every list is bounded far below by a setting.
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

/// The queue as bytes.
pub(crate) fn queue(queue: &Queue) -> Vec<u8> {
    let Saved { serial, flights, waiting } = &queue.outbox;
    let mut out =
        Vec::with_capacity(32 + 32 * flights.len() + 12 * waiting.len() + 10 * queue.incoming.len());
    out.put_u8(FORMAT);
    out.put_u64(*serial);
    put_count(&mut out, flights.len());
    for (serial, is_released, left) in flights {
        out.put_u64(*serial);
        out.put_u8(u8::from(*is_released));
        put_left(&mut out, left);
    }
    put_count(&mut out, waiting.len());
    waiting.iter().for_each(|left| put_left(&mut out, left));
    put_count(&mut out, queue.incoming.len());
    for (packet_id, seq) in &queue.incoming {
        out.put_u16(*packet_id);
        out.put_u64(*seq);
    }
    out
}

fn put_left(out: &mut Vec<u8>, left: &Left) {
    out.put_u64(left.seq);
    out.put_u8(left.qos_max as u8);
    out.put_u8(u8::from(left.retain));
    let ids = left.ids.as_deref().unwrap_or_default();
    out.put_u16(u16::try_from(ids.len()).unwrap_or(u16::MAX));
    ids.iter().for_each(|id| out.put_u32(*id));
}

fn read_queue(mut bytes: &[u8]) -> Option<Queue> {
    let bytes = &mut bytes;
    if bytes.try_get_u8().ok()? != FORMAT {
        return None;
    }
    let serial = bytes.try_get_u64().ok()?;
    let mut flights = Vec::new();
    for _ in 0..bytes.try_get_u32().ok()? {
        flights.push((bytes.try_get_u64().ok()?, bytes.try_get_u8().ok()? != 0, read_left(bytes)?));
    }
    let mut waiting = Vec::new();
    for _ in 0..bytes.try_get_u32().ok()? {
        waiting.push(read_left(bytes)?);
    }
    let mut incoming = Vec::new();
    for _ in 0..bytes.try_get_u32().ok()? {
        incoming.push((bytes.try_get_u16().ok()?, bytes.try_get_u64().ok()?));
    }
    Some(Queue { outbox: Saved { serial, flights, waiting }, incoming })
}

fn read_left(bytes: &mut &[u8]) -> Option<Left> {
    let seq = bytes.try_get_u64().ok()?;
    let qos_max = Qos::from_u8(bytes.try_get_u8().ok()?)?;
    let retain = bytes.try_get_u8().ok()? != 0;
    let mut ids = Vec::new();
    for _ in 0..bytes.try_get_u16().ok()? {
        ids.push(bytes.try_get_u32().ok()?);
    }
    Some(Left { seq, qos_max, retain, ids: (!ids.is_empty()).then(|| ids.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_comes_back_and_what_is_cut_is_refused() {
        let left = |seq, ids: &[u32]| Left {
            seq,
            qos_max: Qos::ExactlyOnce,
            retain: seq % 2 == 0,
            ids: (!ids.is_empty()).then(|| ids.into()),
        };
        let saved = Queue {
            outbox: Saved {
                serial: 70_000,
                flights: vec![(69_998, true, left(4, &[])), (69_999, false, left(5, &[1, 9]))],
                waiting: vec![left(6, &[]), left(7, &[3])],
            },
            incoming: vec![(1, 2), (65_535, 3)],
        };
        let bytes = queue(&saved);
        assert_eq!(read_queue(&bytes), Some(saved));
        assert!((0..bytes.len()).all(|cut| read_queue(&bytes[..cut]).is_none()));
        let filter =
            Filter { qos_max: Qos::AtLeastOnce, no_local: true, retain_as_published: false, id: 7, since: 9 };
        let name = TopicFilter::parse("a/+/#".to_owned()).expect("a filter");
        let all = HashMap::from_iter([(name, filter)]);
        let bytes = filters(&all);
        assert_eq!(read_filters(&bytes), Some(all));
        assert!((2..bytes.len()).all(|cut| read_filters(&bytes[..cut]).is_none()));
        for principal_in in
            [Principal::Anonymous, Principal::User("u".into()), Principal::Certificate([7; 32])]
        {
            let (kind, name) = principal(&principal_in);
            assert_eq!(principal_of(kind, &name), Some(principal_in));
        }
    }
}
