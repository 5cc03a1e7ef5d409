//! Everything that was saved of sessions, groups and wills, read at the start.
//!
//! Not here: what is made of it ([`restore`](crate::restore)). The law: a row that is damaged is named and left out, and stands in
//! nobody else's way.

use bytestring::ByteString;
use catalog::params;
use hashbrown::HashMap;
use host::Host;
use identity::SecretRef;
use model::{DeviceName, Principal, Timestamp, TopicFilter};
use mqtt::Version;

use super::{CONSUMER, WILLS, form};
use crate::at_rest;
use crate::backlog::{self, Chunk};
use crate::group;
use crate::outbox::{Back, OnRecord};
use crate::session::{Filter, Owed};

/// A session as its row has it.
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) client_id: ByteString,
    pub(crate) principal: Principal,
    /// The device that it belongs to. Rows of before have none: it is the principal's.
    pub(crate) device: Option<DeviceName>,
    pub(crate) version: Version,
    pub(crate) expiry_s: u32,
    pub(crate) ends_at: Option<Timestamp>,
    /// The journal's end when it began: what is older is not its own.
    pub(crate) since: u64,
    pub(crate) filters: HashMap<TopicFilter, Filter>,
    pub(crate) filters_revision: u64,
    pub(crate) back: Back,
    /// QoS 2 on its way in: packet id and record.
    pub(crate) incoming: Vec<(u16, u64)>,
    pub(crate) owed: Vec<Owed>,
}

/// A group as its row has it.
pub(crate) struct GroupRow {
    pub(crate) id: u64,
    pub(crate) name: TopicFilter,
    pub(crate) since: u64,
    pub(crate) back: group::Back,
}

/// A will as its row has it.
pub(crate) struct WillRow {
    pub(crate) id: u64,
    pub(crate) client_id: ByteString,
    pub(crate) principal: Principal,
    /// By which secret it was left. Rows of before have none.
    pub(crate) secret: Option<SecretRef>,
    /// The session that it belongs to, or 0: it ended with its connection.
    pub(crate) session: u64,
    /// When it is to be published; `None`: its client was connected.
    pub(crate) due: Option<Timestamp>,
    pub(crate) will: mqtt::Will,
}

/// What a row of `broker_released` says: session, packet id, record.
pub(crate) type Released = (u64, u16, u64);

/// Everything that was saved.
pub(crate) struct Loaded {
    /// In the journal: as of here.
    pub(crate) position: u64,
    pub(crate) sessions: Vec<Row>,
    pub(crate) released: Vec<Released>,
    pub(crate) groups: Vec<GroupRow>,
    pub(crate) wills: Vec<WillRow>,
    /// Packets of wills that lie in the clear.
    pub(crate) clear: Vec<ClearWill>,
}

/// The row of a will that an older version wrote, and its packet.
pub(crate) type ClearWill = (u64, Vec<u8>);

/// Reads everything. A row that is damaged is named and left out.
pub(crate) fn load(host: &Host, connection: &catalog::Connection<'_>) -> Result<Loaded, catalog::ReadError> {
    let position = connection.query_one(
        "SELECT seq FROM broker_positions WHERE consumer = $1",
        params![CONSUMER],
        |row| row.get(0),
    )?;
    let mut backlogs: HashMap<u64, Vec<Chunk>> = HashMap::new();
    let chunks = connection.query(
        "SELECT owner, chunk, first, entries FROM broker_backlog ORDER BY owner, chunk",
        params![],
        |row| {
            let (owner, chunk): (u64, u64) = (row.get(0)?, row.get(1)?);
            let (first, entries): (u64, Vec<u8>) = (row.get(2)?, row.get(3)?);
            Ok((owner, chunk, first, entries))
        },
    )?;
    for (owner, chunk, first, entries) in chunks {
        match form::read_deliveries(&entries) {
            Some(lefts) => backlogs.entry(owner).or_default().push(Chunk { chunk, first, lefts }),
            None => {
                tracing::error!(owner, chunk, "a part of a queue in the catalog is damaged; it is left out");
            }
        }
    }
    let mut outgoing: HashMap<u64, Vec<OnRecord>> = HashMap::new();
    let flights = connection.query(
        "SELECT session, serial, is_received, delivery FROM broker_outgoing ORDER BY session, serial",
        params![],
        |row| {
            let delivery: Vec<u8> = row.get(3)?;
            let left = form::read_delivery(&mut delivery.as_slice());
            let flight = left.map(|left| {
                Ok::<_, catalog::SqlError>((
                    row.get(0)?,
                    OnRecord {
                        serial: row.get(1)?,
                        left,
                        is_received: row.get::<u64>(2)? != 0,
                        is_kept: true,
                    },
                ))
            });
            flight.transpose()
        },
    )?;
    for (session, flight) in flights.into_iter().flatten() {
        outgoing.entry(session).or_default().push(flight);
    }
    let sessions = connection.query(
        "SELECT id, client_id, principal, principal_name, version, expiry_s, ends_at, since, filters, queue,
           filters_revision, owed, device FROM broker_sessions",
        params![],
        |row| {
            let (id, client_id, name): (u64, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(3)?);
            let (filters, queue): (Vec<u8>, Vec<u8>) = (row.get(8)?, row.get(9)?);
            let owed: Option<Vec<u8>> = row.get(11)?;
            let device: Option<String> = row.get(12)?;
            let parts = (
                principal_of(row.get(2)?, &name),
                version_of(row.get(4)?),
                form::read_filters(&filters),
                form::read_queue(&queue),
                owed.map_or(Some(Vec::new()), |owed| form::read_owed(&owed)),
            );
            let (Some(principal), Some(version), Some(filters), Some(queue), Some(owed)) = parts else {
                tracing::error!(client_id, "a session in the catalog is damaged; it begins anew");
                return Ok(None);
            };
            let (mut back, end, incoming) = queue;
            if let Some(end) = end {
                let chunks = backlogs.remove(&id).unwrap_or_default();
                back.waiting = backlog::unite(back.head, end, chunks);
                back.is_saved = back.waiting.len() as u64 == end - back.head;
            }
            back.on_record.extend(outgoing.remove(&id).unwrap_or_default());
            Ok(Some(Row {
                id,
                client_id: client_id.into(),
                principal,
                device: device.and_then(|device| DeviceName::parse(device).ok()),
                version,
                expiry_s: row.get(5)?,
                ends_at: row.get(6)?,
                since: row.get(7)?,
                filters,
                filters_revision: row.get(10)?,
                back,
                incoming,
                owed,
            }))
        },
    )?;
    let released =
        connection.query("SELECT session, packet_id, seq FROM broker_released", params![], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let groups = connection.query(
        "SELECT id, name, since, head, ends, returned FROM broker_groups",
        params![],
        |row| {
            let (id, name): (u64, String) = (row.get(0)?, row.get(1)?);
            let (head, end): (u64, u64) = (row.get(3)?, row.get(4)?);
            let returned: Vec<u8> = row.get(5)?;
            let (Ok(name), Some(returned)) = (TopicFilter::parse(name), form::read_seqs(&returned)) else {
                tracing::error!(id, "a shared subscription in the catalog is damaged; it begins anew");
                return Ok(None);
            };
            let waiting = backlog::unite(head, end, backlogs.remove(&id).unwrap_or_default());
            let waiting = waiting.into_iter().map(|left| left.seq).collect();
            Ok(Some(GroupRow { id, name, since: row.get(2)?, back: group::Back { returned, head, waiting } }))
        },
    )?;
    let mut clear = Vec::new();
    let wills = connection.query(
        "SELECT id, client_id, principal, principal_name, session, due, packet, is_sealed, password, token
           FROM broker_wills",
        params![],
        |row| {
            let (id, client_id, name, packet): (u64, String, Vec<u8>, Vec<u8>) =
                (row.get(0)?, row.get(1)?, row.get(3)?, row.get(6)?);
            let is_sealed = row.get::<i64>(7)? != 0;
            if !is_sealed {
                clear.push((id, packet.clone()));
            }
            let packet = at_rest::open(host, WILLS, &id.to_string(), packet, is_sealed);
            let will = packet.and_then(|packet| form::read_will(&packet));
            let (Some(principal), Some(will)) = (principal_of(row.get(2)?, &name), will) else {
                tracing::error!(client_id, "a will in the catalog is damaged; it is left out");
                return Ok(None);
            };
            let client_id = client_id.into();
            let (session, due) = (row.get(4)?, row.get(5)?);
            let (password, token): (Option<u64>, Option<u64>) = (row.get(8)?, row.get(9)?);
            let secret = password.map(|password| SecretRef { password, token });
            Ok(Some(WillRow { id, client_id, principal, secret, session, due, will }))
        },
    )?;
    Ok(Loaded {
        position: position.unwrap_or(0),
        sessions: sessions.into_iter().flatten().collect(),
        released,
        groups: groups.into_iter().flatten().collect(),
        wills: wills.into_iter().flatten().collect(),
        clear,
    })
}

pub(super) fn principal_of(kind: u8, name: &[u8]) -> Option<Principal> {
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
