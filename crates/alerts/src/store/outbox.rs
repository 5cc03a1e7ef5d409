//! The durable outbox: what a look decided, and what became of each delivery.
//!
//! Not here: the deciding (`machine`), the sending (`delivery`). The laws: a notice, what its receiver has heard by it, and
//! its deliveries are stored in one transaction; deliveries of one way leave in the order in which they were made.

use catalog::{Connection, Place, SqlError, Transaction, params, seal, unseal};
use host::Host;
use model::Timestamp;

use super::next_turn;
use crate::NoticeId;
use crate::config::Config;
use crate::config::receiver::WayKind;
use crate::machine::notice::{Body, Cause, Notice};
use crate::machine::{Finished, How, Look};

/// Most deliveries that wait for one way: a day of a notice every 9 seconds. More go to the dead letters at once.
pub const WAITING_MAX: u64 = 10_000;

/// What is kept of a delivery's last error, in bytes.
const ERROR_BYTES_MAX: usize = 500;

/// A delivery that waits.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) notice: NoticeId,
    pub(crate) made_at: Timestamp,
    pub(crate) attempts: u32,
    /// `None` when it does not open.
    pub(crate) body: Option<Body>,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attempt {
    Sent,
    /// It is tried again.
    Failed(String),
    /// It is not tried again unless somebody asks.
    Dead(String),
}

/// Stores what looks decided. One transaction however many alerts a notice tells of: what a receiver has heard and the
/// notice by which it heard must not be parted.
pub(crate) fn keep(
    tx: &Transaction<'_>,
    host: &Host,
    config: &Config,
    looks: &[Look],
) -> Result<(), SqlError> {
    for look in looks {
        if let Some(notice) = &look.notice {
            keep_notice(tx, host, config, notice)?;
            tx.execute(
                "INSERT INTO alert_groups (key, receiver, notices, sent_at) VALUES ($1, $2, 1, $3)
                 ON CONFLICT (key) DO UPDATE SET notices = alert_groups.notices + 1, sent_at = excluded.sent_at",
                params![look.group, look.receiver, look.at.steady],
            )?;
        }
        let notice = look.notice.as_ref().map_or_else(Vec::new, |notice| notice.id.0.to_vec());
        let turn = next_turn(tx)?;
        for (episode, generation, heard) in &look.heard {
            tx.execute(
                "INSERT INTO alert_said (episode, generation, receiver, transition, group_key, notice, at, turn)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (episode, generation, receiver, transition)
                 DO UPDATE SET notice = excluded.notice, at = excluded.at, turn = excluded.turn",
                params![*episode, *generation, look.receiver, heard.name(), look.group, notice, look.at.wall, turn],
            )?;
        }
        for one in &look.suppressed {
            let row = format!("{}/{}/{}", one.episode, one.receiver, one.why.name());
            let place = Place { table: "alert_suppressed", column: "detail", row: &row };
            tx.execute(
                "INSERT INTO alert_suppressed (episode, receiver, reason, detail, first_at, last_at, times)
                 VALUES ($1, $2, $3, $4, $5, $5, 1)
                 ON CONFLICT (episode, receiver, reason) DO UPDATE SET detail = excluded.detail,
                   last_at = excluded.last_at, times = alert_suppressed.times + 1",
                params![
                    one.episode,
                    one.receiver,
                    one.why.name(),
                    seal(host, place, one.detail.as_bytes()),
                    look.at.wall
                ],
            )?;
        }
    }
    Ok(())
}

fn keep_notice(tx: &Transaction<'_>, host: &Host, config: &Config, notice: &Notice) -> Result<(), SqlError> {
    let row = notice.id.to_string();
    let body = serde_json::to_vec(&notice.body).expect("texts and finite numbers are JSON");
    let place = Place { table: "alert_notices", column: "body", row: &row };
    let said = &notice.body;
    let inserted = tx.execute(
        "INSERT INTO alert_notices (id, group_key, receiver, cause, firing, resolved, made_at, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
        params![
            notice.id,
            said.group,
            said.receiver,
            said.cause.name(),
            said.firing,
            said.resolved,
            notice.made_at,
            seal(host, place, &body)
        ],
    )?;
    if inserted == 0 {
        return Ok(());
    }
    let Some(receiver) = config.receiver(&said.receiver) else { return Ok(()) };
    let turn = next_turn(tx)?;
    for way in &receiver.ways {
        // A retraction goes wherever the first word went.
        if said.firing == 0 && !way.send_resolved && said.cause != Cause::Retraction {
            continue;
        }
        let waiting = tx.query_one(
            "SELECT count(*) FROM alert_deliveries WHERE state = 'waiting' AND way = $1",
            params![way.key],
            |row| row.get::<u64>(0),
        )?;
        let is_full = waiting.unwrap_or(0) >= WAITING_MAX;
        let state = match way.kind {
            WayKind::Inbox => "sent",
            _ if is_full => "dead",
            _ => "waiting",
        };
        let error = (state == "dead").then(|| {
            sealed_error(
                host,
                notice.id,
                &way.key,
                &format!("{WAITING_MAX} notices wait for this receiver already"),
            )
        });
        tx.execute(
            "INSERT INTO alert_deliveries (notice, way, kind, state, turn, made_at, attempts, tried_at, error)
             VALUES ($1, $2, $3, $4, $5, $6, 0, NULL, $7) ON CONFLICT (notice, way) DO NOTHING",
            params![notice.id, way.key, way.kind.name(), state, turn, notice.made_at, error],
        )?;
    }
    Ok(())
}

/// Writes down what is to become of episodes of which nothing more is to be said. A newer change overrules.
pub(crate) fn finish(tx: &Transaction<'_>, finished: &[Finished]) -> Result<(), SqlError> {
    for one in finished {
        match one.how {
            How::Settled => {
                let sql = "UPDATE alert_episodes SET settled = $3 WHERE id = $1 AND turn = $2";
                tx.execute(sql, params![one.id, one.turn, true])?;
            }
            How::Retracted => {
                let sql =
                    "UPDATE alert_episodes SET state = 'retracted', settled = $3 WHERE id = $1 AND turn = $2";
                tx.execute(sql, params![one.id, one.turn, true])?;
            }
            How::Forgotten => {
                let sql = "DELETE FROM alert_episodes WHERE id = $1 AND turn = $2 AND state = 'withdrawn'";
                if tx.execute(sql, params![one.id, one.turn])? > 0 {
                    tx.execute("DELETE FROM alert_suppressed WHERE episode = $1", params![one.id])?;
                    tx.execute("DELETE FROM alert_said WHERE episode = $1", params![one.id])?;
                }
            }
        }
    }
    Ok(())
}

/// What waits longest for a way.
pub(crate) fn next(connection: &Connection<'_>, host: &Host, way: &str) -> Result<Option<Waiting>, SqlError> {
    connection.query_one(
        "SELECT d.notice, d.made_at, d.attempts, n.body FROM alert_deliveries d JOIN alert_notices n ON n.id = d.notice
         WHERE d.state = 'waiting' AND d.way = $1 ORDER BY d.turn LIMIT 1",
        params![way],
        |row| {
            let notice: NoticeId = row.get(0)?;
            let sealed: Vec<u8> = row.get(3)?;
            Ok(Waiting { notice, made_at: row.get(1)?, attempts: row.get(2)?, body: body(host, notice, &sealed) })
        },
    )
}

/// Opens what a notice says.
pub(crate) fn body(host: &Host, notice: NoticeId, sealed: &[u8]) -> Option<Body> {
    let row = notice.to_string();
    let place = Place { table: "alert_notices", column: "body", row: &row };
    serde_json::from_slice(&unseal(host, place, sealed).ok()?).ok()
}

/// Writes down what became of an attempt.
pub(crate) fn tried(
    tx: &Transaction<'_>,
    host: &Host,
    notice: NoticeId,
    way: &str,
    now: Timestamp,
    attempt: &Attempt,
) -> Result<(), SqlError> {
    let (state, error) = match attempt {
        Attempt::Sent => ("sent", None),
        Attempt::Failed(error) => ("waiting", Some(sealed_error(host, notice, way, error))),
        Attempt::Dead(error) => ("dead", Some(sealed_error(host, notice, way, error))),
    };
    tx.execute(
        "UPDATE alert_deliveries SET state = $3, attempts = attempts + 1, tried_at = $4, error = $5
         WHERE notice = $1 AND way = $2 AND state = 'waiting'",
        params![notice, way, state, now, error],
    )?;
    Ok(())
}

/// Deliveries on ways that the configuration has no more are dead: nobody would ever try them.
pub(crate) fn bury(tx: &Transaction<'_>, host: &Host, config: &Config) -> Result<usize, SqlError> {
    let waiting =
        tx.query("SELECT notice, way FROM alert_deliveries WHERE state = 'waiting'", params![], |row| {
            Ok((row.get::<NoticeId>(0)?, row.get::<String>(1)?))
        })?;
    let mut buried = 0;
    for (notice, way) in waiting {
        if config.ways().any(|known| known.key == way) {
            continue;
        }
        let error = sealed_error(host, notice, &way, "the configuration has no such receiver any more");
        buried += tx.execute(
            "UPDATE alert_deliveries SET state = 'dead', error = $3 WHERE notice = $1 AND way = $2",
            params![notice, way, error],
        )?;
    }
    Ok(buried)
}

fn sealed_error(host: &Host, notice: NoticeId, way: &str, error: &str) -> Vec<u8> {
    let end =
        (0..=error.len().min(ERROR_BYTES_MAX)).rev().find(|at| error.is_char_boundary(*at)).unwrap_or(0);
    let row = format!("{notice}/{way}");
    seal(host, Place { table: "alert_deliveries", column: "error", row: &row }, &error.as_bytes()[..end])
}

/// Opens what the last attempt said.
pub(crate) fn error(host: &Host, notice: NoticeId, way: &str, sealed: Option<Vec<u8>>) -> Option<String> {
    let row = format!("{notice}/{way}");
    let place = Place { table: "alert_deliveries", column: "error", row: &row };
    let opened = unseal(host, place, &sealed?).ok()?;
    String::from_utf8(opened.to_vec()).ok()
}
