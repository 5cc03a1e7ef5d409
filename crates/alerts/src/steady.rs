//! A clock for timers: the wall clock of the start, and what has passed since. It never jumps.
//!
//! Not here: what people see, which follows the wall clock. The law: when somebody sets the server's clock, no notice leaves
//! early and none is held back.

use host::Host;
use model::Timestamp;

use crate::machine::Now;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Steady {
    wall: Timestamp,
    mono: u64,
}

impl Steady {
    pub(crate) fn start(host: &Host) -> Self {
        Self { wall: host.clock.now(), mono: host.clock.mono_micros() }
    }

    pub(crate) fn now(&self, host: &Host) -> Now {
        let passed = host.clock.mono_micros().saturating_sub(self.mono);
        let steady = self.wall.plus_micros(i64::try_from(passed).unwrap_or(i64::MAX));
        Now { steady, wall: host.clock.now() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use host::sim::Machine;

    use super::*;

    #[test]
    fn a_clock_that_is_set_moves_no_timer() {
        let machine = Machine::new(1);
        let host = machine.host();
        let steady = Steady::start(&host);
        let start = host.clock.now();
        machine.clock.advance(Duration::from_secs(10));
        machine.clock.set(start.plus_micros(-3_600_000_000));
        machine.clock.advance(Duration::from_secs(20));
        let now = steady.now(&host);
        assert_eq!(now.steady.micros_since(start), 30_000_000);
        assert!(now.wall < start);
    }
}
