//! Stored readings of a long time as samples, one after the other: what rules are tried on.
//!
//! ```text
//! day ─> its parts, merged in the order of device, channel, time ─> one device held at a time ─> its samples by time
//! ```
//!
//! Not here: a look at a short time (`samples`), and what is made of samples (`alerts`). The laws: the days come in their
//! order, and each reading once with its newest value; what is held is bounded in readings and in bytes of texts, beside which
//! the merge has one batch of each file of the day, which has 64 MiB of texts at most; whoever asked and is gone stops it.
//!
//! Why device by device within a day: a column file is of one day and sorted by device. So every file is read once, from its
//! beginning to its end, and what is held is one device's day. By time over all devices a day of a large fleet would have to be
//! sorted; device by device over all days would open every file once for each device. Where devices share a state their samples
//! must come by time: then a stretch of the day is held that is as short as the bound asks for, and the files of the day are read
//! once for each stretch. So it is with a device whose day is too much, after the others.

mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use model::Timestamp;
use tokio::sync::oneshot;

use crate::error::QueryError;
use crate::export::Selection;
use crate::latest::Latest;
use crate::query::{Part, parts};
use crate::samples::StoredSample;
use crate::service::{Inner, Series};
use crate::table::Wanted;
use held::{Dense, Fill, Halt, HandOut, Held};

/// How much is held at once: of one device's day, or of all devices' stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldMax {
    /// Readings. Default: 3,000,000, some 200 MB with what sorting them needs.
    pub readings: usize,
    /// Bytes of texts. Default: 64 MiB.
    pub text_bytes: usize,
}

impl Default for HeldMax {
    fn default() -> Self {
        Self { readings: 3_000_000, text_bytes: 64 << 20 }
    }
}

/// The shortest stretch of time that a day is divided into.
const STRETCH_MICROS_MIN: i64 = Timestamp::SECOND;

/// After so many readings it is said how far it is.
const READINGS_BETWEEN: u64 = 250_000;

/// In which order the samples of a day come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastOrder {
    /// Device by device, each in the order of time.
    Devices,
    /// In the order of time, those of one time in the order of the devices' names.
    Times,
}

/// What is looked back on.
#[derive(Debug, Clone)]
pub struct Past {
    /// Which readings.
    pub selection: Selection,
    /// In which order they come.
    pub order: PastOrder,
    /// Whether it matters when they were received and how they are flagged; otherwise `received_at` is the time of the sample, and
    /// there are no flags.
    pub receipts: bool,
    /// The channels whose values matter; of others a reading comes with an empty text. `None`: those of all do.
    pub valued: Option<BTreeSet<String>>,
    /// How much is held at once.
    pub held_max: HeldMax,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HowFar {
    /// The day that is being read.
    pub day: crate::Day,
    /// Days that were read.
    pub days_done: usize,
    /// Days that there are.
    pub days: usize,
    /// Readings that were handed out.
    pub readings: u64,
    /// Stretches of time that were read so far: one of each day, more where a day holds too much at once.
    pub stretches: u64,
}

/// What comes of the past.
#[derive(Debug)]
pub enum Met<'a> {
    /// The next readings of one device and time: a sample for each topic they came over.
    Samples(&'a [StoredSample]),
    /// How far it is: at the start of each day, and from time to time.
    HowFar(HowFar),
}

impl Series {
    /// Hands the samples of the past to `take`, one after the other, on a thread of low priority, until it breaks; then gives
    /// back `state`. Readings that are stored while it runs are seen when their day has not been read. Dropped, it stops.
    ///
    /// # Errors
    /// [`QueryError::Dense`] when a device has more than `held_max` within a second (or, in the order of times, all devices
    /// together have); other [`QueryError`]s say why files cannot be read.
    pub async fn past<S: Send + 'static>(
        &self,
        past: Past,
        mut state: S,
        mut take: impl FnMut(&mut S, Met<'_>) -> ControlFlow<()> + Send + 'static,
    ) -> Result<S, QueryError> {
        let (answer, answered) = oneshot::channel();
        let inner = std::sync::Arc::clone(&self.inner);
        self.inner.engine.spawn_blocking(move || {
            let is_unwanted = || answer.is_closed() || inner.is_stopping();
            let mut reading = Reading {
                inner: &inner,
                past: &past,
                how_far: None,
                take: &mut |met| {
                    let is_sample = matches!(met, Met::Samples(_));
                    match take(&mut state, met) {
                        ControlFlow::Continue(()) if is_sample || !is_unwanted() => ControlFlow::Continue(()),
                        _ => ControlFlow::Break(()),
                    }
                },
            };
            let read = reading.all();
            // Whoever asked may be gone.
            let _ = answer.send(read.map(|()| state));
        });
        answered.await.unwrap_or(Err(QueryError::Closed))
    }

    /// The oldest and the newest time of what is stored of `selection`, as far as column files and memory say without being
    /// read: of other devices and channels in the same files too.
    #[must_use]
    pub fn extent(&self, selection: &Selection) -> Option<(Timestamp, Timestamp)> {
        let wanted = selection.wanted();
        let parts = parts(self.inner.store.snapshot(&wanted), &wanted);
        let from = parts.iter().map(|part| *part.times().start()).min()?;
        let to = parts.iter().map(|part| *part.times().end()).max()?;
        Some((Timestamp::from_micros(from), Timestamp::from_micros(to)))
    }

    /// The channels of which a reading is known, over all devices, and the time of the newest of each.
    #[must_use]
    pub fn channel_names(&self) -> BTreeMap<String, Timestamp> {
        let known = self.inner.store.with_latest(Latest::channel_names);
        known.into_iter().map(|(name, time)| (name, Timestamp::from_micros(time))).collect()
    }
}

/// On its way through the days.
struct Reading<'a> {
    inner: &'a Inner,
    past: &'a Past,
    how_far: Option<HowFar>,
    take: &'a mut dyn FnMut(Met<'_>) -> ControlFlow<()>,
}

/// Why a stretch of time was not read to its end.
enum Stop {
    /// Nobody wants more.
    Unwanted,
    /// More must be held than may be.
    Dense(Dense),
    Failed(QueryError),
}

impl Reading<'_> {
    fn all(&mut self) -> Result<(), QueryError> {
        let wanted = self.past.selection.wanted();
        let all = parts(self.inner.store.snapshot(&wanted), &wanted);
        let days: BTreeSet<i64> = all.iter().flat_map(Part::days).collect();
        drop(all);
        let days: Vec<crate::Day> = days
            .into_iter()
            .map(crate::Day::new)
            .filter(|day| {
                let of_day = day.within(&wanted);
                of_day.from <= of_day.to
            })
            .collect();
        let mut held = Held::new(self.past);
        // How long a stretch was not too long for the day before.
        let mut stretch = Timestamp::DAY;
        for (done, day) in days.iter().enumerate() {
            let (readings, stretches) =
                self.how_far.map_or((0, 0), |how_far| (how_far.readings, how_far.stretches));
            let how_far = HowFar { day: *day, days_done: done, days: days.len(), readings, stretches };
            self.how_far = Some(how_far);
            if (self.take)(Met::HowFar(how_far)).is_break() {
                return Ok(());
            }
            match self.day(*day, &wanted, &mut stretch, &mut held) {
                Ok(()) => {}
                Err(Stop::Unwanted) => return Ok(()),
                Err(Stop::Dense(Dense { device, limit })) => {
                    return Err(QueryError::Dense { device, day: day.to_string(), limit });
                }
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// One day: at once device by device, else in stretches.
    fn day(
        &mut self,
        day: crate::Day,
        wanted: &Wanted,
        stretch: &mut i64,
        held: &mut Held,
    ) -> Result<(), Stop> {
        let of_day = day.within(wanted);
        if self.past.order == PastOrder::Times {
            return self.in_stretches(&of_day, stretch, held);
        }
        self.stretch(&of_day, true, held)?;
        for device in held.passed_over() {
            *stretch = (*stretch).min(Timestamp::DAY / 2);
            let devices = Some(BTreeSet::from([device]));
            self.in_stretches(&Wanted { devices, ..of_day.clone() }, stretch, held)?;
        }
        Ok(())
    }

    /// By time, in stretches that are as long as what is held allows.
    fn in_stretches(&mut self, wanted: &Wanted, stretch: &mut i64, held: &mut Held) -> Result<(), Stop> {
        let (mut from, last) = (wanted.from.unwrap_or(i64::MIN), wanted.to.unwrap_or(i64::MAX));
        while from <= last {
            let to = from.saturating_add(*stretch - 1).min(last);
            match self.stretch(&Wanted { from: Some(from), to: Some(to), ..wanted.clone() }, false, held) {
                Ok(fill) => {
                    from = to.saturating_add(1);
                    // One dense moment does not make all that follows slow: each stretch reads the files of the day anew.
                    if fill == Fill::Little {
                        *stretch = stretch.saturating_mul(2).min(Timestamp::DAY);
                    }
                }
                // Nothing of it was handed out.
                Err(Stop::Dense(_)) if *stretch > STRETCH_MICROS_MIN => {
                    *stretch = (*stretch / 2).max(STRETCH_MICROS_MIN);
                }
                Err(stop) => return Err(stop),
            }
        }
        Ok(())
    }

    fn stretch(&mut self, wanted: &Wanted, by_device: bool, held: &mut Held) -> Result<Fill, Stop> {
        held.clear();
        self.how_far.as_mut().expect("a day was begun").stretches += 1;
        let inner = self.inner;
        let parts = parts(inner.store.snapshot(wanted), wanted);
        let times = wanted.times();
        let is_within =
            |part: &Part| times.contains(part.times().start()) && times.contains(part.times().end());
        // What every row meets need not be asked of every row.
        let asked = match parts.iter().all(is_within) {
            true => Wanted { from: None, to: None, ..wanted.clone() },
            false => wanted.clone(),
        };
        let mut stop = None;
        let read = inner.engine.read_chosen(parts, &held.columns(), &asked, |batch| {
            let mut hand_out = |held: &mut Held| self.hand_out(held);
            let hand_out: Option<HandOut<'_, Stop>> = if by_device { Some(&mut hand_out) } else { None };
            match held.add(batch, wanted, hand_out) {
                Ok(()) => ControlFlow::Continue(()),
                Err(halt) => {
                    stop = Some(match halt {
                        Halt::Full(dense) => Stop::Dense(dense),
                        Halt::Other(stop) => stop,
                    });
                    ControlFlow::Break(())
                }
            }
        });
        match stop {
            Some(stop) => Err(stop),
            None => {
                read.map_err(Stop::Failed)?;
                let fill = held.fill();
                self.hand_out(held)?;
                Ok(fill)
            }
        }
    }

    /// Hands out what is held.
    fn hand_out(&mut self, held: &mut Held) -> Result<(), Stop> {
        let how_far = self.how_far.as_mut().expect("a day was begun");
        let before = how_far.readings;
        how_far.readings += held.len() as u64;
        let how_far = *how_far;
        if held.hand_out(&mut |samples| (self.take)(Met::Samples(samples))).is_break() {
            return Err(Stop::Unwanted);
        }
        if before / READINGS_BETWEEN != how_far.readings / READINGS_BETWEEN
            && (self.take)(Met::HowFar(how_far)).is_break()
        {
            return Err(Stop::Unwanted);
        }
        Ok(())
    }
}
