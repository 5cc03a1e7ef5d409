//! What operators ask: which episodes there are, why one was told to whom or not, what lies in the inbox, what could not be
//! delivered.
//!
//! Not here: changes (`act`). The law: an answer is a page, bounded by [`PAGE_MAX`]; the next one begins behind the last row
//! of this one, whatever was added meanwhile.

use catalog::{Connection, ReadError, Row, SqlError, ToValue, params, unseal};
use host::Host;
use model::Timestamp;

use crate::delivery::{Letter, lines, title};
use crate::store::episodes::{self, COLUMNS, Stored};
use crate::store::{outbox, silences};
use crate::{Alerts, Cause, Episode, EpisodeId, NoticeId, Sight, Silence, State, Why};

/// Most rows of a page.
pub const PAGE_MAX: usize = 1_000;

/// Pages that are looked through for one page of what a sight sees: who sees little gets what was found so far, an empty page too,
/// and where to go on.
const LOOKED_THROUGH_MAX: usize = 20;

/// An episode as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Its id.
    pub id: EpisodeId,
    /// What it is and says.
    pub episode: Episode,
    /// Where it stands.
    pub state: State,
    /// When it last changed, by the server's clock.
    pub changed_at: Timestamp,
    /// When somebody took it on, and who.
    pub acknowledged: Option<(Timestamp, String)>,
}

/// Which episodes are asked for.
#[derive(Debug, Clone, Default)]
pub struct EpisodeFilter {
    /// In this state; firing and resolved ones by default.
    pub state: Option<State>,
    /// Of this rule.
    pub rule: Option<String>,
    /// Of this device.
    pub device: Option<String>,
    /// Late ones, or those that are not.
    pub late: Option<bool>,
    /// Acknowledged ones, or those that are not.
    pub acknowledged: Option<bool>,
    /// Fired not before.
    pub since: Option<Timestamp>,
    /// Fired before.
    pub until: Option<Timestamp>,
    /// As far as somebody sees; all of them when it is not said.
    pub sight: Option<Sight>,
}

/// An episode with everything that was and was not said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The episode.
    pub shown: Shown,
    /// What each receiver was told, in order.
    pub said: Vec<Said>,
    /// What was not told, and why.
    pub suppressed: Vec<Suppressed>,
}

/// What a receiver was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Whom.
    pub receiver: String,
    /// `firing`, `resolved`, `retracted`, or `reopened`: nothing new, it continues what was told.
    pub transition: String,
    /// When.
    pub at: Timestamp,
    /// By which notice; none for `reopened`.
    pub notice: Option<NoticeId>,
    /// What became of the notice on each way.
    pub deliveries: Vec<Delivery>,
}

/// A notice on one way.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Which notice.
    pub notice: NoticeId,
    /// Which way: `ops/email/0`.
    pub way: String,
    /// `waiting`, `sent` or `dead`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u64,
    /// When the notice was made.
    pub made_at: Timestamp,
    /// When it was last tried.
    pub tried_at: Option<Timestamp>,
    /// What the last attempt said.
    pub error: Option<String>,
}

/// Why something was not told.
#[derive(Debug, Clone, PartialEq)]
pub struct Suppressed {
    /// To whom.
    pub receiver: String,
    /// Why.
    pub why: Why,
    /// By what.
    pub detail: String,
    /// First when.
    pub first_at: Timestamp,
    /// Last when.
    pub last_at: Timestamp,
}

/// A notice in the inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxEntry {
    /// Which notice.
    pub notice: NoticeId,
    /// To whom.
    pub receiver: String,
    /// Why it was made.
    pub cause: Cause,
    /// When.
    pub made_at: Timestamp,
    /// How many of its alerts were firing.
    pub firing: u64,
    /// How many were over.
    pub resolved: u64,
    /// In one line.
    pub title: String,
    /// A line per alert.
    pub lines: Vec<String>,
}

/// A way to a receiver, and what lies on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayStatus {
    /// Whose way it is; `None`: the configuration in force has it no more.
    pub receiver: Option<String>,
    /// Its name: `ops/email/0`.
    pub way: String,
    /// `email`, `webhook`, `slack`, `mqtt` or `inbox`.
    pub kind: String,
    /// Notices that wait for it.
    pub waiting: u64,
    /// Notices that it was never rid of.
    pub dead: u64,
}

impl Alerts {
    /// The ways of the configuration in force, and others on which something lies.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn ways(&self) -> Result<Vec<WayStatus>, ReadError> {
        let config = self.config();
        let lying: Vec<(String, String, String, u64)> = self
            .catalog()
            .read_async::<_, ReadError>(move |connection| {
                Ok(connection.query(
                    "SELECT way, kind, state, count(*) FROM alert_deliveries WHERE state IN ('waiting', 'dead')
                     GROUP BY way, kind, state ORDER BY way",
                    params![],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
                )?)
            })
            .await?;
        let mut ways: Vec<WayStatus> = Vec::new();
        for name in config.receivers() {
            let receiver = config.receiver(name).into_iter();
            ways.extend(receiver.flat_map(|receiver| &receiver.ways).map(|way| WayStatus {
                receiver: Some(name.to_owned()),
                way: way.key.clone(),
                kind: way.kind.name().to_owned(),
                waiting: 0,
                dead: 0,
            }));
        }
        for (way, kind, state, count) in lying {
            let at = ways.iter().position(|known| known.way == way).unwrap_or_else(|| {
                ways.push(WayStatus { receiver: None, way, kind, waiting: 0, dead: 0 });
                ways.len() - 1
            });
            match state.as_str() {
                "waiting" => ways[at].waiting += count,
                _ => ways[at].dead += count,
            }
        }
        Ok(ways)
    }

    /// A page of episodes, the last fired first, and behind what the next page begins.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn episodes(
        &self,
        filter: EpisodeFilter,
        after: Option<(Timestamp, EpisodeId)>,
        limit: usize,
    ) -> Result<(Vec<Shown>, Option<(Timestamp, EpisodeId)>), ReadError> {
        let host = self.host().clone();
        let limit = limit.clamp(1, PAGE_MAX);
        let found = self.catalog().read_async::<_, ReadError>(move |connection| {
            Ok(page(connection, &host, &filter, after, limit + 1)?)
        });
        let (mut found, looked_to) = found.await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| (last.episode.fired_at, last.id));
        Ok((found, next.or(looked_to)))
    }

    /// One episode, with everything that was and was not said of it; `None` when there is none.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn explain(&self, id: EpisodeId) -> Result<Option<Explained>, ReadError> {
        let host = self.host().clone();
        self.catalog()
            .read_async::<_, ReadError>(move |connection| {
                let Some(shown) = episodes::one(connection, &host, id)?.and_then(shown) else { return Ok(None) };
                let mut said = connection.query(
                    "SELECT receiver, transition, at, notice FROM alert_said WHERE episode = $1 ORDER BY turn",
                    params![id],
                    |row| {
                        let notice: Vec<u8> = row.get(3)?;
                        Ok(Said {
                            receiver: row.get(0)?,
                            transition: row.get(1)?,
                            at: row.get(2)?,
                            notice: notice.try_into().ok().map(NoticeId),
                            deliveries: Vec::new(),
                        })
                    },
                )?;
                for one in &mut said {
                    if let Some(notice) = one.notice {
                        let sql = format!("SELECT {DELIVERY} WHERE notice = $1 ORDER BY way");
                        one.deliveries = connection.query(&sql, params![notice], |row| delivery(&host, row))?;
                    }
                }
                let suppressed = connection.query(
                    "SELECT receiver, reason, detail, first_at, last_at FROM alert_suppressed
                     WHERE episode = $1 ORDER BY first_at, receiver, reason",
                    params![id],
                    |row| suppressed(&host, id, row),
                )?;
                Ok(Some(Explained { shown, said, suppressed: suppressed.into_iter().flatten().collect() }))
            })
            .await
    }

    /// The silences in force or to come, by their ends; with those that are over when `all`. At most [`PAGE_MAX`], those that end last;
    /// with a `sight` of those that lie wholly within it.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn silences(&self, all: bool, sight: Option<Sight>) -> Result<Vec<Silence>, ReadError> {
        let host = self.host().clone();
        let since = if all { Timestamp::from_micros(i64::MIN) } else { host.clock.now() };
        self.catalog()
            .read_async::<_, ReadError>(move |connection| {
                let is_seen =
                    |silence: &Silence| sight.as_ref().is_none_or(|sight| sight.sees_silence(silence));
                Ok(silences::ending_after_of(connection, &host, since, PAGE_MAX, is_seen)?)
            })
            .await
    }

    /// One silence, whether it is in force or over.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn one_silence(&self, id: &str) -> Result<Option<Silence>, ReadError> {
        let (host, id) = (self.host().clone(), id.to_owned());
        self.catalog()
            .read_async::<_, ReadError>(move |connection| Ok(silences::one(connection, &host, &id)?))
            .await
    }

    /// A page of the inbox, newest first, and behind what the next page begins. With a `sight` a notice is what it says of
    /// alerts that are seen, and one that says nothing of any is not there.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn inbox(
        &self,
        sight: Option<Sight>,
        after: Option<(Timestamp, NoticeId)>,
        limit: usize,
    ) -> Result<(Vec<InboxEntry>, Option<(Timestamp, NoticeId)>), ReadError> {
        let host = self.host().clone();
        let limit = limit.clamp(1, PAGE_MAX);
        let found = self.catalog().read_async::<_, ReadError>(move |connection| {
            let sight = sight.filter(|sight| !sight.is_everywhere());
            let (mut found, mut after) = (Vec::new(), after);
            for _ in 0..LOOKED_THROUGH_MAX {
                let page = if sight.is_some() { PAGE_MAX } else { limit + 1 };
                let (at, id) = after.unwrap_or((Timestamp::from_micros(i64::MAX), NoticeId([0xff; 16])));
                let rows = connection.query(
                    "SELECT n.id, n.receiver, n.cause, n.made_at, n.firing, n.resolved, n.body FROM alert_notices n
                     WHERE (n.made_at < $1 OR (n.made_at = $1 AND n.id < $2))
                       AND EXISTS (SELECT 1 FROM alert_deliveries d WHERE d.notice = n.id AND d.kind = 'inbox')
                     ORDER BY n.made_at DESC, n.id DESC LIMIT $3",
                    params![at, id, page],
                    |row| Ok((row.get(3)?, row.get(0)?, entry(&host, sight.as_ref(), row)?)),
                )?;
                let is_last = rows.len() < page;
                after = rows.last().map(|(at, id, _)| (*at, *id));
                found.extend(rows.into_iter().filter_map(|(_, _, entry)| entry));
                if is_last || found.len() > limit {
                    return Ok((found, None));
                }
            }
            Ok((found, after))
        });
        let (mut found, looked_to) = found.await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| (last.made_at, last.notice));
        Ok((found, next.or(looked_to)))
    }

    /// What could not be delivered, oldest first, at most [`PAGE_MAX`].
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn dead_letters(&self) -> Result<Vec<Delivery>, ReadError> {
        self.in_state("dead").await
    }

    /// What waits to be delivered, in the order of its making, at most [`PAGE_MAX`].
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn waiting(&self) -> Result<Vec<Delivery>, ReadError> {
        self.in_state("waiting").await
    }

    async fn in_state(&self, state: &'static str) -> Result<Vec<Delivery>, ReadError> {
        let host = self.host().clone();
        self.catalog()
            .read_async::<_, ReadError>(move |connection| {
                let sql = format!("SELECT {DELIVERY} WHERE state = $1 ORDER BY turn, way LIMIT $2");
                Ok(connection.query(&sql, params![state, PAGE_MAX], |row| delivery(&host, row))?)
            })
            .await
    }

    /// Every episode that fired and stands, at most `limit`, the last fired first: for the SQL table `alerts`. Blocks.
    ///
    /// # Errors
    /// What the catalog says.
    pub fn standing(&self, limit: usize) -> Result<Vec<Shown>, ReadError> {
        let host = self.host().clone();
        let filter = EpisodeFilter::default();
        self.catalog().read::<_, ReadError>(|connection| Ok(page(connection, &host, &filter, None, limit)?.0))
    }
}

const DELIVERY: &str = "notice, way, state, attempts, made_at, tried_at, error FROM alert_deliveries";

fn delivery(host: &Host, row: &Row<'_>) -> Result<Delivery, SqlError> {
    let (notice, way): (NoticeId, String) = (row.get(0)?, row.get(1)?);
    Ok(Delivery {
        error: outbox::error(host, notice, &way, row.get(6)?),
        notice,
        way,
        state: row.get(2)?,
        attempts: row.get(3)?,
        made_at: row.get(4)?,
        tried_at: row.get(5)?,
    })
}

fn suppressed(host: &Host, id: EpisodeId, row: &Row<'_>) -> Result<Option<Suppressed>, SqlError> {
    let (receiver, reason, sealed): (String, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let Some(why) = Why::from_name(&reason) else { return Ok(None) };
    let place = format!("{id}/{receiver}/{reason}");
    let opened =
        unseal(host, catalog::Place { table: "alert_suppressed", column: "detail", row: &place }, &sealed);
    let detail = opened.ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()).unwrap_or_default();
    Ok(Some(Suppressed { receiver, why, detail, first_at: row.get(3)?, last_at: row.get(4)? }))
}

/// What a notice says, to whom this sight is; `None` when that is nothing.
fn entry(host: &Host, sight: Option<&Sight>, row: &Row<'_>) -> Result<Option<InboxEntry>, SqlError> {
    let notice: NoticeId = row.get(0)?;
    let (made_at, sealed): (Timestamp, Vec<u8>) = (row.get(3)?, row.get(6)?);
    let (mut firing, mut resolved) = (row.get(4)?, row.get(5)?);
    let mut body = outbox::body(host, notice, &sealed);
    if let Some(sight) = sight {
        let Some(body) = &mut body else { return Ok(None) };
        body.alerts.retain(|told| sight.sees(&told.key));
        if body.alerts.is_empty() {
            return Ok(None);
        }
        // Of those that are left out nobody knows any more whose they are.
        body.left_out = 0;
        body.firing = body.alerts.iter().filter(|told| told.state == "firing").count() as u64;
        body.resolved = body.alerts.len() as u64 - body.firing;
        (firing, resolved) = (body.firing, body.resolved);
    }
    let (title, lines) = match &body {
        Some(body) => {
            let letter = Letter { id: notice, made_at, body, alerts_max: 100, now: made_at };
            (title(body), lines(&letter))
        }
        None => ("what it says does not open".to_owned(), Vec::new()),
    };
    Ok(Some(InboxEntry {
        notice,
        receiver: row.get(1)?,
        cause: Cause::from_name(&row.get::<String>(2)?).unwrap_or(Cause::News),
        made_at,
        firing,
        resolved,
        title,
        lines,
    }))
}

fn shown(stored: Stored) -> Option<Shown> {
    let state = State::from_name(&stored.state)?;
    let Stored { id, episode, changed_at, acknowledged, .. } = stored;
    Some(Shown { id, episode, state, changed_at, acknowledged })
}

/// Where the next page begins: behind this row.
type Cursor = (Timestamp, EpisodeId);

/// Episodes whose row says a state that people know, the last fired first; and where looking ended, when there may be more.
fn page(
    connection: &Connection<'_>,
    host: &Host,
    filter: &EpisodeFilter,
    mut after: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<Shown>, Option<Cursor>), SqlError> {
    let Some(sight) = filter.sight.as_ref().filter(|sight| !sight.is_everywhere()) else {
        let found =
            rows(connection, COLUMNS, filter, after, limit, |row| Ok(shown(episodes::stored(host, row)?)))?;
        return Ok((found.into_iter().flatten().collect(), None));
    };
    // Where a device is no table of this room knows: keys are looked through, and only what is seen is opened.
    let mut found = Vec::new();
    for _ in 0..LOOKED_THROUGH_MAX {
        let keys = rows(connection, "id, fired_at, key", filter, after, PAGE_MAX, |row| {
            Ok((row.get::<EpisodeId>(0)?, row.get::<Timestamp>(1)?, row.get::<String>(2)?))
        })?;
        let is_last = keys.len() < PAGE_MAX;
        after = keys.last().map(|(id, at, _)| (*at, *id));
        for (id, _, key) in keys {
            if serde_json::from_str(&key).is_ok_and(|key| sight.sees(&key)) {
                found.extend(episodes::one(connection, host, id)?.and_then(shown));
                if found.len() == limit {
                    return Ok((found, None));
                }
            }
        }
        if is_last {
            return Ok((found, None));
        }
    }
    Ok((found, after))
}

/// Rows of episodes, the last fired first.
fn rows<T>(
    connection: &Connection<'_>,
    columns: &str,
    filter: &EpisodeFilter,
    after: Option<(Timestamp, EpisodeId)>,
    limit: usize,
    read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
) -> Result<Vec<T>, SqlError> {
    let mut wheres: Vec<String> = Vec::new();
    let mut values: Vec<Box<dyn ToValue>> = Vec::new();
    let mut bind = |condition: &dyn Fn(usize) -> String, value: Box<dyn ToValue>| {
        values.push(value);
        wheres.push(condition(values.len()));
    };
    match filter.state {
        Some(state) => bind(&|n| format!("state = ${n}"), Box::new(state.name())),
        None => bind(&|n| format!("state IN ('firing', ${n})"), Box::new("resolved")),
    }
    if let Some(rule) = &filter.rule {
        bind(&|n| format!("rule = ${n}"), Box::new(rule.clone()));
    }
    if let Some(device) = &filter.device {
        // The key is JSON, written by one writer: this is how a device stands in it.
        let entry = format!("\"device\":{}", serde_json::Value::from(device.as_str()));
        bind(&|n| format!("replace(key, ${n}, '') <> key"), Box::new(entry));
    }
    if let Some(late) = filter.late {
        bind(&|n| format!("late = ${n}"), Box::new(late));
    }
    if let Some(since) = filter.since {
        bind(&|n| format!("fired_at >= ${n}"), Box::new(since));
    }
    if let Some(until) = filter.until {
        bind(&|n| format!("fired_at < ${n}"), Box::new(until));
    }
    if let Some((at, id)) = after {
        bind(&|n| format!("fired_at <= ${n}"), Box::new(at));
        bind(&|n| format!("(fired_at, id) < (${}, ${n})", n - 1), Box::new(id));
    }
    let acknowledged = match filter.acknowledged {
        Some(true) => " AND acknowledged_at IS NOT NULL",
        Some(false) => " AND acknowledged_at IS NULL",
        None => "",
    };
    values.push(Box::new(limit));
    let sql = format!(
        "SELECT {columns} FROM alert_episodes WHERE {}{acknowledged} ORDER BY fired_at DESC, id DESC LIMIT ${}",
        wheres.join(" AND "),
        values.len()
    );
    let params: Vec<&dyn ToValue> = values.iter().map(|value| &**value).collect();
    connection.query(&sql, &params, read)
}
