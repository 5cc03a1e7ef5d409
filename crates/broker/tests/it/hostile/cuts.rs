//! Every packet cut at every byte, in two ways: its length says so (a field is missing), or its length does not (the
//! rest never comes).

use mqtt::{Reason, Version};

use super::Expect::{Closed, Refused, Told};
use super::{Battery, NEW, V5, V311, bytes, meets, stranger};

/// Name, connected as, first byte, body, and the numbers of bytes after which a body is whole as well.
type Row = (&'static str, Option<Version>, u8, &'static str, &'static [usize]);

const ROWS: &[Row] = &[
    ("CONNECT", NEW, 0x10, "'MQTT' 05 c6 003c {210005} 'id' {0101} 't' 'p' 'u' 'w'", &[]),
    ("CONNECT of 3.1.1", NEW, 0x10, "'MQTT' 04 c6 003c 'id' 't' 'p' 'u' 'w'", &[]),
    ("PUBLISH", V5, 0x32, "'a/b' 0001 {0101 23 0001 03 'x'}", &[]),
    ("PUBLISH of 3.1.1", V311, 0x34, "'a/b' 0001", &[]),
    ("PUBACK", V5, 0x40, "1234 10 {1f 'x'}", &[2, 3]),
    ("PUBREC", V5, 0x50, "1234 80 {26 'a' 'b'}", &[2, 3]),
    ("PUBREL", V5, 0x62, "1234 92 {1f 'x'}", &[2, 3]),
    ("PUBCOMP", V5, 0x70, "1234 92 {1f 'x'}", &[2, 3]),
    ("PUBACK of 3.1.1", V311, 0x40, "1234", &[]),
    ("SUBSCRIBE", V5, 0x82, "0001 {0b05 26 'a' 'b'} 'a' 00 'b' 01", &[16]),
    ("SUBSCRIBE of 3.1.1", V311, 0x82, "0001 'a' 00 'b' 01", &[6]),
    ("UNSUBSCRIBE", V5, 0xa2, "0001 {26 'a' 'b'} 'a' 'b'", &[13]),
    ("UNSUBSCRIBE of 3.1.1", V311, 0xa2, "0001 'a' 'b'", &[5]),
    ("DISCONNECT", V5, 0xe0, "00 {1100000000 1f 'x'}", &[0, 1]),
    ("AUTH", V5, 0xf0, "18 {15 'm' 16 'd'}", &[]),
];

pub(super) async fn run(battery: &mut Battery) {
    for &(name, version, first, body, whole) in ROWS {
        let body = bytes::of(body);
        for cut in 0..body.len() {
            if whole.contains(&cut) {
                continue;
            }
            let mut packet = vec![first];
            packet.extend(bytes::length(cut));
            packet.extend(&body[..cut]);
            let mut client = stranger(&battery.house, version).await;
            client.send_bytes(&packet).await;
            let is_level_known = cut >= 7;
            let expect = match (version, name) {
                (None, "CONNECT") if is_level_known => Refused(Reason::MalformedPacket as u8),
                (None, _) => Closed,
                // What a session may not say at all is told before what it says is looked at.
                _ if first == 0xf0 && cut < 1 => Told(Reason::ProtocolError),
                // Whole but for the filters, of which there must be one.
                _ if (first, cut) == (0x82, 12) || (first, cut) == (0xa2, 10) => Told(Reason::ProtocolError),
                _ => Told(Reason::MalformedPacket),
            };
            let outcome = meets(&mut client, expect).await;
            drop(client);
            battery.is_over(&format!("{name} cut at {cut}"), outcome).await;
        }
        // Half of it, and then the end of the stream, or a reset.
        let mut packet = vec![first];
        packet.extend(bytes::length(body.len()));
        packet.extend(&body);
        for cut in [1, 2, packet.len() / 2, packet.len() - 1] {
            let mut client = stranger(&battery.house, version).await;
            client.send_bytes(&packet[..cut]).await;
            drop(client);
            battery.is_over(&format!("{name}, gone after {cut} bytes"), Ok(())).await;
        }
    }
}
