//! What a replay or an import shows while it runs: a bar on a terminal, plain lines elsewhere. On stderr, so that standard output
//! stays the result's.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use host::Clock;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

/// Plain lines come no more often than this: a log is read by people.
const LINE_MICROS_MIN: u64 = 5_000_000;
/// How many bad rows are named one by one; the rest is counted.
const BAD_ROWS_NAMED: u64 = 10;

/// Shows how far it is. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Meter {
    bar: ProgressBar,
    is_terminal: bool,
    clock: Arc<dyn Clock>,
    plain: Arc<Mutex<Plain>>,
}

#[derive(Default)]
struct Plain {
    said_at_micros: u64,
    bad: u64,
}

impl Meter {
    /// A meter of about `rows` rows.
    pub(crate) fn start(rows: u64, clock: Arc<dyn Clock>, is_quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal() && !is_quiet;
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(
            "{bar:30} {human_pos} of {human_len} rows, {per_sec}, {eta} left {msg}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(rows), target).with_style(style);
        let plain = Plain { said_at_micros: clock.mono_micros(), bad: 0 };
        // Quiet is a terminal on which nothing is drawn.
        Self { bar, is_terminal: is_terminal || is_quiet, clock, plain: Arc::new(Mutex::new(plain)) }
    }

    /// So many rows are done.
    pub(crate) fn at(&self, rows: u64) {
        self.bar.set_position(rows);
        if self.is_terminal {
            return;
        }
        let now = self.clock.mono_micros();
        let mut plain = self.plain.lock();
        if now.saturating_sub(plain.said_at_micros) >= LINE_MICROS_MIN {
            plain.said_at_micros = now;
            let of = self.bar.length().unwrap_or(rows);
            say(&format!("{} of {} rows acknowledged", HumanCount(rows), HumanCount(of)));
        }
    }

    /// Something happened that the reader should know.
    pub(crate) fn note(&self, text: &str) {
        self.bar.suspend(|| say(text));
    }

    /// What stands behind the bar; nothing when all is well.
    pub(crate) fn state(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    /// A row is left out. The first few are named.
    pub(crate) fn bad_row(&self, line: u64, why: &str) {
        let bad = {
            let mut plain = self.plain.lock();
            plain.bad += 1;
            plain.bad
        };
        if bad <= BAD_ROWS_NAMED {
            let mut text = format!("line {line} is left out: {why}");
            if bad == BAD_ROWS_NAMED {
                let _ = write!(text, " (further ones are only counted)");
            }
            self.note(&text);
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn say(text: &str) {
    // Nobody listens on a closed stderr, and nothing else depends on it.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
