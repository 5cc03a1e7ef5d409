//! `GET /api/v1/devices`: pages of devices by name, by any filter.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use identity::{DeviceFilter, DeviceState, Page, Role};
use model::Kind;
use serde::{Deserialize, Serialize};

use super::shown::{self, Device};
use crate::Parts;
use crate::caller::Caller;
use crate::problem::Problem;

/// Which devices are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only names after this one: `next` of the page before.
    #[serde(default)]
    after: String,
    /// Only names that begin with this.
    prefix: Option<String>,
    /// Only names that are this, where `*` is any text and `?` any character.
    name: Option<String>,
    /// Only those in this group or below it.
    group: Option<String>,
    /// Only those with these attributes: `key=value`, several with a line feed between.
    attributes: Option<String>,
    /// Only those in this state; without it all that are not removed.
    state: Option<String>,
    /// At most so many.
    #[serde(default = "hundred")]
    limit: usize,
}

fn hundred() -> usize {
    100
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Devices {
    devices: Vec<Device>,
    next: Option<String>,
}

impl Wanted {
    fn filter(&self, caller: &Caller) -> Result<DeviceFilter, Problem> {
        let state = |text: &str| {
            DeviceState::from_name(text).ok_or_else(|| {
                let said = format!("`{}` is no state of a device", text.escape_debug());
                Problem::new(Kind::Invalid, "identity.state", said)
                    .hint(Some("it is `seen`, `active`, `quarantined` or `removed`"))
            })
        };
        let attribute = |line: &str| {
            let pair = line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            pair.ok_or_else(|| {
                let said = format!("`{}` is no attribute", line.escape_debug());
                Problem::new(Kind::Invalid, "identity.attribute", said).hint(Some("write it as `key=value`"))
            })
        };
        let attributes = self.attributes.as_deref().unwrap_or_default().lines();
        Ok(DeviceFilter {
            state: self.state.as_deref().map(state).transpose()?,
            name_prefix: self.prefix.clone(),
            name_pattern: self.name.clone(),
            group: self.group.as_deref().map(shown::group).transpose()?,
            attributes: attributes.map(attribute).collect::<Result<_, _>>()?,
            reach: Some(caller.reach(Role::Viewer)),
        })
    }
}

/// A page of devices, by name: those whose home the caller may look into.
pub(crate) async fn list(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<impl Serialize>, Problem> {
    let after = match wanted.after.as_str() {
        "" => None,
        name => Some(shown::name(name)?),
    };
    let page = Page { after, limit: wanted.limit };
    let found =
        parts.identity.devices(wanted.filter(&caller)?, page).await.map_err(|error| {
            Problem::new(error.kind(), "identity.read", error.to_string()).hint(error.hint())
        })?;
    Ok(Json(Devices {
        devices: found.devices.into_iter().map(|device| Device::of(&parts.identity, device)).collect(),
        next: found.next.map(|name| name.to_string()),
    }))
}
