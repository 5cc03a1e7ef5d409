//! Webhooks: Alertmanager's JSON (version 4) with fields of our own, signed.
//!
//! ```text
//! POST, Content-Type: application/json
//! Idempotency-Key: <id of the notice>          the same when it comes twice
//! Godwit-Signature: t=<seconds>,v1=<hex>       HMAC-SHA256 of "<seconds>.<body>", when the receiver has a `secret`
//! ```
//!
//! Not here: the queue. The laws: 2xx is taken, 408, 425, 429, 5xx and no answer are tried again, whatever else is refused
//! for good; a redirect is not followed, for the signature is for one address.

use std::time::Duration;

use aws_lc_rs::hmac;
use model::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, StatusCode, redirect};
use serde_json::{Value, json};

use super::{Failure, Letter, chain};
use crate::NoticeId;
use crate::config::receiver::Http;
use crate::config::section::Secret;
use crate::machine::notice::Told;

/// What is kept of an answer's text, in bytes.
const ANSWER_BYTES_MAX: usize = 200;

/// Posts to one address.
pub(crate) struct Poster {
    client: Client,
    http: Http,
}

impl Poster {
    pub(crate) fn open(http: &Http, timeout: Duration) -> Result<Self, String> {
        let mut client = Client::builder()
            .timeout(timeout)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("godwit/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &http.authority {
            let authorities = Certificate::from_pem_bundle(pem).map_err(|error| chain(&error))?;
            if authorities.is_empty() {
                return Err("`ca_file` holds no certificate".to_owned());
            }
            client = client.tls_certs_only(authorities);
        }
        let client = client.build().map_err(|error| chain(&error))?;
        Ok(Self { client, http: http.clone() })
    }

    /// Posts a document; returns when the receiver took it.
    pub(crate) async fn post(&self, id: NoticeId, document: Value, now: Timestamp) -> Result<(), Failure> {
        let body = document.to_string();
        let mut request = self.client.post(self.http.url.expose()).header(CONTENT_TYPE, "application/json");
        request = request.header("Idempotency-Key", id.to_string());
        if let Some(secret) = &self.http.sign {
            request = request.header("Godwit-Signature", signature(secret, &body, now));
        }
        if let Some(authorization) = &self.http.authorization {
            let mut value = HeaderValue::from_str(authorization.expose())
                .map_err(|_| Failure::for_good("`authorization` holds what a header cannot"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        // The address may be the secret: it is in no message.
        let answer =
            request.body(body).send().await.map_err(|error| Failure::again(chain(&error.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let said = beginning(answer).await;
        let is_final = !(status.is_server_error()
            || matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
            ));
        Err(Failure {
            text: format!("answered {status}{said}"),
            is_final,
            after: after.map(Duration::from_secs),
        })
    }
}

/// The beginning of an answer, in one line; no more of it is read.
async fn beginning(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(part)) = answer.chunk().await {
        bytes.extend_from_slice(&part);
        if bytes.len() >= ANSWER_BYTES_MAX {
            bytes.truncate(ANSWER_BYTES_MAX);
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() { words } else { format!(": {words}") }
}

/// The value of `Godwit-Signature`.
fn signature(secret: &Secret, body: &str, now: Timestamp) -> String {
    let seconds = now.micros().div_euclid(Timestamp::SECOND);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// What Alertmanager would say, and in `godwit` what it could not.
pub(crate) fn document(letter: &Letter<'_>) -> Value {
    let body = letter.body;
    let alerts: Vec<&Told> = body.alerts.iter().take(letter.alerts_max).collect();
    let left_out = body.left_out + (body.alerts.len() - alerts.len()) as u64;
    let shared = |of: &dyn Fn(&Told) -> &std::collections::BTreeMap<String, String>| -> Value {
        let Some(first) = body.alerts.first() else { return json!({}) };
        let in_all = of(first)
            .iter()
            .filter(|(name, value)| body.alerts.iter().all(|one| of(one).get(*name) == Some(value)));
        in_all.map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
    };
    let labels =
        body.group_labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>();
    json!({
        "version": "4",
        "groupKey": format!("{}:{{{}}}", body.group, labels.join(", ")),
        "truncatedAlerts": left_out,
        "status": if body.firing > 0 { "firing" } else { "resolved" },
        "receiver": body.receiver,
        "groupLabels": body.group_labels,
        "commonLabels": shared(&|one| &one.labels),
        "commonAnnotations": shared(&|one| &one.annotations),
        "externalURL": "",
        "alerts": alerts.iter().map(|one| alert(one)).collect::<Vec<_>>(),
        "godwit": {
            "notice": letter.id.to_string(),
            "cause": body.cause.name(),
            "madeAt": letter.made_at.to_string(),
            "firing": body.firing,
            "resolved": body.resolved,
        },
    })
}

fn alert(told: &Told) -> Value {
    let time = |micros: i64| Timestamp::from_micros(micros).to_string();
    json!({
        "status": if told.state == "firing" { "firing" } else { "resolved" },
        "labels": told.labels,
        "annotations": told.annotations,
        "startsAt": time(told.started_at),
        // Go's zero time stands for "not yet", as Alertmanager writes it.
        "endsAt": told.resolved_at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time),
        "generatorURL": "",
        "fingerprint": told.id.replace('-', "")[..16],
        "godwit": {
            "id": told.id,
            "state": told.state,
            "late": told.late,
            "rule": told.rule,
            "version": format!("{:016x}", told.version),
            "firedAt": time(told.fired_at),
            "learntAt": time(told.learnt_at),
            "values": told.values,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_anybody_can_compute_again() {
        let now = Timestamp::from_micros(1_700_000_000_999_999);
        let signed = signature(&Secret::new("key".to_owned()), r#"{"a":1}"#, now);
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signed,
            "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03"
        );
    }
}
