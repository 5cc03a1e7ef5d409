//! Flags: what a device does that somebody should look at, with what was seen.
//!
//! | flag | raised when |
//! |---|---|
//! | `cloned_identity` | two hosts take turns with one identity (`flag/clones.rs`) |
//! | `unusual_rate` | a device says far more than it usually does (`flag/rate.rs`) |
//!
//! Here they are written down, counted and shown. A device that is over its usual rate is quarantined by itself only where the
//! operator set that, at most 1 % of a group in an hour, and never one with control points. Not here: what quarantine means.
//! The laws: nobody waits for a flag to be written; a flag stays until somebody clears it.

mod clones;
mod rate;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use catalog::{Connection, Migration, ReadError, SqlError, Transaction, WriteError, params};
use model::{DeviceName, GroupPath, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};

pub use clones::{CLONE_RETURNS, CLONE_WINDOW, Sighting};
pub use rate::{RATE_DEVICES_MAX, RATE_FACTOR, RATE_FLOOR, RATE_LEARNT_MINUTES, Unusual};

use crate::audit::{self, Entry};
use crate::device::change::{standing, store};
use crate::device::{Device, Quarantine};
use crate::{Actor, ChangeError, Identity, Who};

/// The table of flags.
pub(crate) const MIGRATION: Migration = Migration {
    room: "identity",
    version: 8,
    sql: "
        CREATE TABLE device_flags (
            device TEXT NOT NULL,
            flag TEXT NOT NULL,
            first BIGINT NOT NULL,
            last BIGINT NOT NULL,
            times BIGINT NOT NULL,
            -- JSON: what was seen the last time.
            detail TEXT NOT NULL,
            -- When it led to a quarantine by itself.
            quarantined BIGINT,
            PRIMARY KEY (device, flag)
        );
        CREATE INDEX device_flags_quarantined ON device_flags (quarantined);
    ",
};

/// Of a group, at most one device in so many is quarantined by itself in an hour; one of a group that is smaller.
pub const QUARANTINED_ONE_OF: u64 = 100;

/// The attribute of devices that control something: `control = true`. They are never quarantined by themselves.
pub const CONTROL_ATTRIBUTE: &str = "control";

const HOUR_MICROS: i64 = 3_600_000_000;

/// What somebody should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlagKind {
    /// Two hosts swap one identity.
    ClonedIdentity,
    /// Far over its own usual rate.
    UnusualRate,
}

impl FlagKind {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::ClonedIdentity, Self::UnusualRate];

    /// Its name in the catalog, in metrics and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClonedIdentity => "cloned_identity",
            Self::UnusualRate => "unusual_rate",
        }
    }
}

/// A flag of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Flag {
    /// Whose it is.
    pub device: DeviceName,
    /// Which.
    pub kind: FlagKind,
    /// When it was raised.
    pub first: Timestamp,
    /// When it was raised the last time.
    pub last: Timestamp,
    /// How often it was raised.
    pub times: u64,
    /// What was seen the last time.
    pub detail: Value,
}

/// What watches devices, and which are flagged.
pub(crate) struct Flags {
    /// Lock order: none of these is held together with another lock.
    clones: Mutex<clones::Clones>,
    rates: Mutex<rate::Rates>,
    raised: RwLock<BTreeMap<DeviceName, u8>>,
    quarantines: AtomicBool,
    dropped: metrics::Counter,
}

impl Flags {
    /// Reads which devices are flagged.
    pub(crate) fn open(connection: &Connection<'_>) -> Result<Self, SqlError> {
        let mut raised = BTreeMap::new();
        for flag in read(connection, None)? {
            *raised.entry(flag.device).or_default() |= bit(flag.kind);
        }
        let flags = Self {
            clones: Mutex::default(),
            rates: Mutex::default(),
            raised: RwLock::new(raised),
            quarantines: AtomicBool::new(false),
            dropped: metrics::counter!("godwit_identity_flags_dropped_total"),
        };
        flags.measure();
        Ok(flags)
    }

    fn take_over(&self, device: &DeviceName, kind: Option<FlagKind>) {
        match kind {
            Some(kind) => *self.raised.write().entry(device.clone()).or_default() |= bit(kind),
            None => {
                self.raised.write().remove(device);
            }
        }
        self.measure();
    }

    fn measure(&self) {
        for kind in FlagKind::ALL {
            let count = self.count(kind);
            metrics::gauge!("godwit_identity_flagged_devices", "flag" => kind.name()).set(count as f64);
        }
    }

    fn count(&self, kind: FlagKind) -> usize {
        self.raised.read().values().filter(|bits| **bits & bit(kind) != 0).count()
    }
}

fn bit(kind: FlagKind) -> u8 {
    match kind {
        FlagKind::ClonedIdentity => 1,
        FlagKind::UnusualRate => 2,
    }
}

impl Identity {
    /// Whether a device that is far over its usual rate is quarantined by itself. Until this is said: no.
    pub fn quarantine_over_rate(&self, is_on: bool) {
        self.parts.flags.quarantines.store(is_on, Ordering::Relaxed);
    }

    /// For doors: somebody has connected. Never blocks for the disk.
    pub fn connected(&self, who: &Who, address: IpAddr, client_id: &str) {
        let Some(device) = &who.device else { return };
        let seen = Sighting { at: self.parts.host.clock.now(), address, client_id: client_id.to_owned() };
        let hosts = self.parts.flags.clones.lock().connected(device, seen);
        let Some([later, earlier]) = hosts else { return };
        tracing::warn!(
            %device, one = %later.address, other = %earlier.address,
            hint = "two hosts use one identity: give the device a new certificate or password, or release one of them",
            "cloned identity"
        );
        let shown = |host: &Sighting| json!({ "at": host.at.to_string(), "address": host.address.to_string(), "client_id": host.client_id });
        let detail = json!({ "hosts": [shown(&later), shown(&earlier)] });
        self.raise(device.clone(), FlagKind::ClonedIdentity, detail);
    }

    /// For what reads messages: a device has sent a sample of this time; of receipt, when it has none of its own. A look
    /// into memory.
    pub fn sampled(&self, device: &DeviceName, time: Timestamp, is_receipt: bool) {
        let unusual = self.parts.flags.rates.lock().sample(device, time, is_receipt);
        let Some(Unusual { usual_per_minute, seen_in_minute, minute }) = unusual else { return };
        tracing::warn!(%device, usual_per_minute, seen_in_minute, %minute, "far over its usual rate");
        let detail = json!({
            "usual_per_minute": (f64::from(usual_per_minute) * 10.0).round() / 10.0,
            "seen_in_minute": seen_in_minute,
            "minute": minute.to_string(),
        });
        self.raise(device.clone(), FlagKind::UnusualRate, detail);
    }

    fn raise(&self, device: DeviceName, kind: FlagKind, detail: Value) {
        metrics::counter!("godwit_identity_flags_total", "flag" => kind.name()).increment(1);
        let (parts, clock) = (Arc::clone(&self.parts), Arc::clone(&self.parts.host.clock));
        let quarantines =
            kind == FlagKind::UnusualRate && self.parts.flags.quarantines.load(Ordering::Relaxed);
        let flagged = device.clone();
        let write = self.parts.catalog.submit(
            move |transaction| write(transaction, &device, kind, &detail, quarantines, clock.now()),
            move |written| match written {
                Ok(quarantined) => {
                    parts.flags.take_over(&flagged, Some(kind));
                    if let Some(quarantined) = quarantined {
                        tracing::warn!(device = %flagged, "quarantined by itself, as `[devices]` says");
                        parts.take_over(&[quarantined]);
                    }
                }
                // The catalog has logged why; what goes on is flagged again.
                Err(_) => parts.flags.dropped.increment(1),
            },
        );
        if write.is_err() {
            self.parts.flags.dropped.increment(1);
        }
    }

    /// The flags of a device, or of all.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn flags(&self, device: Option<DeviceName>) -> Result<Vec<Flag>, ReadError> {
        self.parts.catalog.read_async(move |connection| Ok(read(connection, device.as_ref())?)).await
    }

    /// Clears the flags of a device: somebody has looked. How many there were.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn clear_flags(&self, by: &Actor, device: &DeviceName) -> Result<usize, ChangeError> {
        let (by, name, parts) = (by.clone(), device.clone(), Arc::clone(&self.parts));
        let cleared = device.clone();
        let clock = Arc::clone(&self.parts.host.clock);
        let count = self.parts.catalog.write_then(
            move |transaction| {
                let flags = read(transaction, Some(&name))?;
                if !flags.is_empty() {
                    transaction.execute("DELETE FROM device_flags WHERE device = $1", params![name])?;
                    let names: Vec<&str> = flags.iter().map(|flag| flag.kind.name()).collect();
                    let entry = Entry::done(&by, "device.clear", format!("device:{name}"));
                    audit::append(transaction, clock.now(), &entry.before(json!({ "flags": names })))?;
                }
                Ok(flags.len())
            },
            move |_| parts.flags.take_over(&cleared, None),
        );
        Ok(count.await?)
    }

    /// How many devices have this flag. A look into memory.
    #[must_use]
    pub fn flagged(&self, kind: FlagKind) -> usize {
        self.parts.flags.count(kind)
    }

    /// Some of the devices that have this flag, by name.
    #[must_use]
    pub fn flagged_some(&self, kind: FlagKind, count_max: usize) -> Vec<DeviceName> {
        let raised = self.parts.flags.raised.read();
        let of_kind = raised.iter().filter(|(_, bits)| **bits & bit(kind) != 0);
        of_kind.take(count_max).map(|(device, _)| device.clone()).collect()
    }
}

/// Writes a flag down; the device, if it is quarantined for it.
fn write(
    transaction: &Transaction<'_>,
    device: &DeviceName,
    kind: FlagKind,
    detail: &Value,
    quarantines: bool,
    now: Timestamp,
) -> Result<Option<Device>, WriteError> {
    transaction.execute(
        "INSERT INTO device_flags (device, flag, first, last, times, detail) VALUES ($1, $2, $3, $3, 1, $4)
         ON CONFLICT (device, flag) DO UPDATE SET last = excluded.last, times = device_flags.times + 1,
           detail = excluded.detail",
        params![device, kind.name(), now, detail.to_string()],
    )?;
    let by = Actor::inside();
    let mut told = detail.clone();
    told["flag"] = json!(kind.name());
    audit::append(
        transaction,
        now,
        &Entry::done(&by, "device.flag", format!("device:{device}")).after(told),
    )?;
    if !quarantines || !may_quarantine(transaction, device, now)? {
        return Ok(None);
    }
    let before = match standing(transaction, device) {
        Ok(before) => before,
        Err(ChangeError::Catalog(error)) => return Err(error),
        Err(_) => return Ok(None),
    };
    let reason = format!(
        "by itself: {} messages in a minute, usually at most {}",
        detail["seen_in_minute"], detail["usual_per_minute"]
    );
    let mut after = before.clone();
    after.quarantine = Some(Quarantine { since: now, reason });
    store(transaction, &by, "device.quarantine", now, Some(&before), &mut after)?;
    transaction.execute(
        "UPDATE device_flags SET quarantined = $3 WHERE device = $1 AND flag = $2",
        params![device, kind.name(), now],
    )?;
    Ok(Some(after))
}

/// Whether a device may be quarantined by itself: it stands, controls nothing, and its group has not given its share in
/// this hour. Its group is the one at the top of its home's path; devices without a home are one group.
fn may_quarantine(
    transaction: &Transaction<'_>,
    device: &DeviceName,
    now: Timestamp,
) -> Result<bool, WriteError> {
    let Some(device) = crate::device::one(transaction, device)? else { return Ok(false) };
    let controls = device.attributes.get(CONTROL_ATTRIBUTE) == Some("true");
    if controls || device.quarantine.is_some() || device.removal.is_some() {
        return Ok(false);
    }
    let top = device.group.as_ref().and_then(|group| group.with_ancestors().last());
    // Of no group: the path that no group has.
    let (from, to) = top
        .as_ref()
        .map_or((String::new(), String::new()), |top: &GroupPath| (format!("{top}/"), format!("{top}0")));
    let within = "coalesce(d.group_path, '') = $1 OR (d.group_path >= $2 AND d.group_path < $3)";
    let top = top.as_deref().unwrap_or("");
    let size: u64 = transaction
        .query_one(
            &format!("SELECT count(*) FROM devices d WHERE d.removed IS NULL AND ({within})"),
            params![top, from, to],
            |row| row.get(0),
        )?
        .unwrap_or(0);
    let lately = Timestamp::from_micros(now.micros().saturating_sub(HOUR_MICROS));
    let quarantined: u64 = transaction
        .query_one(
            &format!(
                "SELECT count(*) FROM device_flags f JOIN devices d ON d.name = f.device
                 WHERE f.quarantined > $4 AND ({within})"
            ),
            params![top, from, to, lately],
            |row| row.get(0),
        )?
        .unwrap_or(0);
    Ok(quarantined < (size / QUARANTINED_ONE_OF).max(1))
}

fn read(connection: &Connection<'_>, device: Option<&DeviceName>) -> Result<Vec<Flag>, SqlError> {
    let rows = connection.query(
        "SELECT device, flag, first, last, times, detail FROM device_flags
         WHERE $1 = '' OR device = $1 ORDER BY device, flag",
        params![device.map_or("", DeviceName::as_str)],
        |row| {
            let (name, detail): (String, String) = (row.get(1)?, row.get(5)?);
            // A flag that a later version made is none of ours.
            let kind = FlagKind::ALL.into_iter().find(|kind| kind.name() == name);
            let detail = serde_json::from_str(&detail).unwrap_or(Value::Null);
            let (device, first, last, times) = (row.get(0)?, row.get(2)?, row.get(3)?, row.get(4)?);
            Ok(kind.map(|kind| Flag { device, kind, first, last, times, detail }))
        },
    )?;
    Ok(rows.into_iter().flatten().collect())
}
