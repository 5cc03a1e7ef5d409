//! Keep-alive: whether the connection lives, and when to say something (MQTT 5.0, section 3.1.2.10).
//!
//! Pure: somebody else looks at the clock and calls.

/// Looks at the connection's life per keep-alive: a silence is noticed after a third of it, a packet is sent before
/// two thirds have passed.
pub(crate) const LOOKS_PER_KEEP_ALIVE: u32 = 3;

/// Whether the connection lives, seen a few times per keep-alive.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// We sent something since the last look.
    pub(crate) spoke: bool,
    /// The server sent something since the last look.
    pub(crate) heard: bool,
    /// A PINGREQ waits for its answer.
    pub(crate) asked: bool,
    /// Looks in a row at which an answer was due and nothing had come.
    silent: u32,
}

impl Life {
    /// One look; true when the server has been silent for a whole keep-alive although it was asked. While the
    /// socket is not read its silence says nothing.
    pub(crate) fn look(&mut self, reading: bool) -> bool {
        self.silent = if self.asked && !self.heard && reading { self.silent + 1 } else { 0 };
        self.heard = false;
        self.silent >= LOOKS_PER_KEEP_ALIVE
    }

    pub(crate) fn must_speak(&mut self) -> bool {
        !std::mem::take(&mut self.spoke)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_dead_when_it_was_asked_and_silent_for_a_whole_keep_alive() {
        let mut life = Life { asked: true, ..Life::default() };
        assert_eq!([life.look(true), life.look(true), life.look(true)], [false, false, true]);
        let mut spared = Life { asked: true, ..Life::default() };
        assert_eq!([spared.look(true), spared.look(true), spared.look(false)], [false; 3], "nobody listened");
        let mut idle = Life::default();
        assert!((0..10).all(|_| !idle.look(true)), "nothing was asked");
    }

    #[test]
    fn who_has_spoken_need_not_ask() {
        let mut life = Life { spoke: true, ..Life::default() };
        assert!(!life.must_speak());
        assert!(life.must_speak());
    }
}
