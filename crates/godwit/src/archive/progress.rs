//! What a backup or a restore shows while it runs: a bar on a terminal, plain lines elsewhere. On stderr, so that
//! standard output can be the archive.

use std::io::{IsTerminal as _, Write as _};

use host::{Clock, SystemClock};
use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Plain lines come no more often than this: a log is read by people.
const LINE_MICROS_MIN: u64 = 10_000_000;

/// Shows how many bytes are done.
pub(crate) struct Progress {
    bar: ProgressBar,
    clock: SystemClock,
    is_terminal: bool,
    said_at_micros: u64,
    bytes: u64,
}

impl Progress {
    /// Of about `bytes` bytes.
    pub(crate) fn start(bytes: u64) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(
            "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(bytes), target).with_style(style);
        Self { bar, clock: SystemClock::start(), is_terminal, said_at_micros: 0, bytes: 0 }
    }

    /// So many bytes are done.
    pub(crate) fn at(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.bar.set_position(bytes);
        if self.is_terminal {
            return;
        }
        let now = self.clock.mono_micros();
        if now.saturating_sub(self.said_at_micros) >= LINE_MICROS_MIN {
            self.said_at_micros = now;
            say(&format!(
                "{} of about {}",
                BinaryBytes(bytes),
                BinaryBytes(self.bar.length().unwrap_or(bytes))
            ));
        }
    }

    /// Takes the bar away and says how much it was and how quick: `12.3 MB in 0.40 s (31 MB/s)`.
    pub(crate) fn finish(&self) -> String {
        self.bar.finish_and_clear();
        let seconds = (self.clock.mono_micros() as f64 / 1e6).max(1e-6);
        let megabytes = self.bytes as f64 / 1e6;
        format!("{megabytes:.1} MB in {seconds:.2} s ({:.0} MB/s)", megabytes / seconds)
    }
}

/// Writes a line to stderr.
pub(crate) fn say(text: &str) {
    // Nobody listens on a closed stderr, and nothing else depends on it.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
