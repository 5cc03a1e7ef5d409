//! Devices, memberships and placements as SQL tables: what `identity` knows, for `series` to ask.
//!
//! Here because a room never imports a room on its own line. The law: a query sees each table as of one moment.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use broker::Broker;
use identity::{Device, Identity};
use model::Timestamp;
use series::{Cell, ColumnKind, ForeignTable};

/// The tables, as `series` takes them.
pub(crate) fn of(identity: &Identity, broker: &Arc<Broker>) -> [ForeignTable; 3] {
    let [devices, memberships, placements] = [(); 3].map(|()| identity.clone());
    let broker = Arc::clone(broker);
    let said = |error: &dyn std::error::Error| error.to_string();
    [
        ForeignTable {
            name: "devices".to_owned(),
            columns: columns(&[
                ("name", ColumnKind::Text),
                ("group_path", ColumnKind::Text),
                ("state", ColumnKind::Text),
                ("created", ColumnKind::Time),
                ("connected", ColumnKind::Boolean),
                ("password", ColumnKind::Boolean),
                ("attributes", ColumnKind::Text),
                ("quarantine_reason", ColumnKind::Text),
                ("removed", ColumnKind::Time),
                ("successor", ColumnKind::Text),
                ("version", ColumnKind::Integer),
            ]),
            rows: Arc::new(move || {
                let connected = connected(&broker);
                let devices = devices.all_devices().map_err(|error| said(&error))?;
                Ok(devices.into_iter().map(|device| row(device, &connected)).collect())
            }),
        },
        ForeignTable {
            name: "memberships".to_owned(),
            columns: columns(&[("device", ColumnKind::Text), ("group_path", ColumnKind::Text)]),
            rows: Arc::new(move || {
                let all = memberships.all_memberships().map_err(|error| said(&error))?;
                Ok(all.into_iter().map(|(device, group)| vec![text(&device), text(&group)]).collect())
            }),
        },
        ForeignTable {
            name: "placements".to_owned(),
            columns: columns(&[
                ("device", ColumnKind::Text),
                ("group_path", ColumnKind::Text),
                ("from_time", ColumnKind::Time),
                ("to_time", ColumnKind::Time),
            ]),
            rows: Arc::new(move || {
                let all = placements.all_placements().map_err(|error| said(&error))?;
                let row = |one: identity::Placement| {
                    vec![text(&one.device), text(&one.group), Cell::Time(one.from), time(one.to)]
                };
                Ok(all.into_iter().map(row).collect())
            }),
        },
    ]
}

/// Most alerts that a query of the table sees: the last fired.
const ALERTS_MAX: usize = 100_000;

/// The table of alerts: episodes that fired and stand.
pub(crate) fn alerts(alerts: &alerts::Alerts) -> ForeignTable {
    let alerts = alerts.clone();
    ForeignTable {
        name: "alerts".to_owned(),
        columns: columns(&[
            ("id", ColumnKind::Text),
            ("rule", ColumnKind::Text),
            ("key", ColumnKind::Text),
            ("state", ColumnKind::Text),
            ("started_at", ColumnKind::Time),
            ("fired_at", ColumnKind::Time),
            ("resolved_at", ColumnKind::Time),
            ("late", ColumnKind::Boolean),
            ("labels", ColumnKind::Text),
        ]),
        rows: Arc::new(move || {
            let all = alerts.standing(ALERTS_MAX).map_err(|error| error.to_string())?;
            let json = |map: &BTreeMap<String, String>| serde_json::to_string(map).expect("texts are JSON");
            let row = |shown: alerts::Shown| {
                let episode = &shown.episode;
                vec![
                    text(&shown.id.to_string()),
                    text(&episode.rule),
                    text(&json(&episode.key)),
                    text(shown.state.name()),
                    Cell::Time(episode.started_at),
                    Cell::Time(episode.fired_at),
                    time(episode.resolved_at),
                    Cell::Boolean(episode.late),
                    text(&json(&episode.labels)),
                ]
            };
            Ok(all.into_iter().map(row).collect())
        }),
    }
}

fn columns(of: &[(&str, ColumnKind)]) -> Vec<(String, ColumnKind)> {
    of.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
}

/// The devices that have a connection at the MQTT door.
fn connected(broker: &Broker) -> HashSet<String> {
    let sessions = broker.sessions().into_iter().filter(|session| session.connection.is_some());
    sessions.filter_map(|session| session.device).map(|device| device.to_string()).collect()
}

fn row(device: Device, connected: &HashSet<String>) -> Vec<Cell> {
    let state = device.state().name();
    let attributes: BTreeMap<&str, &str> = device.attributes.iter().collect();
    let attributes = serde_json::to_string(&attributes).expect("texts are JSON");
    let successor = device.removal.as_ref().and_then(|removal| removal.successor.as_deref());
    vec![
        text(&device.name),
        device.group.as_deref().map_or(Cell::Null, text),
        text(state),
        Cell::Time(device.created),
        Cell::Boolean(connected.contains(device.name.as_str())),
        Cell::Boolean(device.has_password),
        Cell::Text(attributes),
        device.quarantine.as_ref().map_or(Cell::Null, |quarantine| text(&quarantine.reason)),
        time(device.removal.as_ref().map(|removal| removal.at)),
        successor.map_or(Cell::Null, text),
        i64::try_from(device.version).map_or(Cell::Null, Cell::Integer),
    ]
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn time(time: Option<Timestamp>) -> Cell {
    time.map_or(Cell::Null, Cell::Time)
}
