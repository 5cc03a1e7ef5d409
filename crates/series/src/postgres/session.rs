//! What one connection has: its variables, its prepared statements, portals and cursors, and the word to cancel.
//!
//! Not here: what a statement does with them (`handler`). The law: everything a client can gather here is bounded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use parking_lot::Mutex;
use pgwire::api::results::QueryResponse;
use tokio::sync::watch;

use super::SqlLogin;
use super::fault::Fault;
use super::settings::PostgresSettings;
use super::socket::Socket;

/// Bytes of all prepared statements of a connection.
const STATEMENT_BYTES_MAX: usize = 2 << 20;

/// Longest value of a variable in bytes.
const VALUE_BYTES_MAX: usize = 1_024;

/// The variables that can be asked for, with what they are at first. Those that the bool says can be set: what they
/// are set to is told when asked, and changes nothing unless [`Session::set`] says so.
const VARIABLES: &[(&str, &str, bool)] = &[
    ("application_name", "", true),
    ("bytea_output", "hex", true),
    ("client_encoding", "UTF8", true),
    ("client_min_messages", "notice", true),
    ("DateStyle", "ISO, YMD", true),
    ("default_transaction_deferrable", "off", true),
    ("default_transaction_isolation", "read committed", true),
    ("default_transaction_read_only", "on", true),
    ("escape_string_warning", "on", true),
    ("extra_float_digits", "1", true),
    ("idle_in_transaction_session_timeout", "0", true),
    ("in_hot_standby", "on", false),
    ("integer_datetimes", "on", false),
    ("IntervalStyle", "postgres", true),
    ("is_superuser", "off", false),
    ("lc_collate", "C", false),
    ("lc_messages", "C", true),
    ("lock_timeout", "0", true),
    ("max_identifier_length", "63", false),
    ("quote_all_identifiers", "off", true),
    ("row_security", "on", true),
    ("search_path", "public", true),
    ("server_encoding", "UTF8", false),
    ("server_version", super::SERVER_VERSION, false),
    ("server_version_num", super::SERVER_VERSION_NUM, false),
    ("session_authorization", "", false),
    ("standard_conforming_strings", "on", true),
    ("statement_timeout", "0", true),
    ("TimeZone", "UTC", true),
    ("transaction_isolation", "read committed", true),
    ("transaction_read_only", "on", true),
];

/// What a client is told of by itself when it changes.
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "search_path",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// What is open on a connection.
#[derive(Default)]
struct Open {
    statements: HashMap<String, usize>,
    portals: HashSet<String>,
}

/// One connection's state, shared by its handlers.
pub(crate) struct Session {
    variables: Mutex<BTreeMap<&'static str, String>>,
    open: Mutex<Open>,
    /// Cursors are taken out while rows are read from them.
    cursors: Mutex<HashMap<String, QueryResponse>>,
    cancel: watch::Sender<u64>,
    socket: Socket,
    /// Who proved to be there, and from where.
    login: OnceLock<SqlLogin>,
    statements_max: usize,
    portals_max: usize,
}

impl Session {
    pub(crate) fn new(socket: Socket, settings: &PostgresSettings) -> Self {
        let variables = VARIABLES.iter().map(|(name, value, _)| (*name, (*value).to_owned())).collect();
        Self {
            variables: Mutex::new(variables),
            open: Mutex::default(),
            cursors: Mutex::default(),
            cancel: watch::Sender::new(0),
            socket,
            login: OnceLock::new(),
            statements_max: settings.statements_max,
            portals_max: settings.portals_max,
        }
    }

    /// Who logged in.
    pub(crate) fn user(&self) -> String {
        self.get("session_authorization").unwrap_or_default()
    }

    /// Who proved to be there, and from where; no variable changes it.
    pub(crate) fn login(&self) -> Option<&SqlLogin> {
        self.login.get()
    }

    pub(crate) fn logged_in(&self, login: SqlLogin) {
        self.variables.lock().insert("session_authorization", login.name.clone());
        let _ = self.login.set(login);
    }

    /// A variable's value; names are the same in any case.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let (name, ..) = variable(name)?;
        self.variables.lock().get(name).cloned()
    }

    /// The name of a variable as it is shown.
    pub(crate) fn shown(name: &str) -> Option<&'static str> {
        variable(name).map(|(name, ..)| *name)
    }

    /// Every variable.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        let variables = self.variables.lock();
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    /// What a client is told after it logged in.
    pub(crate) fn reported(&self) -> Vec<(String, String)> {
        let variables = self.variables.lock();
        REPORTED.iter().map(|name| ((*name).to_owned(), variables[name].clone())).collect()
    }

    /// Sets a variable, or puts it back (`None`). Returns what the client is to be told.
    pub(crate) fn set(&self, name: &str, value: Option<&str>) -> Result<Option<(String, String)>, Fault> {
        let Some((name, first, can_be_set)) = variable(name) else {
            return Err(Fault::new("42704", format!("there is no variable `{name}`"))
                .with_hint("SHOW ALL lists them"));
        };
        let value = value.unwrap_or(first);
        if !can_be_set {
            return Err(Fault::new("55P02", format!("variable `{name}` cannot be changed")));
        }
        let wrong = |hint: &str| {
            let said: String = value.chars().take(64).collect();
            Fault::new("22023", format!("`{said}` is no value for `{name}`")).with_hint(hint)
        };
        if value.len() > VALUE_BYTES_MAX {
            return Err(wrong("it is longer than 1,024 bytes"));
        }
        let lower = value.to_ascii_lowercase();
        let value = match *name {
            "client_encoding" => match lower.replace(['-', '_'], "").as_str() {
                "utf8" | "unicode" => "UTF8".to_owned(),
                _ => return Err(wrong("answers are UTF8")),
            },
            "DateStyle" if !lower.starts_with("iso") => return Err(wrong("moments are written as ISO")),
            "DateStyle" => "ISO, YMD".to_owned(),
            "IntervalStyle" if lower != "postgres" => {
                return Err(wrong("intervals are written as `postgres`"));
            }
            "bytea_output" if lower != "hex" => return Err(wrong("bytes are written as `hex`")),
            "standard_conforming_strings" if !is_on(&lower) => {
                return Err(wrong("a backslash in a text is a backslash"));
            }
            "default_transaction_read_only" | "transaction_read_only" => {
                // `off` is accepted, since clients say so by habit; nothing can be written all the same.
                if is_on(&lower) { "on" } else { "off" }.to_owned()
            }
            "statement_timeout" => match duration(&lower) {
                Some(_) => value.to_owned(),
                None => return Err(wrong("write milliseconds or `30s`, `5min`")),
            },
            "TimeZone" => match lower.as_str() {
                "utc" | "etc/utc" | "gmt" | "z" | "default" | "local" => "UTC".to_owned(),
                _ => crate::query::functions::zone(value)
                    .map(|zone| zone.iana_name().unwrap_or(value).to_owned())
                    .map_err(|said| Fault::new("22023", said))?,
            },
            _ => value.to_owned(),
        };
        self.variables.lock().insert(name, value.clone());
        Ok(REPORTED.contains(name).then(|| ((*name).to_owned(), value)))
    }

    /// All variables as they were at first.
    pub(crate) fn reset(&self) {
        let user = self.user();
        let mut variables = self.variables.lock();
        *variables = VARIABLES.iter().map(|(name, value, _)| (*name, (*value).to_owned())).collect();
        variables.insert("session_authorization", user);
    }

    /// The client's own bound on the time of a statement.
    pub(crate) fn statement_timeout(&self) -> Option<Duration> {
        let timeout = duration(&self.get("statement_timeout")?.to_ascii_lowercase())?;
        (!timeout.is_zero()).then_some(timeout)
    }

    /// Notes a prepared statement of so many bytes.
    pub(crate) fn add_statement(&self, name: &str, bytes: usize) -> Result<(), Fault> {
        let mut open = self.open.lock();
        let statements = &mut open.statements;
        let before = statements.get(name).copied();
        let total = statements.values().sum::<usize>() - before.unwrap_or(0) + bytes;
        if (before.is_none() && statements.len() >= self.statements_max) || total > STATEMENT_BYTES_MAX {
            let count = statements.len();
            return Err(Fault::new(
                "54000",
                format!(
                    "connection has {count} prepared statements of {total} bytes; the most are {} of {STATEMENT_BYTES_MAX}",
                    self.statements_max
                ),
            )
            .with_hint("close some, or raise `postgres.statements_max`"));
        }
        statements.insert(name.to_owned(), bytes);
        Ok(())
    }

    pub(crate) fn remove_statement(&self, name: &str) {
        self.open.lock().statements.remove(name);
    }

    /// The names of all prepared statements, which are forgotten here.
    pub(crate) fn take_statements(&self) -> Vec<String> {
        self.open.lock().statements.drain().map(|(name, _)| name).collect()
    }

    /// Notes a portal.
    pub(crate) fn add_portal(&self, name: &str) -> Result<(), Fault> {
        let cursors = self.cursors.lock().len();
        let mut open = self.open.lock();
        if !open.portals.contains(name) {
            self.room_for_one(open.portals.len() + cursors)?;
            open.portals.insert(name.to_owned());
        }
        Ok(())
    }

    pub(crate) fn remove_portal(&self, name: &str) {
        self.open.lock().portals.remove(name);
    }

    /// The names of all portals, which are forgotten here: a transaction has ended.
    pub(crate) fn take_portals(&self) -> Vec<String> {
        self.cursors.lock().clear();
        self.open.lock().portals.drain().collect()
    }

    /// Opens a cursor.
    pub(crate) fn open_cursor(&self, name: &str, rows: QueryResponse) -> Result<(), Fault> {
        let portals = self.open.lock().portals.len();
        let mut cursors = self.cursors.lock();
        if cursors.contains_key(name) {
            return Err(Fault::new("42P03", format!("cursor `{name}` is open already")));
        }
        self.room_for_one(portals + cursors.len())?;
        cursors.insert(name.to_owned(), rows);
        Ok(())
    }

    /// Takes a cursor, to read from it and [open](Self::open_cursor) it again.
    pub(crate) fn take_cursor(&self, name: &str) -> Result<QueryResponse, Fault> {
        let cursor = self.cursors.lock().remove(name);
        cursor.ok_or_else(|| Fault::new("34000", format!("there is no cursor `{name}`")))
    }

    /// What the rows of a cursor look like.
    pub(crate) fn cursor_fields(
        &self,
        name: &str,
    ) -> Result<Arc<Vec<pgwire::api::results::FieldInfo>>, Fault> {
        let cursors = self.cursors.lock();
        let cursor =
            cursors.get(name).ok_or_else(|| Fault::new("34000", format!("there is no cursor `{name}`")))?;
        Ok(cursor.row_schema())
    }

    pub(crate) fn close_cursors(&self) {
        self.cursors.lock().clear();
    }

    fn room_for_one(&self, open: usize) -> Result<(), Fault> {
        if open < self.portals_max {
            return Ok(());
        }
        Err(Fault::new(
            "54000",
            format!("connection has {open} open portals and cursors; the most are {}", self.portals_max),
        )
        .with_hint("close some, or raise `postgres.portals_max`"))
    }

    /// Resolves when this connection's statement is to end: cancelled, or its client is gone.
    pub(crate) fn ended(&self) -> impl Future<Output = Fault> + Send + 'static {
        let mut cancel = self.cancel.subscribe();
        let socket = self.socket.clone();
        async move {
            tokio::select! {
                cancelled = cancel.changed() => match cancelled {
                    Ok(()) => Fault::new("57014", "canceling statement due to user request"),
                    Err(_) => Fault::new("57P01", "the connection has ended"),
                },
                () = socket.gone() => Fault::new("08006", "the client is gone"),
            }
        }
    }
}

fn variable(name: &str) -> Option<&'static (&'static str, &'static str, bool)> {
    VARIABLES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))
}

fn is_on(value: &str) -> bool {
    matches!(value, "on" | "true" | "yes" | "1")
}

/// Milliseconds, or a number with its unit.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().ok()?;
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_millis)
}

/// The connections that can be asked to cancel.
#[derive(Default)]
pub(crate) struct Registry {
    by_pid: Mutex<HashMap<i32, Cancellable>>,
}

/// A connection that can be asked to cancel.
struct Cancellable {
    /// What its client was given; who asks must know it.
    key: Vec<u8>,
    cancel: watch::Sender<u64>,
}

impl Registry {
    /// Takes in a connection, until the guard is dropped.
    pub(crate) fn add(self: &Arc<Self>, pid: i32, key: Vec<u8>, session: &Session) -> Registered {
        self.by_pid.lock().insert(pid, Cancellable { key, cancel: session.cancel.clone() });
        Registered { registry: Arc::clone(self), pid }
    }

    /// Cancels what runs on the connection, if the key is right.
    pub(crate) fn cancel(&self, pid: i32, key: &[u8]) -> bool {
        let by_pid = self.by_pid.lock();
        let Some(known) = by_pid.get(&pid) else { return false };
        let is_right = verify_slices_are_equal(&known.key, key).is_ok();
        if is_right {
            known.cancel.send_modify(|count| *count += 1);
        }
        is_right
    }
}

/// A connection in the [`Registry`].
pub(crate) struct Registered {
    registry: Arc<Registry>,
    pid: i32,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.by_pid.lock().remove(&self.pid);
    }
}
