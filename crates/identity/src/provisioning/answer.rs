//! The three questions of provisioning over MQTT, in the words of AWS IoT.
//!
//! Not here: how a question comes and its answer goes (`crate::answer`, the door). The law: a rejection says what was wrong
//! with what was sent, and nothing of what is inside.

use model::{Kind, in_one_line};
use serde_json::{Map, Value, json};

use super::{PendingCertificate, ProvisionError, TemplateName};
use crate::answer::Rejection;
use crate::{Actor, CertificateError, Identity, NewKey, Who};

impl Identity {
    /// The answer to a question of provisioning.
    pub(crate) async fn answer_provisioning(
        &self,
        who: &Who,
        topic: &str,
        asked: &Value,
    ) -> Result<Value, Rejection> {
        let answered = match topic.split('/').collect::<Vec<_>>().as_slice() {
            ["$aws", "certificates", "create", "json"] => self.create(who, NewKey::Made).await,
            ["$aws", "certificates", "create-from-csr", "json"] => {
                let Some(request) = asked["certificateSigningRequest"].as_str() else {
                    let message = "`certificateSigningRequest` is missing: a request (CSR) as PEM".to_owned();
                    return Err(Rejection::invalid("InvalidPayload", message));
                };
                self.create(who, NewKey::Request(request.as_bytes())).await
            }
            ["$aws", "provisioning-templates", template, "provision", "json"] => {
                let (token, sent) = registration(asked)?;
                self.register(who, template, token, &sent).await
            }
            _ => {
                return Err(Rejection::invalid("InvalidTopic", "nobody answers on this topic".to_owned()));
            }
        };
        answered.map_err(|error| {
            if error.kind() != Kind::Broken {
                tracing::warn!(by = Actor::of(who, None).name(), topic, %error, "provisioning was refused");
            } else {
                tracing::error!(by = Actor::of(who, None).name(), topic, %error, "provisioning failed");
            }
            rejection(&error)
        })
    }

    async fn create(&self, who: &Who, key: NewKey<'_>) -> Result<Value, ProvisionError> {
        let PendingCertificate { certificate, private_key, token } =
            self.create_pending_certificate(who, key).await?;
        let mut answer = json!({
            "certificateId": certificate.id.to_string(),
            "certificatePem": certificate.pem(),
            "certificateOwnershipToken": token,
        });
        if let Some(key) = private_key {
            answer["privateKey"] = key.reveal().into();
        }
        Ok(answer)
    }

    async fn register(
        &self,
        who: &Who,
        template: &str,
        token: &str,
        sent: &Map<String, Value>,
    ) -> Result<Value, ProvisionError> {
        let template = TemplateName::parse(template)?;
        let provisioned = self.provision(who, &template, token, sent).await?;
        tracing::info!(
            device = provisioned.device.as_deref().unwrap_or("-"), certificate = %provisioned.certificate, %template,
            by = Actor::of(who, None).name(), "a device was provisioned"
        );
        let mut answer = json!({ "deviceConfiguration": provisioned.configuration });
        if let Some(device) = provisioned.device {
            answer["thingName"] = device.as_str().into();
        }
        Ok(answer)
    }
}

fn registration(asked: &Value) -> Result<(&str, Map<String, Value>), Rejection> {
    let wrong = |what: &str| Rejection::invalid("InvalidPayload", what.to_owned());
    let asked = asked.as_object().ok_or_else(|| wrong("the payload is not an object"))?;
    let token = match asked.get("certificateOwnershipToken") {
        None | Some(Value::Null) => "",
        Some(token) => token.as_str().ok_or_else(|| wrong("`certificateOwnershipToken` is not a text"))?,
    };
    let sent = match asked.get("parameters") {
        None | Some(Value::Null) => Map::new(),
        Some(sent) => sent.as_object().cloned().ok_or_else(|| wrong("`parameters` is not an object"))?,
    };
    Ok((token, sent))
}

fn rejection(error: &ProvisionError) -> Rejection {
    let (status, code) = match error {
        ProvisionError::Unknown(_) | ProvisionError::Name(_) | ProvisionError::Template(_) => {
            (400, "InvalidTemplate")
        }
        ProvisionError::TokenEmpty | ProvisionError::Token => (400, "InvalidCertificateOwnershipToken"),
        ProvisionError::Parameters(_) => (400, "InvalidParameters"),
        ProvisionError::Refused(_) => (400, "ProvisioningFailed"),
        ProvisionError::OtherTemplate | ProvisionError::Spent(_) => (403, "AccessDenied"),
        ProvisionError::TooOften => (429, "Throttled"),
        ProvisionError::Certificate(CertificateError::Request(_)) => {
            (400, "InvalidCertificateSigningRequest")
        }
        _ => {
            let message = "the server cannot do it now".to_owned();
            return Rejection { status: 500, code: "InternalError", message };
        }
    };
    Rejection { status, code, message: in_one_line(error) }
}
