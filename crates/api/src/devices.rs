//! Devices as the API shows, adds and changes them. Here one is added.

pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod shown;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use identity::{Actor, Attributes, Issued, NewDevice, Role};
use model::Kind;
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::body::{self, Body};
use crate::caller::Caller;
use crate::certificates;
use crate::problem::Problem;

/// What is asked to be added.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    name: String,
    /// Where it is: a group that exists.
    #[serde(default)]
    group: Option<String>,
    /// What is said of it.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// Make a password for it.
    #[serde(default)]
    password: bool,
    /// Make a key and a certificate for it.
    #[serde(default)]
    certificate: bool,
    /// Register this certificate for it (PEM), which was made elsewhere.
    #[serde(default)]
    certificate_pem: Option<String>,
    /// Sign this request (CSR, PEM) for it; its key stays where it is.
    #[serde(default)]
    csr: Option<String>,
    /// It has a password already: make a new one.
    #[serde(default)]
    replace: bool,
}

impl New {
    fn device(&self) -> Result<NewDevice, Problem> {
        Ok(NewDevice {
            name: shown::name(&self.name)?,
            group: self.group.as_deref().map(shown::group).transpose()?,
            attributes: Attributes::new(&self.attributes)
                .map_err(|error| Problem::new(error.kind(), "identity.attribute", error.to_string()))?,
            if_version: None,
        })
    }

    /// The device, if the caller may add it: into a group where he is operator, and not one that is elsewhere. For one whose
    /// role is bound, what was judged is what is changed.
    async fn judged(&self, parts: &Parts, caller: &Caller) -> Result<NewDevice, Problem> {
        let mut device = self.device()?;
        if !caller.is_bound(Role::Operator) {
            return Ok(device);
        }
        let known = parts.identity.device(&device.name).await.map_err(|error| {
            Problem::new(error.kind(), "identity.read", error.to_string()).hint(error.hint())
        })?;
        let home = known.as_ref().map(|known| known.group.as_deref().unwrap_or_default());
        match (home, device.group.as_deref()) {
            (None, group) => caller.require(Role::Operator, group.unwrap_or_default())?,
            (Some(home), group) => {
                caller.require_at(Role::Operator, &device.name, Some(home))?;
                group.map_or(Ok(()), |group| caller.require(Role::Operator, group))?;
            }
        }
        device.if_version = Some(known.map_or(0, |known| known.version));
        Ok(device)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Added {
    name: String,
    password: String,
}

/// Adds a device with a certificate or a password; a secret that is made is in this answer alone.
pub(crate) async fn add(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    body: Body<New>,
) -> Result<Response, Problem> {
    let new = body::read(body)?;
    if new.certificate || new.certificate_pem.is_some() || new.csr.is_some() {
        if new.password || new.replace {
            return Err(Problem::new(
                Kind::Invalid,
                "identity.two_credentials",
                "a device is added with a password or with a certificate, not with both at once",
            )
            .hint(Some("add it with a certificate, then ask for a password with `\"replace\": true`")));
        }
        let device = new.judged(&parts, &caller).await?;
        let name = device.name.clone();
        let issued = match (&new.certificate_pem, new.csr.as_deref()) {
            (Some(_), csr) if new.certificate || csr.is_some() => {
                let said = "a request carries `certificate_pem`, made elsewhere, or asks for one, not both";
                return Err(Problem::new(Kind::Invalid, "identity.certificate", said));
            }
            (Some(pem), _) => {
                let registered = parts.identity.add_device_with_registered(&by, device, pem.as_bytes()).await;
                registered.map(|certificate| Issued { certificate, private_key: None })
            }
            (None, csr) => {
                parts.identity.add_device_with_certificate(&by, device, certificates::key(csr)).await
            }
        };
        let issued = issued.map_err(|error| certificates::refused(&error))?;
        tracing::info!(device = %name, certificate = %issued.certificate.id, "a device was added with a certificate");
        return Ok((StatusCode::CREATED, Json(certificates::Made::of(&parts, issued))).into_response());
    }
    if !new.password {
        return Err(Problem::new(
            Kind::Invalid,
            "identity.no_credential",
            "a device needs a way to prove itself",
        )
        .hint(Some("ask for `\"certificate\": true` or `\"password\": true`, send a request as `csr`, or a certificate made elsewhere as `certificate_pem`")));
    }
    let device = new.judged(&parts, &caller).await?;
    let name = device.name.clone();
    let made = if new.replace {
        parts.identity.set_password(&by, &name, device.if_version).await
    } else {
        parts.identity.add_device_with_password(&by, device).await
    };
    let password = made.map_err(|error| {
        let hint = match &error {
            identity::ChangeError::Exists(_) => {
                Some("`godwit device add NAME --password --replace` gives it a new password; the old one stops working")
            }
            error => error.hint(),
        };
        Problem::new(error.kind(), "identity.device", error.to_string()).hint(hint)
    })?;
    tracing::info!(device = %name, replaced = new.replace, "a device got a password");
    let added = Added { name: name.to_string(), password: password.reveal().to_owned() };
    Ok((StatusCode::CREATED, Json(added)).into_response())
}
