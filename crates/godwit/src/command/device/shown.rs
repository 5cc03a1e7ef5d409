//! A device as the API shows it, and which devices a command is about.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::http::{Server, encoded};

/// A device of the API.
#[derive(Debug, Deserialize)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) version: u64,
    pub(super) created: String,
    pub(super) group: Option<String>,
    pub(super) groups: Vec<String>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) password: bool,
    pub(super) certificate_until: Option<String>,
    pub(super) quarantine: Option<Quarantine>,
    pub(super) removed: Option<Removed>,
}

/// Why and since when it is quarantined.
#[derive(Debug, Deserialize)]
pub(super) struct Quarantine {
    pub(super) since: String,
    pub(super) reason: String,
}

/// When it was removed, and what took its place.
#[derive(Debug, Deserialize)]
pub(super) struct Removed {
    pub(super) at: String,
    pub(super) successor: Option<String>,
}

/// Which devices.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which devices")]
pub(super) struct Which {
    /// Only this name, where `*` is any text and `?` any character
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// Only those in this group or below it, at home or as members
    #[arg(long, value_name = "PATH")]
    group: Option<String>,
    /// Only those with this attribute; several must all be so
    #[arg(long = "attribute", value_name = "KEY=VALUE")]
    attributes: Vec<String>,
    /// Only those in this state: seen, active, quarantined or removed [default: all but removed]
    #[arg(long)]
    state: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    devices: Vec<serde_json::Value>,
    next: Option<String>,
}

impl Which {
    fn query(&self) -> String {
        let mut query = "/api/v1/devices?limit=1000".to_owned();
        let attributes = (!self.attributes.is_empty()).then(|| self.attributes.join("\n"));
        let parts = [
            ("name", self.name.clone()),
            ("group", self.group.clone()),
            ("attributes", attributes),
            ("state", self.state.clone()),
        ];
        for (key, value) in parts {
            query += &value.map_or(String::new(), |value| format!("&{key}={}", encoded(&value)));
        }
        query
    }

    /// Asks for all of them, page by page; one page at least, of nothing.
    pub(super) async fn pages(
        &self,
        server: &Server,
        mut take: impl FnMut(Vec<serde_json::Value>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let query = self.query();
        let mut after = String::new();
        loop {
            let path = format!("{query}&after={}", encoded(&after));
            let page: Page = server.json(reqwest::Method::GET, &path, None).await?;
            take(page.devices)?;
            match page.next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }
}
