//! Packets in the catalog: retained messages and wills, sealed.
//!
//! Not here: the tables (`archive`, `store`). The law: what a message carries is in the clear nowhere on the disk.

use catalog::Place;
use host::Host;

/// The column of both tables.
const COLUMN: &str = "packet";

/// Seals the packet of a row.
pub(crate) fn seal(host: &Host, table: &str, row: &str, packet: &[u8]) -> Vec<u8> {
    catalog::seal(host, Place { table, column: COLUMN, row }, packet)
}

/// The packet of a row, as it was before it was sealed; a row that is not sealed was written by a version that did not do
/// it. `None`, and said aloud: it does not open, or not here.
pub(crate) fn open(host: &Host, table: &str, row: &str, stored: Vec<u8>, is_sealed: bool) -> Option<Vec<u8>> {
    if !is_sealed {
        return Some(stored);
    }
    match catalog::unseal(host, Place { table, column: COLUMN, row }, &stored) {
        Ok(packet) => Some(packet.to_vec()),
        Err(error) => {
            tracing::error!(
                table,
                row,
                error = model::in_one_line(&error),
                "a packet in the catalog is damaged"
            );
            None
        }
    }
}
