//! Sessions on disk: what outlives the process of every session that outlives its connection, of its groups, and wills.
//!
//! Not here: how they come back ([`restore`](crate::restore)), bytes ([`form`]). The laws:
//!
//! - A session and its subscriptions are durable before their answers (CONNACK, SUBACK, UNSUBACK); a release of a QoS 2
//!   packet id before PUBCOMP; packet id and `seq` of a QoS 2 message before its PUBLISH, and that the client has it before PUBREL.
//! - Queues are lists of `seq`, saved at intervals together with the position in the journal that they are as of, all in
//!   one transaction: after a crash one scan from that position matches the rest again. Of a long queue only what changed is
//!   written ([`backlog`](crate::backlog)).
//! - Queues pin nothing: a `seq` that retention took is counted when it is missed.
//!
//! ```sql
//! broker_sessions (id, client_id, principal, principal_name, device, version, expiry_s, ends_at, since,
//!                  filters, filters_revision, queue, owed)    ends_at: NULL while connected; device: NULL when it is none's
//! broker_released (session, packet_id, seq)                   PUBREL came for the message with this record
//! broker_outgoing (session, serial, is_received, delivery)    QoS 2 on its way out
//! broker_backlog  (owner, chunk, first, entries)              what waits, of a session or a group
//! broker_groups   (id, name, since, head, ends, returned)     shared subscriptions
//! broker_wills    (id, client_id, principal, principal_name, session, due, packet, is_sealed, password, token)
//!                 due: NULL while connected; packet: sealed, in the clear where an older version wrote it;
//!                 password, token: by which secret it was left, NULL where an older version wrote it
//! ```

mod form;
mod load;

use std::sync::Arc;

use catalog::{Transaction, WriteError, params};
use hashbrown::HashMap;
use identity::SecretRef;
use model::{Principal, Timestamp};
use mqtt::Version;

use crate::at_rest;
use crate::backlog::{Changes, Chunk};
use crate::group;
use crate::outbox::{Saved, Steps};
use crate::session::{self, Owed, Session};
use crate::shared::Shared;
use crate::will::Will;

use self::load::ClearWill;
pub(crate) use self::load::{GroupRow, Loaded, Released, Row, WillRow, load};

/// The name under which the journal and the table of positions know it.
pub(crate) const CONSUMER: &str = "broker.sessions";

/// The table of wills, as what is sealed in it is bound to it.
const WILLS: &str = "broker_wills";

/// The tables of sessions.
pub(crate) const SQL: &str = "
    CREATE TABLE broker_sessions (
        id BIGINT PRIMARY KEY, client_id TEXT NOT NULL UNIQUE, principal BIGINT NOT NULL,
        principal_name BYTEA NOT NULL, version BIGINT NOT NULL, expiry_s BIGINT NOT NULL, ends_at BIGINT,
        since BIGINT NOT NULL, filters BYTEA NOT NULL, filters_revision BIGINT NOT NULL, queue BYTEA NOT NULL);
    CREATE TABLE broker_released (
        session BIGINT NOT NULL, packet_id BIGINT NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (session, packet_id));
";

/// The tables that came later: queues in chunks, QoS 2 on its way out, groups, wills.
pub(crate) const SQL_STEPS: &str = "
    ALTER TABLE broker_sessions ADD COLUMN owed BYTEA;
    CREATE TABLE broker_outgoing (
        session BIGINT NOT NULL, serial BIGINT NOT NULL, is_received BIGINT NOT NULL, delivery BYTEA NOT NULL,
        PRIMARY KEY (session, serial));
    CREATE TABLE broker_backlog (
        owner BIGINT NOT NULL, chunk BIGINT NOT NULL, first BIGINT NOT NULL, entries BYTEA NOT NULL,
        PRIMARY KEY (owner, chunk));
    CREATE TABLE broker_groups (
        id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, since BIGINT NOT NULL, head BIGINT NOT NULL,
        ends BIGINT NOT NULL, returned BYTEA NOT NULL);
    CREATE TABLE broker_wills (
        id BIGINT PRIMARY KEY, client_id TEXT NOT NULL, principal BIGINT NOT NULL, principal_name BYTEA NOT NULL,
        session BIGINT NOT NULL, due BIGINT, packet BYTEA NOT NULL);
";

/// One client id may have a session of each owner.
pub(crate) const SQL_OWNERS: &str = "
    CREATE TABLE broker_sessions_of_owners (
        id BIGINT PRIMARY KEY, client_id TEXT NOT NULL, principal BIGINT NOT NULL, principal_name BYTEA NOT NULL, device TEXT,
        version BIGINT NOT NULL, expiry_s BIGINT NOT NULL, ends_at BIGINT, since BIGINT NOT NULL,
        filters BYTEA NOT NULL, filters_revision BIGINT NOT NULL, queue BYTEA NOT NULL, owed BYTEA);
    INSERT INTO broker_sessions_of_owners (id, client_id, principal, principal_name, device, version, expiry_s, ends_at, since,
        filters, filters_revision, queue, owed)
        SELECT id, client_id, principal, principal_name, NULL, version, expiry_s, ends_at, since,
            filters, filters_revision, queue, owed FROM broker_sessions;
    DROP TABLE broker_sessions;
    ALTER TABLE broker_sessions_of_owners RENAME TO broker_sessions;
    CREATE INDEX broker_sessions_client ON broker_sessions (client_id);
";

/// What of a session changed since it was saved last, as of one moment.
pub(crate) struct Snapshot {
    pub(crate) session: Arc<Session>,
    pub(crate) version: Version,
    pub(crate) expiry_s: u32,
    pub(crate) ends_at: Option<Timestamp>,
    pub(crate) outbox: Saved,
    pub(crate) incoming: Vec<(u16, u64)>,
    pub(crate) owed: Vec<Owed>,
    pub(crate) filters_revision: u64,
    /// Releases whose effect is in this: their rows are needed no more.
    pub(crate) released: Vec<(u16, u64)>,
}

/// Makes the row of a new session, in place of an older one of its owner and client id, and of the row `over`; durable when it
/// returns.
pub(crate) async fn create(shared: &Shared, session: &Session, over: Option<u64>) -> Result<(), WriteError> {
    let (id, client_id, since) = (session.id, session.client_id.to_string(), session.since);
    let device = session.owner.device().map(ToString::to_string);
    let ((kind, name), version, expiry_s) = {
        let state = session.state();
        (principal(&state.who.principal), state.version, state.expiry_s)
    };
    let empty = (form::filters(&HashMap::new()), form::queue(&Saved::default(), &[]));
    let write = move |transaction: &Transaction<'_>| {
        let older = "SELECT id FROM broker_sessions WHERE client_id = $1
            AND (device = $2 OR (device IS NULL AND principal = $3 AND principal_name = $4))";
        let older = transaction.query(older, params![client_id, device, kind, name], |row| row.get(0))?;
        for older in older.into_iter().chain(over) {
            forget(transaction, older)?;
        }
        transaction.execute(
            "INSERT INTO broker_sessions (id, client_id, principal, principal_name, device, version, expiry_s, ends_at, since,
               filters, filters_revision, queue) VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, $8, $9, 0, $10)",
            params![id, client_id, kind, name, device, version.level(), expiry_s, since, empty.0, empty.1],
        )?;
        Ok(())
    };
    shared.catalog.write(write).await
}

/// Notes who goes on with a session; durable when it returns.
pub(crate) async fn save_proof(shared: &Shared, session: &Session) -> Result<(), WriteError> {
    let (id, device) = (session.id, session.owner.device().map(ToString::to_string));
    let (kind, name) = principal(&session.state().who.principal);
    let write = move |transaction: &Transaction<'_>| {
        transaction.execute(
            "UPDATE broker_sessions SET principal = $2, principal_name = $3, device = $4 WHERE id = $1",
            params![id, kind, name, device],
        )?;
        Ok(())
    };
    shared.catalog.write(write).await
}

/// Takes the row of a session away.
pub(crate) async fn remove(shared: &Shared, id: u64) -> Result<(), WriteError> {
    shared.catalog.write(move |transaction| forget(transaction, id)).await
}

fn forget(transaction: &Transaction<'_>, id: u64) -> Result<(), WriteError> {
    for sql in [
        "DELETE FROM broker_released WHERE session = $1",
        "DELETE FROM broker_outgoing WHERE session = $1",
        "DELETE FROM broker_backlog WHERE owner = $1",
        "DELETE FROM broker_sessions WHERE id = $1",
    ] {
        transaction.execute(sql, params![id])?;
    }
    Ok(())
}

/// The subscriptions of a session, as they are to be saved.
pub(crate) struct Subscribed {
    filters: Vec<u8>,
    owed: Vec<u8>,
    revision: u64,
    /// Row, name and beginning of its groups.
    groups: Vec<(u64, String, u64)>,
}

impl Subscribed {
    /// As they stand, and newer than any before.
    pub(crate) fn of(state: &mut session::State) -> Self {
        state.filters_revision += 1;
        let groups = state.groups.iter().map(|group| (group.id(), group.name.to_string(), group.since));
        Self {
            filters: form::filters(&state.filters),
            owed: form::owed(&state.owed),
            revision: state.filters_revision,
            groups: groups.collect(),
        }
    }
}

/// Saves the subscriptions of a session. An older list never replaces a newer one.
pub(crate) async fn save_filters(shared: &Shared, id: u64, subscribed: Subscribed) -> Result<(), WriteError> {
    let Subscribed { filters, owed, revision, groups } = subscribed;
    let write = move |transaction: &Transaction<'_>| {
        transaction.execute(
            "UPDATE broker_sessions SET filters = $2, filters_revision = $3, owed = $4
             WHERE id = $1 AND filters_revision < $3",
            params![id, filters, revision, owed],
        )?;
        for (id, name, since) in &groups {
            // Another one of this name is over.
            transaction
                .execute("DELETE FROM broker_groups WHERE name = $1 AND id <> $2", params![name, id])?;
            transaction.execute(
                "INSERT INTO broker_groups (id, name, since, head, ends, returned) VALUES ($1, $2, $3, 0, 0, $4)
                 ON CONFLICT (id) DO NOTHING",
                params![id, name, since, Vec::<u8>::new()],
            )?;
        }
        Ok(())
    };
    shared.catalog.write(write).await
}

/// Takes the row of a group away.
pub(crate) async fn remove_group(shared: &Shared, id: u64) -> Result<(), WriteError> {
    let write = move |transaction: &Transaction<'_>| {
        transaction.execute("DELETE FROM broker_backlog WHERE owner = $1", params![id])?;
        transaction.execute("DELETE FROM broker_groups WHERE id = $1", params![id])?;
        Ok(())
    };
    shared.catalog.write(write).await
}

/// Puts steps of QoS 2 on its way out on record.
pub(crate) async fn record(shared: &Shared, id: u64, steps: Steps) -> Result<(), WriteError> {
    let Steps { begun, received } = steps;
    let begun: Vec<_> = begun.into_iter().map(|(serial, left)| (serial, form::delivery(&left))).collect();
    let write = move |transaction: &Transaction<'_>| {
        for (serial, delivery) in &begun {
            transaction.execute(
                "INSERT INTO broker_outgoing (session, serial, is_received, delivery) VALUES ($1, $2, 0, $3)
                 ON CONFLICT (session, serial) DO NOTHING",
                params![id, *serial, *delivery],
            )?;
        }
        for serial in &received {
            transaction.execute(
                "UPDATE broker_outgoing SET is_received = 1 WHERE session = $1 AND serial = $2",
                params![id, *serial],
            )?;
        }
        Ok(())
    };
    shared.catalog.write(write).await
}

/// A will, as it is to be saved.
pub(crate) struct KeptWill {
    pub(crate) id: u64,
    client_id: String,
    principal: (u8, Vec<u8>),
    secret: SecretRef,
    packet: Vec<u8>,
}

impl KeptWill {
    pub(crate) fn of(will: &Will) -> Self {
        Self {
            id: will.row,
            client_id: will.origin.client_id.to_string(),
            principal: principal(&will.origin.principal),
            secret: will.who.secret(),
            packet: form::will(&will.will),
        }
    }
}

/// Makes a will durable: of the session with the row `session`, or (0) of one that ends with its connection.
pub(crate) async fn keep_will(shared: &Shared, will: KeptWill, session: u64) -> Result<(), WriteError> {
    let KeptWill { id, client_id, principal: (kind, name), secret, packet } = will;
    let packet = at_rest::seal(&shared.host, WILLS, &id.to_string(), &packet);
    let write = move |transaction: &Transaction<'_>| {
        transaction.execute(
            "INSERT INTO broker_wills
               (id, client_id, principal, principal_name, session, due, packet, is_sealed, password, token)
             VALUES ($1, $2, $3, $4, $5, NULL, $6, 1, $7, $8)",
            params![id, client_id, kind, name, session, packet, secret.password, secret.token],
        )?;
        Ok(())
    };
    shared.catalog.write(write).await
}

/// Wills that an older version wrote in the clear are written anew, sealed.
pub(crate) async fn seal_wills(shared: &Shared, clear: Vec<ClearWill>) -> Result<(), WriteError> {
    let seal = |(id, packet): ClearWill| (id, at_rest::seal(&shared.host, WILLS, &id.to_string(), &packet));
    let sealed: Vec<_> = clear.into_iter().map(seal).collect();
    let write = move |transaction: &Transaction<'_>| {
        for (id, packet) in &sealed {
            let sql = "UPDATE broker_wills SET packet = $2, is_sealed = 1 WHERE id = $1 AND is_sealed = 0";
            transaction.execute(sql, params![*id, packet])?;
        }
        Ok(())
    };
    shared.catalog.write(write).await
}

/// The server stops: no will of those who are connected is published for it, and those that wait for their moment keep it.
pub(crate) async fn settle_wills(shared: &Shared, waiting: Vec<(u64, Timestamp)>) -> Result<(), WriteError> {
    let write = move |transaction: &Transaction<'_>| {
        for (id, due) in &waiting {
            transaction.execute("UPDATE broker_wills SET due = $2 WHERE id = $1", params![*id, *due])?;
        }
        transaction.execute("DELETE FROM broker_wills WHERE due IS NULL", params![])?;
        Ok(())
    };
    shared.catalog.write(write).await
}

/// A will is published, or not to be; or it is to be published at `due`.
pub(crate) async fn settle_will(shared: &Shared, id: u64, due: Option<Timestamp>) -> Result<(), WriteError> {
    let write = move |transaction: &Transaction<'_>| {
        match due {
            None => transaction.execute("DELETE FROM broker_wills WHERE id = $1", params![id])?,
            Some(due) => {
                transaction.execute("UPDATE broker_wills SET due = $2 WHERE id = $1", params![id, due])?
            }
        };
        Ok(())
    };
    shared.catalog.write(write).await
}

/// Makes releases of QoS 2 packet ids durable: of each the id and the record of its message.
pub(crate) async fn release(shared: &Shared, id: u64, released: Vec<(u16, u64)>) -> Result<(), WriteError> {
    let write = move |transaction: &Transaction<'_>| {
        for (packet_id, seq) in &released {
            transaction.execute(
                "INSERT INTO broker_released (session, packet_id, seq) VALUES ($1, $2, $3)
                 ON CONFLICT (session, packet_id) DO UPDATE SET seq = excluded.seq",
                params![id, *packet_id, *seq],
            )?;
        }
        Ok(())
    };
    shared.catalog.write(write).await
}

/// Saves what changed, as of `position`.
pub(crate) async fn save(
    shared: &Shared,
    sessions: &[Snapshot],
    groups: &[group::Snapshot],
    position: u64,
) -> Result<(), WriteError> {
    struct Change {
        id: u64,
        version: u8,
        expiry_s: u32,
        ends_at: Option<Timestamp>,
        queue: Vec<u8>,
        owed: Vec<u8>,
        revision: u64,
        backlog: Backlog,
        over: Vec<u64>,
        released: Vec<(u16, u64)>,
    }
    let sessions: Vec<_> = sessions
        .iter()
        .map(|snapshot| Change {
            id: snapshot.session.id,
            version: snapshot.version.level(),
            expiry_s: snapshot.expiry_s,
            ends_at: snapshot.ends_at,
            queue: form::queue(&snapshot.outbox, &snapshot.incoming),
            owed: form::owed(&snapshot.owed),
            revision: snapshot.filters_revision,
            backlog: Backlog::of(&snapshot.outbox.backlog),
            over: snapshot.outbox.over.clone(),
            released: snapshot.released.clone(),
        })
        .collect();
    let groups: Vec<_> = groups
        .iter()
        .map(|snapshot| {
            let Changes { head, end, .. } = snapshot.backlog;
            let returned = form::seqs(&snapshot.returned);
            (snapshot.group.id(), head, end, returned, Backlog::of(&snapshot.backlog))
        })
        .collect();
    let write = move |transaction: &Transaction<'_>| {
        for change in &sessions {
            let rows = transaction.execute(
                "UPDATE broker_sessions SET version = $2, expiry_s = $3, ends_at = $4, queue = $5,
                   owed = CASE WHEN filters_revision <= $7 THEN $6 ELSE owed END WHERE id = $1",
                params![
                    change.id,
                    change.version,
                    change.expiry_s,
                    change.ends_at,
                    change.queue,
                    change.owed,
                    change.revision
                ],
            )?;
            if rows == 0 {
                // It ended meanwhile.
                continue;
            }
            change.backlog.write(transaction, change.id)?;
            for serial in &change.over {
                transaction.execute(
                    "DELETE FROM broker_outgoing WHERE session = $1 AND serial = $2",
                    params![change.id, *serial],
                )?;
            }
            for (packet_id, seq) in &change.released {
                transaction.execute(
                    "DELETE FROM broker_released WHERE session = $1 AND packet_id = $2 AND seq = $3",
                    params![change.id, *packet_id, *seq],
                )?;
            }
        }
        for (id, head, end, returned, backlog) in &groups {
            let rows = transaction.execute(
                "UPDATE broker_groups SET head = $2, ends = $3, returned = $4 WHERE id = $1",
                params![*id, *head, *end, *returned],
            )?;
            if rows > 0 {
                backlog.write(transaction, *id)?;
            }
        }
        transaction.execute(
            "INSERT INTO broker_positions (consumer, seq) VALUES ($1, $2)
             ON CONFLICT (consumer) DO UPDATE SET seq = excluded.seq",
            params![CONSUMER, position],
        )?;
        Ok(())
    };
    shared.catalog.write(write).await
}

/// What changed of a backlog, as bytes.
struct Backlog {
    kept: (u64, u64),
    chunks: Vec<(u64, u64, Vec<u8>)>,
}

impl Backlog {
    fn of(changes: &Changes) -> Self {
        let chunk = |chunk: &Chunk| (chunk.chunk, chunk.first, form::deliveries(&chunk.lefts));
        Self { kept: changes.kept(), chunks: changes.chunks.iter().map(chunk).collect() }
    }

    fn write(&self, transaction: &Transaction<'_>, owner: u64) -> Result<(), WriteError> {
        let (from, to) = self.kept;
        transaction.execute(
            "DELETE FROM broker_backlog WHERE owner = $1 AND (chunk < $2 OR chunk >= $3)",
            params![owner, from, to],
        )?;
        for (chunk, first, entries) in &self.chunks {
            transaction.execute(
                "INSERT INTO broker_backlog (owner, chunk, first, entries) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (owner, chunk) DO UPDATE SET first = excluded.first, entries = excluded.entries",
                params![owner, *chunk, *first, *entries],
            )?;
        }
        Ok(())
    }
}

/// Takes away rows of what is no more: written by somebody who had not heard that a session ended.
pub(crate) async fn tidy(shared: &Shared) -> Result<(), WriteError> {
    let write = |transaction: &Transaction<'_>| {
        for sql in [
            "DELETE FROM broker_outgoing WHERE session NOT IN (SELECT id FROM broker_sessions)",
            "DELETE FROM broker_released WHERE session NOT IN (SELECT id FROM broker_sessions)",
            "DELETE FROM broker_backlog WHERE owner NOT IN
               (SELECT id FROM broker_sessions UNION SELECT id FROM broker_groups)",
        ] {
            transaction.execute(sql, params![])?;
        }
        Ok(())
    };
    shared.catalog.write(write).await
}

fn principal(principal: &Principal) -> (u8, Vec<u8>) {
    match principal {
        Principal::Anonymous => (0, Vec::new()),
        Principal::User(name) => (1, name.as_bytes().to_vec()),
        Principal::DevicePassword(name) => (2, name.as_bytes().to_vec()),
        Principal::Certificate(digest) => (3, digest.to_vec()),
        Principal::Inside => (4, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::load::principal_of;
    use super::*;

    #[test]
    fn sessions_of_before_come_back_as_their_principals_and_may_share_a_client_id() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, machine) = (dir.path().join("catalog.db"), host::sim::Machine::new(1));
        let all = crate::archive::MIGRATIONS;
        let row = |id: u64, name: &str| {
            let (queue, filters) = (form::queue(&Saved::default(), &[]), form::filters(&HashMap::new()));
            (id, name.as_bytes().to_vec(), filters, queue)
        };
        let insert = |catalog: &catalog::Catalog, id: u64, name: &str| {
            let (id, name, filters, queue) = row(id, name);
            let sql = "INSERT INTO broker_sessions (id, client_id, principal, principal_name, version, expiry_s, ends_at, since,
                filters, filters_revision, queue) VALUES ($1, 'c', 1, $2, 5, 60, NULL, 7, $3, 2, $4)";
            let write = move |transaction: &Transaction<'_>| {
                transaction.execute(sql, params![id, name, filters, queue])?;
                Ok(())
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(catalog.write(write)).expect("written");
        };
        let host = host::Host { disk: Arc::new(host::SystemDisk), ..machine.host() };
        let catalog = catalog::Catalog::open(&file, &all[..3], &host).expect("as it was");
        insert(&catalog, 1, "u");
        drop(catalog);
        let catalog = catalog::Catalog::open(&file, all, &host).expect("as it is");
        insert(&catalog, 2, "v");
        let mut rows = catalog.read(|connection| load(&host, connection)).expect("read").sessions;
        rows.sort_by_key(|row| row.id);
        let rows: Vec<_> =
            rows.into_iter().map(|row| (row.id, row.principal, row.device, row.since)).collect();
        let user = |name: &'static str| Principal::User(name.into());
        assert_eq!(rows, [(1, user("u"), None, 7), (2, user("v"), None, 7)]);
    }

    #[test]
    fn a_principal_comes_back() {
        for principal_in in
            [Principal::Anonymous, Principal::User("u".into()), Principal::Certificate([7; 32])]
        {
            let (kind, name) = principal(&principal_in);
            assert_eq!(principal_of(kind, &name), Some(principal_in));
        }
    }
}
