//! What the columns of sessions hold, as bytes.
//!
//! `filters`: version 1, then of each: filter (u16 length, UTF-8), QoS, flags (1 No Local, 2 retain as published), identifier
//! (u32), since (u64). `queue`: version 2; the next serial (u64); flights of QoS 1 (u32 count: serial u64, delivery); what waits
//! beside the backlog (u32 count: delivery); QoS 2 ids on their way in (u32 count: id u16, seq u64); of the backlog the numbers of
//! the first that waits and behind the last (u64 each). A delivery: seq u64, QoS u8, retain u8, source u8 (0 own, 1 retained, 2
//! group, then its row u64), identifiers (u16 count, u32 each). `entries`: version 2, then deliveries. `owed`: version 1, then of
//! each: filter, QoS, identifier, 1 and the last record (u64) or 0, the last topic (u16 length, UTF-8; 0: none). `returned`: seqs
//! (u64). A will: an MQTT 5 CONNECT. Numbers are big-endian.
//!
//! `queue` of version 1: serial; flights of both QoS (u32 count: serial u64, 1 released or 0, delivery); what waits (u32 count:
//! delivery); ids. Its deliveries have no source.

use bytes::{Buf, BufMut, BytesMut};
use hashbrown::HashMap;
use model::{Qos, TopicFilter, TopicName};
use mqtt::{Connect, ConnectProperties, Decoder, Packet, Side, Version};

use crate::group;
use crate::outbox::{Back, Left, OnRecord, Saved, Source};
use crate::session::{Filter, Owed};

const FILTERS: u8 = 1;
const QUEUE: u8 = 2;
const ENTRIES: u8 = 2;
const OWED: u8 = 1;

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Filters and topics fit two bytes of length: they came in packets.
    out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.put_slice(text.as_bytes());
}

fn read_text(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::from(bytes.try_get_u16().ok()?);
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(str::from_utf8(text).ok()?.to_owned())
}

/// The list of subscriptions.
pub(super) fn filters(filters: &HashMap<TopicFilter, Filter>) -> Vec<u8> {
    let mut out = vec![FILTERS];
    for (name, filter) in filters {
        put_text(&mut out, name);
        out.put_u8(filter.qos_max as u8);
        out.put_u8(u8::from(filter.no_local) | u8::from(filter.retain_as_published) << 1);
        out.put_u32(filter.id);
        out.put_u64(filter.since);
    }
    out
}

pub(super) fn read_filters(mut bytes: &[u8]) -> Option<HashMap<TopicFilter, Filter>> {
    let bytes = &mut bytes;
    let mut filters = HashMap::new();
    if bytes.try_get_u8().ok()? != FILTERS {
        return None;
    }
    while bytes.has_remaining() {
        let name = TopicFilter::parse(read_text(bytes)?).ok()?;
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

/// What is small of a queue.
pub(super) fn queue(saved: &Saved, incoming: &[(u16, u64)]) -> Vec<u8> {
    let Saved { serial, flights, aside, backlog, over: _ } = saved;
    let mut out = Vec::with_capacity(48 + 32 * flights.len() + 16 * aside.len() + 10 * incoming.len());
    out.put_u8(QUEUE);
    out.put_u64(*serial);
    put_count(&mut out, flights.len());
    for (serial, left) in flights {
        out.put_u64(*serial);
        put_delivery(&mut out, left);
    }
    put_count(&mut out, aside.len());
    aside.iter().for_each(|left| put_delivery(&mut out, left));
    put_count(&mut out, incoming.len());
    for (packet_id, seq) in incoming {
        out.put_u16(*packet_id);
        out.put_u64(*seq);
    }
    out.put_u64(backlog.head);
    out.put_u64(backlog.end);
    out
}

/// QoS 2 ids on their way in, with their records.
type Incoming = Vec<(u16, u64)>;

/// Without its backlog, of which it has the end; that of version 1 is whole, and has none.
pub(super) fn read_queue(mut bytes: &[u8]) -> Option<(Back, Option<u64>, Incoming)> {
    let bytes = &mut bytes;
    let version = bytes.try_get_u8().ok()?;
    let mut back = Back { serial: bytes.try_get_u64().ok()?, ..Back::default() };
    let read = match version {
        1 => read_delivery_1,
        QUEUE => read_delivery,
        _ => return None,
    };
    for _ in 0..bytes.try_get_u32().ok()? {
        let serial = bytes.try_get_u64().ok()?;
        let is_received = version == 1 && bytes.try_get_u8().ok()? != 0;
        let left = read(bytes)?;
        if left.qos_max == Qos::ExactlyOnce {
            back.on_record.push(OnRecord { serial, left, is_received, is_kept: false });
        } else {
            back.flights.push((serial, left));
        }
    }
    let waiting = if version == 1 { &mut back.waiting } else { &mut back.aside };
    for _ in 0..bytes.try_get_u32().ok()? {
        waiting.push(read(bytes)?);
    }
    let mut incoming = Vec::new();
    for _ in 0..bytes.try_get_u32().ok()? {
        incoming.push((bytes.try_get_u16().ok()?, bytes.try_get_u64().ok()?));
    }
    let mut end = None;
    if version == QUEUE {
        back.head = bytes.try_get_u64().ok()?;
        end = Some(bytes.try_get_u64().ok().filter(|end| *end >= back.head)?);
    }
    Some((back, end, incoming))
}

/// One delivery.
pub(super) fn delivery(left: &Left) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    put_delivery(&mut out, left);
    out
}

/// Deliveries of a chunk.
pub(super) fn deliveries(lefts: &[Left]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + 13 * lefts.len());
    out.put_u8(ENTRIES);
    lefts.iter().for_each(|left| put_delivery(&mut out, left));
    out
}

pub(super) fn read_deliveries(mut bytes: &[u8]) -> Option<Vec<Left>> {
    let bytes = &mut bytes;
    if bytes.try_get_u8().ok()? != ENTRIES {
        return None;
    }
    let mut lefts = Vec::new();
    while bytes.has_remaining() {
        lefts.push(read_delivery(bytes)?);
    }
    Some(lefts)
}

fn put_delivery(out: &mut Vec<u8>, left: &Left) {
    out.put_u64(left.seq);
    out.put_u8(left.qos_max as u8);
    out.put_u8(u8::from(left.retain));
    match left.source {
        Source::Own => out.put_u8(0),
        Source::Retained => out.put_u8(1),
        Source::Group(key) => {
            out.put_u8(2);
            out.put_u64(group::id_of(key));
        }
    }
    let ids = left.ids.as_deref().unwrap_or_default();
    out.put_u16(u16::try_from(ids.len()).unwrap_or(u16::MAX));
    ids.iter().for_each(|id| out.put_u32(*id));
}

pub(super) fn read_delivery(bytes: &mut &[u8]) -> Option<Left> {
    read_left(bytes, |bytes| {
        Some(match bytes.try_get_u8().ok()? {
            0 => Source::Own,
            1 => Source::Retained,
            2 => Source::Group(group::key_of(bytes.try_get_u64().ok()?)),
            _ => return None,
        })
    })
}

fn read_delivery_1(bytes: &mut &[u8]) -> Option<Left> {
    read_left(bytes, |_| Some(Source::Own))
}

fn read_left(bytes: &mut &[u8], source: impl FnOnce(&mut &[u8]) -> Option<Source>) -> Option<Left> {
    let seq = bytes.try_get_u64().ok()?;
    let qos_max = Qos::from_u8(bytes.try_get_u8().ok()?)?;
    let retain = bytes.try_get_u8().ok()? != 0;
    let source = source(bytes)?;
    let mut ids = Vec::new();
    for _ in 0..bytes.try_get_u16().ok()? {
        ids.push(bytes.try_get_u32().ok()?);
    }
    Some(Left { seq, source, qos_max, retain, ids: (!ids.is_empty()).then(|| ids.into()) })
}

/// Retained messages that are still to be sent.
pub(super) fn owed(owed: &[Owed]) -> Vec<u8> {
    let mut out = vec![OWED];
    for Owed { filter, qos_max, id, upto, after } in owed {
        put_text(&mut out, filter);
        out.put_u8(*qos_max as u8);
        out.put_u32(*id);
        match upto {
            None => out.put_u8(0),
            Some(upto) => {
                out.put_u8(1);
                out.put_u64(*upto);
            }
        }
        put_text(&mut out, after.as_ref().map_or("", TopicName::as_str));
    }
    out
}

pub(super) fn read_owed(mut bytes: &[u8]) -> Option<Vec<Owed>> {
    let bytes = &mut bytes;
    let mut owed = Vec::new();
    if bytes.try_get_u8().ok()? != OWED {
        return None;
    }
    while bytes.has_remaining() {
        let filter = TopicFilter::parse(read_text(bytes)?).ok()?;
        let qos_max = Qos::from_u8(bytes.try_get_u8().ok()?)?;
        let id = bytes.try_get_u32().ok()?;
        let upto = match bytes.try_get_u8().ok()? {
            0 => None,
            _ => Some(bytes.try_get_u64().ok()?),
        };
        let after = read_text(bytes)?;
        let after = if after.is_empty() { None } else { Some(TopicName::parse(after).ok()?) };
        owed.push(Owed { filter, qos_max, id, upto, after });
    }
    Some(owed)
}

/// Records in their order.
pub(super) fn seqs(seqs: &[u64]) -> Vec<u8> {
    seqs.iter().flat_map(|seq| seq.to_be_bytes()).collect()
}

pub(super) fn read_seqs(bytes: &[u8]) -> Option<Vec<u64>> {
    let (seqs, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| seqs.iter().map(|seq| u64::from_be_bytes(*seq)).collect())
}

/// A will, in the packet that it came in.
pub(super) fn will(will: &mqtt::Will) -> Vec<u8> {
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 0,
        client_id: "will".into(),
        will: Some(will.clone()),
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    let mut out = BytesMut::new();
    // What came in a CONNECT fits one, and both versions' wills fit one of MQTT 5.
    let _ = mqtt::encode(&Packet::Connect(Box::new(connect)), Version::V5, &mut out);
    out.to_vec()
}

pub(super) fn read_will(bytes: &[u8]) -> Option<mqtt::Will> {
    match Decoder::new(Side::Server, usize::MAX).decode(&mut BytesMut::from(bytes)) {
        Ok(Some(Packet::Connect(connect))) => connect.will,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::Properties;

    use super::*;
    use crate::backlog::Changes;

    fn left(seq: u64, source: Source, ids: &[u32]) -> Left {
        let ids = (!ids.is_empty()).then(|| ids.into());
        Left { seq, source, qos_max: Qos::AtLeastOnce, retain: seq.is_multiple_of(2), ids }
    }

    #[test]
    fn what_is_saved_comes_back_and_what_is_cut_is_refused() {
        let group = Source::Group(group::key_of(77));
        let saved = Saved {
            serial: 70_000,
            flights: vec![(69_998, left(4, Source::Own, &[])), (69_999, left(5, group, &[1, 9]))],
            aside: vec![left(6, Source::Retained, &[]), left(7, group, &[3])],
            backlog: Changes { head: 5_000, end: 6_000, chunks: Vec::new() },
            over: vec![1],
        };
        let incoming = vec![(1, 2), (65_535, 3)];
        let bytes = queue(&saved, &incoming);
        let back = Back {
            serial: saved.serial,
            flights: saved.flights,
            aside: saved.aside.clone(),
            head: 5_000,
            ..Back::default()
        };
        assert_eq!(read_queue(&bytes), Some((back, Some(6_000), incoming)));
        assert!((0..bytes.len()).all(|cut| read_queue(&bytes[..cut]).is_none()));
        assert_eq!(read_deliveries(&deliveries(&saved.aside)), Some(saved.aside));
        let filter =
            Filter { qos_max: Qos::AtLeastOnce, no_local: true, retain_as_published: false, id: 7, since: 9 };
        let name = TopicFilter::parse("$share/g/a/+/#".to_owned()).expect("a filter");
        let all = HashMap::from_iter([(name.clone(), filter)]);
        let bytes = filters(&all);
        assert_eq!(read_filters(&bytes), Some(all));
        assert!((2..bytes.len()).all(|cut| read_filters(&bytes[..cut]).is_none()));
        let topic = TopicName::parse("a/b".to_owned()).ok();
        let all = [(None, None), (Some(9), topic)].map(|(upto, after)| Owed {
            filter: name.clone(),
            qos_max: Qos::ExactlyOnce,
            id: 3,
            upto,
            after,
        });
        assert_eq!(read_owed(&owed(&all)).as_deref(), Some(&all[..]));
        assert_eq!(read_seqs(&seqs(&[1, u64::MAX])), Some(vec![1, u64::MAX]));
        assert_eq!(read_seqs(&[1, 2]), None);
    }

    /// Written by the process that kept queues whole.
    #[test]
    fn a_queue_of_version_1_is_read() {
        let mut old = vec![1];
        old.put_u64(9);
        old.put_u32(2);
        for (serial, is_released, qos) in [(7_u64, 0_u8, 1_u8), (8, 1, 2)] {
            old.put_u64(serial);
            old.put_u8(is_released);
            old.put_slice(&[0, 0, 0, 0, 0, 0, 0, 5, qos, 0, 0, 0]);
        }
        old.put_u32(1);
        old.put_slice(&[0, 0, 0, 0, 0, 0, 0, 6, 2, 0, 0, 1, 0, 0, 0, 4]);
        old.put_u32(1);
        old.put_slice(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 2]);
        let (back, end, incoming) = read_queue(&old).expect("a queue");
        assert_eq!((back.serial, end, incoming), (9, None, vec![(3, 2)]));
        assert_eq!(back.flights[0].0, 7);
        assert!(back.on_record[0].is_received && !back.on_record[0].is_kept);
        let ids = back.waiting[0].ids.as_deref();
        assert_eq!(
            (back.waiting[0].seq, back.waiting[0].qos_max, ids),
            (6, Qos::ExactlyOnce, Some(&[4][..]))
        );
    }

    #[test]
    fn a_will_comes_back_with_all_it_has() {
        let kept = mqtt::Will {
            topic: TopicName::parse("a/b".to_owned()).expect("a topic"),
            payload: Bytes::from_static(b"gone"),
            qos: Qos::ExactlyOnce,
            retain: true,
            delay_s: 7,
            expiry_s: Some(9),
            attached: Properties { user: vec![("a".into(), "b".into())], ..Properties::default() },
        };
        assert_eq!(read_will(&will(&kept)), Some(kept));
        assert_eq!(read_will(b"nothing"), None);
    }
}
