//! Pieces of remote files that were read lately: a query that comes again asks the store for nothing.
//!
//! Not here: the store. The law: what it holds is bounded in bytes, the piece not used for longest goes first.

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// Pieces of files, by the file's name and the piece's number. Their content is readable: it stays in memory.
pub(crate) struct Cache {
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    pieces: HashMap<(String, u64), (u64, Bytes)>,
    bytes: usize,
    uses: u64,
}

impl Cache {
    /// A cache of at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: Mutex::default() }
    }

    /// The piece, if it is there.
    pub(crate) fn get(&self, name: &str, number: u64) -> Option<Bytes> {
        let mut held = self.held.lock();
        held.uses += 1;
        let now = held.uses;
        let (used, piece) = held.pieces.get_mut(&(name.to_owned(), number))?;
        *used = now;
        Some(piece.clone())
    }

    /// Keeps a piece, if it has room.
    pub(crate) fn put(&self, name: &str, number: u64, piece: Bytes) {
        let mut held = self.held.lock();
        if piece.len() > self.bytes_max {
            return;
        }
        while held.bytes + piece.len() > self.bytes_max {
            // Some thousand pieces at most: a look at each takes less than a read from a store.
            let oldest = held.pieces.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            let Some((_, gone)) = oldest.and_then(|key| held.pieces.remove(&key)) else { return };
            held.bytes -= gone.len();
        }
        held.uses += 1;
        let now = held.uses;
        held.bytes += piece.len();
        if let Some((_, old)) = held.pieces.insert((name.to_owned(), number), (now, piece)) {
            held.bytes -= old.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_holds_no_more_than_its_bound_and_forgets_the_oldest() {
        let cache = Cache::new(100);
        for number in 0..10 {
            cache.put("a", number, Bytes::from(vec![number as u8; 30]));
            assert!(cache.get("a", 0).is_some(), "what is used stays");
            assert!(cache.held.lock().bytes <= 100);
        }
        assert!(cache.get("a", 1).is_none());
        assert_eq!(cache.get("a", 9).as_deref(), Some(&[9; 30][..]));
        cache.put("b", 0, Bytes::from(vec![0; 101]));
        assert!(cache.get("b", 0).is_none(), "larger than all of it");
        cache.put("a", 9, Bytes::from(vec![1; 10]));
        let held = cache.held.lock();
        assert_eq!(held.bytes, held.pieces.values().map(|(_, piece)| piece.len()).sum::<usize>());
    }
}
