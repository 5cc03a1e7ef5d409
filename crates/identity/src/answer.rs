//! Questions that devices put over MQTT and that Godwit answers to them alone.
//!
//! | a device publishes to | it is answered on |
//! |---|---|
//! | `$aws/things/{device}/certificates/renew`: `{"certificateSigningRequest": PEM, "clientToken"?}` | `…/renew/accepted`: `{"certificateId", "certificatePem", "notAfter", "clientToken"?}` |
//! | `$aws/certificates/create/json`, `$aws/certificates/create-from-csr/json`, `$aws/provisioning-templates/{template}/provision/json` | see `provisioning` |
//! | | every one, on `rejected`: `{"statusCode", "errorCode", "errorMessage", "clientToken"?}` |
//!
//! Questions and answers go into no journal. Not here: whether the topic may be published to (policies), and how the answer
//! reaches the one who asked (the door). The law: a question is answered once, whatever is wrong with it.

use model::{Kind, in_one_line};
use serde_json::{Value, json};

use crate::{Identity, Who};

/// Longest client token that is sent back.
const TOKEN_BYTES_MAX: usize = 64;

/// An answer, for the one who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The topic.
    pub topic: String,
    /// JSON.
    pub payload: Vec<u8>,
}

/// Why a question is not answered as it was meant.
pub(crate) struct Rejection {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Identity {
    /// Answers a question that `who` published to `topic`, one that `model::reserved` calls a question.
    pub async fn answer(&self, who: &Who, topic: &str, payload: &[u8]) -> Reply {
        // Nothing is `{}`, as devices may send it.
        let payload = if payload.is_empty() { b"{}" } else { payload };
        let asked: Result<Value, Rejection> = serde_json::from_slice(payload).map_err(|error| {
            Rejection::invalid("InvalidPayload", format!("the payload is not JSON: {error}"))
        });
        let token = asked.as_ref().ok().and_then(|asked| asked["clientToken"].as_str());
        let token = token.filter(|token| token.len() <= TOKEN_BYTES_MAX).map(str::to_owned);
        let answered = match asked {
            Ok(asked) if topic.starts_with("$aws/things/") => self.renewal(who, topic, &asked).await,
            Ok(asked) => self.answer_provisioning(who, topic, &asked).await,
            Err(rejection) => Err(rejection),
        };
        let (name, mut reply) = match answered {
            Ok(reply) => ("accepted", reply),
            Err(Rejection { status, code, message }) => {
                ("rejected", json!({ "statusCode": status, "errorCode": code, "errorMessage": message }))
            }
        };
        if let Some(token) = token {
            reply["clientToken"] = token.into();
        }
        Reply { topic: format!("{topic}/{name}"), payload: reply.to_string().into_bytes() }
    }

    async fn renewal(&self, who: &Who, topic: &str, asked: &Value) -> Result<Value, Rejection> {
        let device = topic.split('/').nth(2);
        if device.is_none() || device != who.device.as_ref().map(model::DeviceName::as_str) {
            let message = "a device renews its own certificate alone".to_owned();
            return Err(Rejection { status: 403, code: "AccessDenied", message });
        }
        let Some(request) = asked["certificateSigningRequest"].as_str() else {
            let message = "`certificateSigningRequest` is missing: a request (CSR) as PEM".to_owned();
            return Err(Rejection::invalid("InvalidPayload", message));
        };
        let made = self.renew_certificate(who, request.as_bytes()).await.map_err(|error| {
            let (status, code) = match error.kind() {
                Kind::Invalid => (400, "InvalidCertificateSigningRequest"),
                Kind::TooMuch => (429, "Throttled"),
                Kind::Broken | Kind::Unavailable => (500, "InternalError"),
                _ => (403, "AccessDenied"),
            };
            Rejection { status, code, message: in_one_line(&error) }
        })?;
        Ok(json!({
            "certificateId": made.id.to_string(),
            "certificatePem": made.pem(),
            "notAfter": made.not_after.to_string(),
        }))
    }
}

impl Rejection {
    pub(crate) fn invalid(code: &'static str, message: String) -> Self {
        Self { status: 400, code, message }
    }
}
