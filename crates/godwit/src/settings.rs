//! `godwit.toml` < environment < flag: where every setting of the server is joined.
//!
//! Each room owns its section; this file only puts them side by side. Everything works with no file at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Deserializer};

use crate::fault::with_hint;

/// Longest settings file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The sections whose keys the environment may set: `GODWIT_JOURNAL_KEEP=3d` is `keep` of `[journal]`.
const SECTIONS: &[&str] = &[
    "keys",
    "journal",
    "mqtt",
    "http",
    "series",
    "sparkplug",
    "postgres",
    "site",
    "aws",
    "devices",
    "audit",
    "alerts",
    "rules",
    "sinks",
];

/// Variables that are no settings of a section: flags and the command line's own.
const NOT_SETTINGS: &[&str] = &[
    "GODWIT_CONFIG",
    "GODWIT_DATA",
    "GODWIT_LOG",
    "GODWIT_PASSPHRASE",
    "GODWIT_PASSWORD",
    "GODWIT_SERVER",
    "GODWIT_TOKEN",
    "GODWIT_USER",
];

/// Every setting of the server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// The data directory. Default: `godwit-data` where the server is started.
    pub(crate) data: Option<PathBuf>,
    /// Where the master key comes from.
    pub(crate) keys: crate::keys::Keys,
    /// The durable record of messages.
    pub(crate) journal: journal::Settings,
    /// Sessions, queues and bounds of the MQTT door.
    pub(crate) mqtt: broker::Settings,
    /// Any `[[listener]]` in the file replaces all default listeners.
    pub(crate) listener: Option<Vec<broker::ListenerSettings>>,
    /// REST, metrics, health.
    pub(crate) http: api::Settings,
    /// What topics mean; the first that matches wins.
    pub(crate) route: Vec<model::route::RouteSettings>,
    /// What is known of channels; the first whose name or pattern fits wins.
    pub(crate) channel: Vec<model::ChannelSettings>,
    /// Readings as columns.
    pub(crate) series: series::Settings,
    /// Folders and buckets that are kept up to date with plain files.
    pub(crate) export: Vec<series::ExportSettings>,
    /// Whether this server is a Sparkplug host.
    pub(crate) sparkplug: crate::sparkplug::Settings,
    /// SQL by the PostgreSQL wire protocol.
    pub(crate) postgres: series::PostgresSettings,
    /// What ARNs in policies are compared with.
    pub(crate) aws: identity::policy::AwsSettings,
    /// Where the readings are from.
    pub(crate) site: series::SiteSettings,
    /// What happens by itself to devices.
    pub(crate) devices: Devices,
    /// How long it is kept who did what.
    pub(crate) audit: Audit,
    /// Who is told of alerts.
    pub(crate) alerts: AlertsSettings,
    /// Where the rules are.
    pub(crate) rules: crate::rulebook::RuleSettings,
    /// How the actions of rules deliver.
    pub(crate) sinks: sinks::Settings,
}

/// `[audit]`: how long it is kept who did what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    /// Entries that are older are removed, which is itself an entry. At least a day. Default: none is ever removed.
    #[serde(deserialize_with = "audit_keep")]
    pub(crate) keep: Option<Duration>,
}

/// Least age of an entry that is removed: a setting without its unit must not empty the log.
const AUDIT_KEEP_MIN: Duration = Duration::from_secs(86_400);

fn audit_keep<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let keep: Option<Duration> = humantime_serde::deserialize(from)?;
    match keep.filter(|keep| *keep < AUDIT_KEEP_MIN) {
        None => Ok(keep),
        Some(short) => Err(serde::de::Error::custom(format!(
            "`keep` of the audit log is {short:?}; the least is a day (`1d`)"
        ))),
    }
}

/// `[alerts]`: who is told of alerts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AlertsSettings {
    /// Routes and receivers, in the words of alertmanager.yml (docs/alerts.md). Default: none, everything goes to the inbox.
    pub(crate) config: Option<PathBuf>,
    /// How long alerts that are over are kept, from their last change, and silences from their end. At least a day; one that
    /// fires is kept for ever. Default: 400 days, so that a month can be held against that of the year before.
    #[serde(deserialize_with = "alerts_keep")]
    pub(crate) keep: Duration,
    /// How long notices and dead letters are kept, from their making. At least two days: so long one may be tried, and seen
    /// to have failed; one that waits stays. Default: 30 days.
    #[serde(deserialize_with = "notices_keep")]
    pub(crate) keep_notices: Duration,
}

impl Default for AlertsSettings {
    fn default() -> Self {
        Self { config: None, keep: 400 * DAY, keep_notices: 30 * DAY }
    }
}

impl AlertsSettings {
    /// How long the past of alerts is kept.
    pub(crate) fn keep(&self) -> alerts::Keep {
        alerts::Keep { episodes: self.keep, notices: self.keep_notices }
    }
}

const DAY: Duration = Duration::from_secs(86_400);

fn alerts_keep<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    at_least(humantime_serde::deserialize(from)?, DAY, "`keep` of alerts", "a day (`1d`)")
}

fn notices_keep<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    at_least(humantime_serde::deserialize(from)?, 2 * DAY, "`keep_notices` of alerts", "two days (`2d`)")
}

/// A setting without its unit must not empty a table.
fn at_least<E: serde::de::Error>(
    keep: Duration,
    least: Duration,
    name: &str,
    said: &str,
) -> Result<Duration, E> {
    if keep < least { Err(E::custom(format!("{name} is {keep:?}; the least is {said}"))) } else { Ok(keep) }
}

/// `[devices]`: what happens by itself to devices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Devices {
    /// Quarantine a device that is far over its usual rate: at most 1 % of a group in an hour, none with the attribute
    /// `control = true`. Default: false, it is only flagged.
    pub(crate) quarantine_over_rate: bool,
    /// How long after its end a certificate that nobody withdrew still lets its device ask for a new one, and do nothing
    /// else. Default: a year. `0s`: not at all.
    #[serde(with = "humantime_serde")]
    pub(crate) renew_after_expiry: Duration,
}

impl Default for Devices {
    fn default() -> Self {
        Self { quarantine_over_rate: false, renew_after_expiry: identity::WAY_BACK }
    }
}

impl Settings {
    /// Reads the file, if one is named, and lays `environment` over it.
    pub(crate) fn load(
        path: Option<&Path>,
        disk: &dyn host::Disk,
        environment: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let (text, place) = match path {
            None => (String::new(), String::from("settings")),
            Some(path) => {
                let place = format!("settings file `{}`", path.display());
                let bytes =
                    disk.read(path, FILE_BYTES_MAX).with_context(|| format!("cannot read {place}"))?;
                (String::from_utf8(bytes).with_context(|| format!("{place} is not UTF-8"))?, place)
            }
        };
        let hint = "the settings and their defaults are described in docs/settings.md";
        // The file by itself first: its errors name their line.
        let from_file: Self = toml::from_str(&text).map_err(|error| {
            with_hint(anyhow::anyhow!("{place} is not right:\n{}", error.to_string().trim_end()), Some(hint))
        })?;
        let overrides = overrides(environment)?;
        if overrides.is_empty() {
            return Ok(from_file);
        }
        let mut table: toml::Table = text.parse().with_context(|| format!("{place} is not TOML"))?;
        for Override { variable, section, key, value } in overrides {
            let section_table = table
                .entry(section)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()))
                .as_table_mut()
                .with_context(|| format!("`{section}` in {place} is no section"))?;
            section_table.insert(key, value);
            // Each by itself, so that the error names the variable.
            let so_far = toml::Value::Table(table.clone()).try_into::<Self>();
            so_far.map_err(|error| {
                with_hint(
                    anyhow::anyhow!("environment variable `{variable}` is not right: {error}"),
                    Some(hint),
                )
            })?;
        }
        Ok(toml::Value::Table(table).try_into()?)
    }
}

struct Override {
    variable: String,
    section: &'static str,
    key: String,
    value: toml::Value,
}

/// The variables of the environment that are settings.
fn overrides(environment: impl Iterator<Item = (String, String)>) -> anyhow::Result<Vec<Override>> {
    let mut found = Vec::new();
    for (variable, text) in environment {
        let Some(name) = variable.strip_prefix("GODWIT_") else { continue };
        if NOT_SETTINGS.contains(&variable.as_str()) {
            continue;
        }
        let name = name.to_ascii_lowercase();
        let place = SECTIONS
            .iter()
            .find_map(|section| Some((*section, name.strip_prefix(section)?.strip_prefix('_')?)));
        let Some((section, key)) = place else {
            // Container platforms put variables of their own beside ours (`GODWIT_PORT`, `GODWIT_SERVICE_HOST`).
            tracing::warn!(variable, "environment variable is no setting of Godwit: ignored");
            continue;
        };
        found.push(Override { section, key: key.to_owned(), value: value(&text), variable });
    }
    found.sort_by(|a, b| a.variable.cmp(&b.variable));
    Ok(found)
}

/// A number or a truth value as TOML writes it, else the text itself.
fn value(text: &str) -> toml::Value {
    if let Ok(number) = text.parse::<i64>() {
        return toml::Value::Integer(number);
    }
    match text {
        "true" => toml::Value::Boolean(true),
        "false" => toml::Value::Boolean(false),
        text => toml::Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("godwit.toml");
        host::Disk::replace(&host::SystemDisk, &path, text.as_bytes()).expect("written");
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Settings::load(Some(&path), &host::SystemDisk, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_its_line() {
        let refused = load("data = \"here\"\n\n[journal]\nkep = \"7d\"\n", &[]).expect_err("refused");
        assert!(refused.contains("line 4"), "{refused}");
        assert!(refused.contains("unknown field `kep`"), "{refused}");
        assert!(refused.contains("`keep`"), "what would be right: {refused}");
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let file = "[journal]\nkeep = \"7d\"\nsync_wait_ms = 2\n";
        let settings = load(file, &[("GODWIT_JOURNAL_KEEP", "3d"), ("GODWIT_PORT", "tcp://10.0.0.1")]);
        let settings = settings.expect("settings");
        assert_eq!(settings.journal.keep.as_secs(), 3 * 86_400);
        assert_eq!(settings.journal.sync_wait_ms, 2);
    }

    #[test]
    fn the_audit_log_is_kept_for_a_day_at_least() {
        let settings = load("[audit]\nkeep = \"90d\"\n", &[]).expect("settings");
        assert_eq!(settings.audit.keep, Some(Duration::from_secs(90 * 86_400)));
        assert_eq!(Settings::default().audit.keep, None, "for ever");
        let refused = load("[audit]\nkeep = \"90m\"\n", &[]).expect_err("refused");
        assert!(refused.contains("line 2") && refused.contains("the least is a day"), "{refused}");
    }

    #[test]
    fn alerts_that_are_over_are_kept_for_a_day_at_least_and_notices_for_two() {
        let settings = load("[alerts]\nkeep = \"90d\"\nkeep_notices = \"2d\"\n", &[]).expect("settings");
        assert_eq!(settings.alerts.keep(), alerts::Keep { episodes: 90 * DAY, notices: 2 * DAY });
        for (wrong, said) in [("keep = \"400m\"", "a day"), ("keep_notices = \"1d\"", "two days")] {
            let refused = load(&format!("[alerts]\n{wrong}\n"), &[]).expect_err("refused");
            assert!(refused.contains("line 2") && refused.contains(said), "{refused}");
        }
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let refused = load("", &[("GODWIT_JOURNAL_KEPT", "3d")]).expect_err("refused");
        assert!(refused.contains("`GODWIT_JOURNAL_KEPT`"), "{refused}");
        assert!(refused.contains("unknown field `kept`"), "{refused}");
    }

    #[test]
    fn every_setting_that_the_manual_shows_is_one_and_shows_its_default() {
        let manual = include_str!("../../../docs/settings.md");
        let blocks: Vec<&str> =
            manual.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(blocks.len() >= 6, "the manual has its sections");
        for block in blocks {
            let shown = load(block, &[]).unwrap_or_else(|error| panic!("{error}"));
            let default = Settings::default();
            assert_eq!(shown.journal, default.journal);
            assert_eq!(shown.mqtt, default.mqtt);
            assert_eq!(shown.series, default.series);
            for export in &shown.export {
                let default = series::ExportSettings { to: export.to.clone(), ..Default::default() };
                assert_eq!(*export, default);
            }
            assert_eq!(shown.postgres, default.postgres);
            assert_eq!(shown.site, default.site);
            assert_eq!(shown.aws, default.aws);
            assert_eq!(shown.devices, default.devices);
            assert_eq!(shown.audit, default.audit);
            assert_eq!(shown.alerts, default.alerts);
            assert_eq!(shown.http.bind, default.http.bind);
            assert_eq!(shown.http.allow_plain, default.http.allow_plain);
            let channels = model::Channels::new(&shown.channel);
            assert!(
                channels.is_ok(),
                "{}",
                channels.err().map(|error| error.to_string()).unwrap_or_default()
            );
            let routes = model::route::Routes::new(&shown.route);
            assert!(routes.is_ok(), "{}", routes.err().map(|error| error.to_string()).unwrap_or_default());
        }
    }
}
