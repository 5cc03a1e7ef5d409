//! What is due by the clock: who is silent, what fires because nothing came, whose device is gone.
//!
//! Not here: silence as such (`rules`), the states of keys (`book`). The laws: it is said of a moment of which everything durable is read
//! that nothing came; a wall clock that was set is no time that passed.

use std::time::Duration;

use model::Timestamp;

use super::super::book::Clock;
use super::super::keep;
use super::super::told;
use super::in_force::end;
use super::{TICK, Work, micros};

/// A step of the wall clock against the steady one from which on it was set.
const CLOCK_STEP: i64 = 30 * Timestamp::SECOND;

/// How often devices that were never heard are asked for.
const EXPECT_EVERY: Duration = Duration::from_secs(60);

/// How often it is asked who is connected.
const CONNECTED_EVERY: Duration = Duration::from_secs(10);

/// A moment at which it is to be seen what did not come.
pub(super) struct Due {
    /// What was durable then.
    seq: u64,
    at: Timestamp,
    mono: u64,
}

impl Work {
    /// What is due by the clock.
    pub(super) async fn clock(&mut self) {
        let mono = self.parts.host.clock.mono_micros();
        let now = self.parts.host.clock.now();
        self.see_clock_steps(now, mono);
        if mono.saturating_sub(self.last.look) >= micros(TICK) {
            self.last.look = mono;
            self.show();
        }
        // Before everything that was durable by then is read nobody can say that nothing came. It is said of the moment when it was
        // due, however long the reading takes: what comes meanwhile does not put it off, and what waits unread is no silence.
        let is_due = mono.saturating_sub(self.last.tick) >= micros(TICK);
        if !is_due || !self.is_caught_up {
            return;
        }
        self.end_what_was_removed().await;
        let until = self.parts.journal.durable_seq();
        let read = self.read();
        let due = self.due.get_or_insert(Due { seq: until, at: now, mono });
        if read < due.seq {
            return;
        }
        let read_until = due.at.min(now);
        self.last.tick = due.mono;
        self.due = None;
        if self.last.expect.is_none_or(|last| mono.saturating_sub(last) >= micros(EXPECT_EVERY)) {
            self.last.expect = Some(mono);
            self.expect();
        }
        self.see_who_is_connected(mono);
        let clock = Clock { presence: &self.presence, connected: &self.connected, read_until, now };
        let mut said = Vec::new();
        for (at, entry) in self.book.entries.iter_mut().enumerate() {
            entry.tick(at, clock, &mut said);
        }
        self.say(said).await;
    }

    /// What fires of devices that were removed is over: nobody will hear of them again. It ends as it was told.
    async fn end_what_was_removed(&mut self) {
        let gone = self.book.forget_removed(&self.parts.identity);
        if gone.is_empty() {
            return;
        }
        let gone: Vec<(String, u64, String)> = gone
            .into_iter()
            .map(|(rule, key)| {
                let key = serde_json::to_string(&told::parts(&key)).expect("texts are JSON");
                (rule.name().to_owned(), rule.version().0, key)
            })
            .collect();
        let host = self.parts.host.clone();
        let change = move |tx: &catalog::Transaction<'_>| {
            let now = host.clock.now();
            for (rule, version, key) in &gone {
                for (id, fired_at) in keep::firing_of(tx, (rule, *version, key))? {
                    end(tx, &host, id, now.max(fired_at), now)?;
                }
            }
            Ok(())
        };
        if self.write("the end of what fired of removed devices", change).await {
            self.parts.wake.wake();
        }
    }

    fn see_who_is_connected(&mut self, mono: u64) {
        let is_due =
            self.last.connected.is_none_or(|last| mono.saturating_sub(last) >= micros(CONNECTED_EVERY));
        if is_due && self.book.entries.iter().any(|entry| entry.rule.needs_connection()) {
            self.last.connected = Some(mono);
            self.connected = (self.parts.connected)();
            // A connection from before the clock was set back tells no time.
            let ahead = self.parts.host.clock.now().plus_micros(CLOCK_STEP);
            for since in self.connected.values_mut().filter(|since| **since > ahead) {
                *since = Timestamp::from_micros(i64::MIN);
            }
        }
    }

    /// A wall clock that was set says nothing about how long a device was silent.
    fn see_clock_steps(&mut self, now: Timestamp, mono: u64) {
        let (then, mono_then) = self.clocks;
        let passed = i64::try_from(mono.saturating_sub(mono_then)).unwrap_or(i64::MAX);
        let step = now.micros_since(then).saturating_sub(passed);
        if step.abs() >= CLOCK_STEP {
            tracing::warn!(
                seconds = step / Timestamp::SECOND,
                "the server's clock was set: silence is counted anew"
            );
            let (from, to) = if step > 0 { (then.plus_micros(passed), now) } else { (now, now) };
            self.presence.absent(from, to);
            self.last.connected = None;
            if self.is_caught_up {
                self.presence.caught_up(now);
            }
        }
        self.clocks = (now, mono);
    }

    /// Devices that have never been heard.
    fn expect(&mut self) {
        if !self.book.entries.iter().any(|entry| entry.rule.absent_for().is_some()) {
            return;
        }
        let devices = match self.parts.identity.all_devices() {
            Ok(devices) => devices,
            Err(error) => {
                tracing::warn!(
                    error = model::in_one_line(&error),
                    "devices cannot be read; those never heard are not missed yet"
                );
                return;
            }
        };
        for device in devices.iter().filter(|device| device.is_added && device.removal.is_none()) {
            for entry in &mut self.book.entries {
                entry.expect(&self.parts.identity, &device.name, device.created);
            }
        }
    }
}
