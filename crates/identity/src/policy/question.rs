//! Why somebody may or may not: the statement that decided, and what would change it.
//!
//! Not here: live sessions (what is asked is answered for a session that would be opened now). The law: the answer is made by
//! the same compiled policies that judge sessions.

use std::net::IpAddr;
use std::sync::Arc;

use bytestring::ByteString;
use model::reserved::{self, PublishVerdict, SubscribeVerdict};
use model::{DeviceName, Principal};
use tokio::sync::Semaphore;

use super::{Circumstances, Context, Document, Effect, Policy, PolicyName};
use crate::{Action, CertificateId, Decision, Identity, Permissions, Quarantine, Reason, Who};

/// Questions are for people: who asks many waits for himself.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// Whether a device may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who.
    pub device: DeviceName,
    /// With this certificate.
    pub certificate: Option<[u8; 32]>,
    /// What.
    pub action: Action,
    /// Where: a topic, a filter, a client id.
    pub topic: String,
    /// Its client id; the name of the device unless said otherwise.
    pub client_id: Option<ByteString>,
    /// Where it connects from.
    pub address: Option<IpAddr>,
    /// Judged by this policy alone, as if it were the one that is attached.
    pub policy: Option<Arc<Policy>>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it may.
    pub is_permitted: bool,
    /// Why: `a policy denies it`, `no policy allows it`, …
    pub reason: String,
    /// The statement that decided, if one did.
    pub by: Option<AnswerBy>,
    /// The policies that were asked, with their versions.
    pub policies: Vec<(PolicyName, u32)>,
    /// What would change it.
    pub advice: String,
}

/// A statement that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerBy {
    /// The policy.
    pub policy: PolicyName,
    /// Which of its versions.
    pub version: u32,
    /// Which statement, from 1.
    pub statement: usize,
    /// The statement's name, if it has one.
    pub sid: Option<String>,
    /// What it does.
    pub effect: Effect,
    /// The statement as it was written.
    pub text: String,
}

impl Identity {
    /// Answers a question. `topic` is one that was checked, or a client id of some hundred bytes. May take a second; needs a
    /// runtime.
    pub async fn why(&self, question: &Question) -> Answer {
        let Question { device, certificate, action, topic, client_id, address, policy } = question;
        let client_id = match (action, client_id) {
            (Action::Connect, _) => ByteString::from(topic.as_str()),
            (_, Some(client_id)) => client_id.clone(),
            (_, None) => ByteString::from(device.as_str()),
        };
        let circumstances = Circumstances { client_id, address: *address, ..Circumstances::default() };
        // A device with one certificate speaks by that one.
        let own = match self.parts.certificates.active_of(device).as_slice() {
            [only] => Some(only.bytes()),
            _ => None,
        };
        let certificate = certificate.or(own);
        let principal = match certificate {
            Some(id) => Principal::Certificate(id),
            None => Principal::DevicePassword(device.clone()),
        };
        // Without its facts the answer is as for a session that outlived the process.
        let shown = match certificate {
            Some(id) => self.certificate(&CertificateId::from_bytes(id)).await.ok().flatten(),
            None => None,
        };
        let facts = shown.and_then(|shown| shown.facts()).map(Arc::new);
        let who = Who { principal, device: Some(device.clone()), certificate: facts, ..Who::anonymous() };
        let policies = match policy {
            Some(policy) => Arc::from([Arc::clone(policy)]),
            None => self.policies_for(Some(device), certificate),
        };
        // By a policy that is asked alone nobody is in quarantine.
        let quarantine = match policy {
            Some(_) => None,
            None => self.device(device).await.ok().flatten().and_then(|device| device.quarantine),
        };
        let context: Context = self.context(&who, &circumstances);
        let (aws, device, action, topic) = (Arc::clone(&self.aws), device.clone(), *action, topic.clone());
        // A long topic over a pattern of many letters takes a second: no thread of the doors has that, and no more than one
        // core goes into it, however many ask.
        let one = ONE_AT_A_TIME.acquire().await;
        let answered = tokio::task::spawn_blocking(move || {
            // Whoever asked may be gone; the work is not.
            let _one = one;
            let permissions = Permissions::by_policies(policies, context, &aws);
            answer(&permissions, &device, action, &topic, quarantine.as_ref())
        });
        answered.await.expect("it neither panics nor ends before who waits for it")
    }

    /// A text as a policy that can be asked about before it is put.
    ///
    /// # Errors
    /// [`DocumentError`](super::DocumentError).
    pub fn draft_policy(
        &self,
        name: &PolicyName,
        text: &str,
    ) -> Result<(Arc<Policy>, Vec<String>), super::DocumentError> {
        let document = Document::parse(text)?;
        let warnings = document.warnings(&self.aws);
        Ok((Arc::new(Policy { name: name.clone(), version: 0, document }), warnings))
    }

    /// The version of a policy that counts.
    #[must_use]
    pub fn active_policy(&self, name: &PolicyName) -> Option<Arc<Policy>> {
        self.parts.policies.active(name)
    }
}

fn answer(
    permissions: &Permissions,
    device: &DeviceName,
    action: Action,
    topic: &str,
    quarantine: Option<&Quarantine>,
) -> Answer {
    let compiled = permissions.compiled().expect("compiled from policies");
    let judgement = compiled.judge(action, crate::permissions::unshared(action, topic));
    let by = match judgement {
        super::Judgement::Allowed(by) | super::Judgement::Denied(by) => permissions.statement(by),
        super::Judgement::Implicit => None,
    };
    let by = by.map(|(policy, number, statement)| AnswerBy {
        policy: policy.name.clone(),
        version: policy.version,
        statement: number,
        sid: statement.sid().map(str::to_owned),
        effect: statement.effect(),
        text: statement.text().to_owned(),
    });
    let policies = compiled.policies().iter().map(|policy| (policy.name.clone(), policy.version)).collect();
    let reserved = match action {
        Action::Publish | Action::RetainPublish => match reserved::publish(topic) {
            PublishVerdict::Ordinary | PublishVerdict::Question => None,
            PublishVerdict::Drop => {
                Some("what is published under `$SYS/` is acknowledged and dropped, whoever sends it")
            }
            PublishVerdict::Refuse(why) => Some(why),
        },
        Action::Subscribe => match reserved::subscribe(topic) {
            SubscribeVerdict::Ordinary => None,
            SubscribeVerdict::Refuse(why) => Some(why),
        },
        Action::Connect | Action::Receive => None,
    };
    if let Some(why) = reserved {
        let advice = "no policy changes that: choose another topic".to_owned();
        return Answer { is_permitted: false, reason: why.to_owned(), by, policies, advice };
    }
    let (is_permitted, reason) = match permissions.may(action, topic) {
        Decision::Permitted => (true, "a policy allows it".to_owned()),
        Decision::Refused(reason) => (false, reason.to_string()),
    };
    if let (Decision::Refused(Reason::Quarantined), Some(quarantine)) =
        (permissions.may(action, topic), quarantine)
    {
        let reason = format!("`{device}` is in quarantine since {}: {}", quarantine.since, quarantine.reason);
        let advice = format!(
            "no policy changes that: let it go (godwit device release {device}); until then it may publish below `dt/{device}/diag/` \
             and subscribe below `cmd/{device}/diag/`"
        );
        return Answer { is_permitted, reason, by, policies, advice };
    }
    let resource = format!("arn:aws:iot:*:*:{}", action.resource(topic));
    let advice = match (is_permitted, &by) {
        (true, _) => format!(
            "to refuse it, deny `{}` on `{resource}` in a policy of this device: a denial wins over every permission",
            action.policy_name()
        ),
        (false, Some(by)) => format!(
            "no permission helps while this statement denies it: change it (godwit policy put {0} FILE) or detach the policy \
             (godwit policy detach {0} --device {device})",
            by.policy
        ),
        (false, None) => format!(
            "allow `{}` on `{resource}` in a policy, and attach it: godwit policy attach NAME --device {device}. Attached policies \
             take the place of `default`; attach `default` too where it is to go on",
            action.policy_name()
        ),
    };
    Answer { is_permitted, reason, by, policies, advice }
}
