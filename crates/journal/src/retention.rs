//! What may be dropped, and who holds what: consumers' positions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::chain::Chain;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::{ConsumerStatus, Cut};

/// How a consumer holds retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// A built-in consumer: what has not had its effect is never dropped.
    Builtin,
    /// A sink: what it has not taken is kept for this long after its receipt although age or size would drop it;
    /// then it is cut, and the cut told by [`Consumer::cuts`].
    Sink(Duration),
}

/// Most cuts that wait to be asked for; a longer row is joined to its last.
const CUTS_MAX: usize = 1_024;

/// The places of all consumers.
#[derive(Default)]
pub(crate) struct Places(Mutex<Vec<Arc<Place>>>);

struct Place {
    name: String,
    hold: Hold,
    /// What retention heeds: the effect up to here is stored.
    position: AtomicU64,
    /// What lag is measured from: the effect up to here is seen. Behind `position` only when nobody says it.
    applied: AtomicU64,
    cuts: Mutex<Vec<Cut>>,
}

/// A named reader's place, as far as retention and lag need it. It holds until it is dropped.
pub struct Consumer {
    shared: Arc<Shared>,
    place: Arc<Place>,
}

impl Consumer {
    pub(crate) fn new(shared: Arc<Shared>, name: &str, hold: Hold) -> Self {
        let place = Arc::new(Place {
            name: name.to_owned(),
            hold,
            position: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            cuts: Mutex::default(),
        });
        shared.places.0.lock().push(Arc::clone(&place));
        Self { shared, place }
    }

    /// Says that every record up to `position` has had its effect, and that the effect is stored with the position.
    /// Before the first report the consumer holds everything. A lower position than before is heeded too.
    pub fn report(&self, position: u64) {
        self.place.position.store(position, Ordering::Release);
    }

    /// Says that every record up to `seq` has had its effect, for whoever asks for it, although that is not stored yet: for
    /// consumers that store seldom and would seem to lag where nothing waits. Retention does not heed it.
    pub fn applied(&self, seq: u64) {
        self.place.applied.store(seq, Ordering::Release);
    }

    /// What was dropped before this consumer took it, since the last call.
    #[must_use]
    pub fn cuts(&self) -> Vec<Cut> {
        std::mem::take(&mut *self.place.cuts.lock())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.places.0.lock().retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

impl Places {
    /// Where each consumer stands.
    pub(crate) fn status(&self, shared: &Shared) -> Vec<ConsumerStatus> {
        let places = self.0.lock().clone();
        let durable = shared.durable();
        let now = shared.host.clock.now().micros();
        let mut status: Vec<_> = places
            .iter()
            .map(|place| {
                let position = place.position.load(Ordering::Acquire);
                let age = |after: u64| {
                    let from = (after + 1).max(shared.first_seq());
                    let records = shared.seqs_between(from, durable);
                    let oldest = if records > 0 { shared.time_of(from) } else { None };
                    (records, oldest.map_or(0, |time| u64::try_from(now.saturating_sub(time)).unwrap_or(0)))
                };
                let (lag_records, lag_micros) = age(position.max(place.applied.load(Ordering::Acquire)));
                let (_, held_micros) = age(position);
                ConsumerStatus {
                    name: place.name.clone(),
                    hold: place.hold,
                    position,
                    lag_records,
                    lag_micros,
                    held_micros,
                }
            })
            .collect();
        status.sort_by(|a, b| a.name.cmp(&b.name));
        status
    }

    /// Whether somebody holds `segment`, whose newest record has this age.
    fn hold(&self, segment: &Segment, age: Duration) -> bool {
        let last = segment.extent().last_seq;
        self.0.lock().iter().any(|place| {
            place.position.load(Ordering::Acquire) < last
                && match place.hold {
                    Hold::Builtin => true,
                    Hold::Sink(longest) => age < longest,
                }
        })
    }

    /// Tells everybody who has not come so far that `segment` is gone.
    fn cut(&self, segment: &Segment) {
        let last = segment.extent().last_seq;
        for place in self.0.lock().iter() {
            let from = (place.position.load(Ordering::Acquire) + 1).max(segment.first_seq);
            if from > last {
                continue;
            }
            let cut = Cut { chain: segment.chain, from, to: last };
            tracing::warn!(
                consumer = place.name,
                chain = cut.chain.name(),
                from,
                to = last,
                "journal records cut"
            );
            let mut cuts = place.cuts.lock();
            match cuts.last_mut() {
                Some(before) if continues(before, &cut) => before.to = last,
                _ => cuts.push(cut),
            }
            if cuts.len() > CUTS_MAX {
                let joined = cuts.pop().expect("many");
                cuts.last_mut().expect("many").to = joined.to;
            }
        }
    }
}

/// Whether a cut goes on where another ended.
fn continues(before: &Cut, cut: &Cut) -> bool {
    before.chain == cut.chain && before.to + 1 == cut.from
}

/// Why a segment may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Age,
    Room,
}

/// Drops whole segments, oldest first: those older than `keep`, and further ones while `needed` more bytes do not
/// fit below 90 % of the bound. Never the newest of a chain, and none that a consumer holds.
pub(crate) fn trim(shared: &Shared, needed: u64) {
    let limit = limit(shared.bytes_max);
    loop {
        let reason = if shared.bytes().saturating_add(needed) > limit { Reason::Room } else { Reason::Age };
        let Some(segment) = candidate(shared, reason) else { return };
        if let Err(error) = shared.host.disk.remove(&segment.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(path = %segment.path.display(), %error, "journal segment cannot be dropped");
            return;
        }
        shared.places.cut(&segment);
        shared.segments.lock()[segment.chain.index()].retain(|known| !Arc::ptr_eq(known, &segment));
        tracing::info!(
            chain = segment.chain.name(),
            segment = segment.number,
            ?reason,
            "journal segment dropped"
        );
    }
}

/// The bytes at which appends are refused: 90 % of the bound, so that there is room to work with.
pub(crate) fn limit(bytes_max: u64) -> u64 {
    bytes_max / 10 * 9
}

/// The oldest segment that may go.
fn candidate(shared: &Shared, reason: Reason) -> Option<Arc<Segment>> {
    let now = shared.host.clock.now();
    let oldest: Vec<_> = {
        let segments = shared.segments.lock();
        Chain::ALL
            .iter()
            .filter(|chain| segments[chain.index()].len() > 1)
            .map(|chain| Arc::clone(&segments[chain.index()][0]))
            .collect()
    };
    oldest
        .into_iter()
        .filter(|segment| {
            let newest = segment.extent().time_max;
            // A segment without records has the age of its making.
            let newest = if newest == i64::MIN { segment.created_at } else { newest };
            let age = Duration::from_micros(u64::try_from(now.micros().saturating_sub(newest)).unwrap_or(0));
            let old = reason == Reason::Room || age >= shared.settings.keep;
            old && !shared.places.hold(segment, age)
        })
        .min_by_key(|segment| segment.extent().last_seq)
}
