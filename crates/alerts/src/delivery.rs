//! The ways to receivers: each a queue of its own, tried until it gets through.
//!
//! Not here: what is said and when (`machine`), where it waits (`store::outbox`). The laws:
//! - A way that hangs or fails delays no other; what waits for it leaves in order.
//! - A notice is `sent` only after its receiver took it; a crash between the two sends it again, under the same id.
//! - What a receiver refuses for good, or does not take for [`TRY_FOR_MICROS`], is a dead letter: kept, and tried again when
//!   somebody asks.

mod email;
pub(crate) mod heartbeat;
mod mqtt;
mod slack;
mod text;
pub(crate) mod webhook;

pub(crate) use text::{lines, title};

use std::time::Duration;

use catalog::{Catalog, ReadError, WriteError};
use host::{Host, Shutdown};
use journal::Journal;
use model::Timestamp;

use crate::config::receiver::{Way, WayKind};
use crate::machine::notice::Body;
use crate::store::outbox::{self, Attempt, Waiting};
use crate::{NoticeId, Wake};

/// How long a notice is tried: a day in which somebody looks at the receiver.
pub const TRY_FOR_MICROS: i64 = Timestamp::DAY;

/// The first pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: a receiver that is back is found within this time.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) text: String,
    /// The receiver took a look and refused: again would be the same.
    pub(crate) is_final: bool,
    /// When the receiver wants to be asked again.
    pub(crate) after: Option<Duration>,
}

impl Failure {
    pub(crate) fn again(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_final: false, after: None }
    }

    pub(crate) fn for_good(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_final: true, after: None }
    }
}

/// What is sent.
pub(crate) struct Letter<'l> {
    pub(crate) id: NoticeId,
    pub(crate) made_at: Timestamp,
    pub(crate) body: &'l Body,
    /// Most alerts to spell out.
    pub(crate) alerts_max: usize,
    pub(crate) now: Timestamp,
}

enum Line {
    Email(email::Mailer),
    Webhook(webhook::Poster),
    Slack { poster: webhook::Poster, channel: Option<String>, username: Option<String> },
    Mqtt { topic: model::TopicName, journal: Journal },
    Inbox,
}

impl Line {
    fn open(way: &Way, journal: &Journal) -> Result<Self, String> {
        Ok(match &way.kind {
            WayKind::Email(email) => Self::Email(email::Mailer::open(email, timeout(way))?),
            WayKind::Webhook(http) => Self::Webhook(webhook::Poster::open(http, timeout(way))?),
            WayKind::Slack { http, channel, username } => Self::Slack {
                poster: webhook::Poster::open(http, timeout(way))?,
                channel: channel.clone(),
                username: username.clone(),
            },
            WayKind::Mqtt { topic } => Self::Mqtt { topic: topic.clone(), journal: journal.clone() },
            WayKind::Inbox => Self::Inbox,
        })
    }

    async fn send(&self, letter: &Letter<'_>, host: &Host) -> Result<(), Failure> {
        match self {
            Self::Email(mailer) => mailer.send(letter).await,
            Self::Webhook(poster) => poster.post(letter.id, webhook::document(letter), letter.now).await,
            Self::Slack { poster, channel, username } => {
                let document = slack::document(letter, channel.as_deref(), username.as_deref());
                poster.post(letter.id, document, letter.now).await
            }
            Self::Mqtt { topic, journal } => mqtt::send(letter, topic, journal, host).await,
            Self::Inbox => Ok(()),
        }
    }
}

fn timeout(way: &Way) -> Duration {
    Duration::from_micros(u64::try_from(way.timeout).unwrap_or_default())
}

/// One way and what waits for it.
pub(crate) struct Lane {
    pub(crate) way: Way,
    pub(crate) catalog: Catalog,
    pub(crate) host: Host,
    pub(crate) bell: Wake,
    pub(crate) journal: Journal,
}

impl Lane {
    /// Sends whatever waits, until the shutdown: what is under way at that moment is ended or comes again. Told to leave, it
    /// first ends what is under way.
    pub(crate) async fn run(self, shutdown: &Shutdown, leave: &Shutdown) {
        let line = Line::open(&self.way, &self.journal);
        let mut failures: u32 = 0;
        while !leave.is_stopping() {
            let pause = tokio::select! {
                () = shutdown.stopping() => return,
                pause = self.turn(&line, &mut failures) => pause,
            };
            match pause {
                Some(pause) => tokio::select! {
                    () = shutdown.stopping() => return,
                    () = leave.stopping() => return,
                    () = tokio::time::sleep(pause) => {}
                },
                None => tokio::select! {
                    () = shutdown.stopping() => return,
                    () = leave.stopping() => return,
                    () = self.bell.rung() => {}
                },
            }
        }
    }

    /// Sends what waits longest. How long to wait after it; `None`: until there is something.
    async fn turn(&self, line: &Result<Line, String>, failures: &mut u32) -> Option<Duration> {
        let (host, key) = (self.host.clone(), self.way.key.clone());
        let waiting = self
            .catalog
            .read_async::<_, ReadError>(move |connection| Ok(outbox::next(connection, &host, &key)?))
            .await;
        let waiting = match waiting {
            Ok(Some(waiting)) => waiting,
            Ok(None) => return None,
            Err(error) => {
                tracing::error!(way = self.way.key, %error, "the outbox cannot be read");
                return Some(PAUSE);
            }
        };
        let began = self.host.clock.mono_micros();
        let (attempt, after) = self.attempt(line, &waiting).await;
        let took = Duration::from_micros(self.host.clock.mono_micros().saturating_sub(began));
        metrics::histogram!("godwit_alerts_attempt_seconds", "kind" => self.way.kind.name()).record(took);
        self.report(&waiting, &attempt);
        let (host, key, now) = (self.host.clone(), self.way.key.clone(), self.host.clock.now());
        let kept = attempt.clone();
        let written = self
            .catalog
            .write(move |tx| Ok::<_, WriteError>(outbox::tried(tx, &host, waiting.notice, &key, now, &kept)?))
            .await;
        if let Err(error) = written {
            tracing::error!(way = self.way.key, %error, "what became of a notice cannot be written down; it may be sent again");
            return Some(PAUSE);
        }
        match attempt {
            Attempt::Sent | Attempt::Dead(_) => {
                *failures = 0;
                Some(Duration::ZERO)
            }
            Attempt::Failed(_) => {
                *failures = failures.saturating_add(1);
                Some(after.unwrap_or_else(|| pause(*failures, self.host.random.number())))
            }
        }
    }

    async fn attempt(&self, line: &Result<Line, String>, waiting: &Waiting) -> (Attempt, Option<Duration>) {
        let line = match line {
            Ok(line) => line,
            Err(error) => return (Attempt::Dead(error.clone()), None),
        };
        let Some(body) = &waiting.body else {
            return (Attempt::Dead("what it says does not open: another key sealed it".to_owned()), None);
        };
        let now = self.host.clock.now();
        let letter = Letter {
            id: waiting.notice,
            made_at: waiting.made_at,
            body,
            alerts_max: self.way.alerts_max,
            now,
        };
        let sent = tokio::time::timeout(timeout(&self.way), line.send(&letter, &self.host)).await;
        let failure = match sent {
            Ok(Ok(())) => return (Attempt::Sent, None),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::again(format!("no answer within {} s", timeout(&self.way).as_secs_f64())),
        };
        let is_old = now.micros_since(waiting.made_at) > TRY_FOR_MICROS;
        if failure.is_final || is_old {
            (Attempt::Dead(failure.text), None)
        } else {
            (Attempt::Failed(failure.text), failure.after.map(|after| after.min(PAUSE_MAX)))
        }
    }

    fn report(&self, waiting: &Waiting, attempt: &Attempt) {
        let (notice, way) = (waiting.notice, self.way.key.as_str());
        let outcome = match attempt {
            Attempt::Sent => {
                tracing::info!(way, %notice, attempts = waiting.attempts + 1, "notice sent");
                let took = self.host.clock.now().micros_since(waiting.made_at).max(0) as f64 / 1e6;
                metrics::histogram!("godwit_alerts_delivery_seconds", "kind" => self.way.kind.name())
                    .record(took);
                "sent"
            }
            Attempt::Failed(error) => {
                tracing::warn!(way, %notice, attempts = waiting.attempts + 1, error, "notice not sent; it is tried again");
                "failed"
            }
            Attempt::Dead(error) => {
                tracing::error!(way, %notice, error, "notice given up: it is among the dead letters");
                "dead"
            }
        };
        metrics::counter!("godwit_alerts_attempts_total", "kind" => self.way.kind.name(), "outcome" => outcome)
            .increment(1);
    }
}

/// The pause after so many failures in a row: twice as long each time, and somewhere between half of it and all, so that
/// those who failed together do not come back together.
fn pause(failures: u32, dice: u64) -> Duration {
    let full = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(PAUSE_MAX);
    let half = full / 2;
    let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(dice % micros)
}

/// What a family of errors says, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_never_all_alike() {
        for (failures, least, most) in
            [(1, 500, 1_000), (2, 1_000, 2_000), (5, 8_000, 16_000), (60, 150_000, 300_000)]
        {
            for dice in [0, 1, u64::MAX / 2, u64::MAX] {
                let pause = pause(failures, dice).as_millis();
                assert!((least..=most).contains(&pause), "{failures} failures: {pause} ms");
            }
        }
        assert_ne!(pause(5, 1), pause(5, 1_000_000));
    }
}
