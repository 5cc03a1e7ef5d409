//! From a record to what is to be sent: the statement, then the templates of the action.
//!
//! Not here: sending it. The law: what is made of a record is a function of the record and the rule, so that a second attempt after a
//! crash sends the same under the same id.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use bytes::Bytes;
use journal::Record;
use model::{Door, Message, Principal};
use rules::sql::{Context, Selection, Value};
use rules::{Action, ActionRule, Publish, Webhook};

use crate::letter::{Failure, Reason};
use crate::publish::{self, HOPS_MAX, hops};

/// Most bytes that are sent: some times the largest packet by default.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A message and what is to be sent because of it.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) seq: u64,
    /// The message that was selected.
    pub(crate) message: Message,
    pub(crate) request: Request,
}

/// What is to be sent.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Publish(Message),
    Post(Post),
}

/// An HTTP request.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

/// What a record is to an action.
#[derive(Debug)]
pub(crate) enum Judged {
    /// Nothing.
    NotForUs,
    Job(Box<Job>),
    Failed(Failure),
}

/// What the rule's own texts of a message are made of.
pub(crate) struct Facts {
    principal: Option<String>,
    trace: String,
    seed: [u8; 16],
}

impl Facts {
    pub(crate) fn of(rule: &str, record: &Record) -> Self {
        let message = &record.message;
        let principal = match &message.origin.principal {
            Principal::Certificate(hash) => Some(hash.iter().map(|byte| format!("{byte:02x}")).collect()),
            Principal::User(name) => Some(name.to_string()),
            Principal::DevicePassword(device) => Some(device.to_string()),
            Principal::Anonymous | Principal::Inside => None,
        };
        let mut text = Vec::with_capacity(rule.len() + 16);
        text.extend(record.seq.to_le_bytes());
        text.extend(message.received_at.micros().to_le_bytes());
        let trace = message.trace_id.unwrap_or_else(|| half(&text));
        text.extend(rule.as_bytes());
        Self { principal, trace: uuid(trace), seed: half(&text) }
    }

    pub(crate) fn context<'a>(&'a self, message: &'a Message, account_id: &'a str) -> Context<'a> {
        Context {
            topic: &message.topic,
            time_ms: message.received_at.micros().div_euclid(1_000),
            client_id: (message.origin.door == Door::Mqtt).then_some(&*message.origin.client_id),
            principal: self.principal.as_deref(),
            account_id,
            trace_id: &self.trace,
            properties: message.properties.as_deref(),
            seed: self.seed,
        }
    }

    pub(crate) fn trace(&self) -> &str {
        &self.trace
    }
}

fn half(bytes: &[u8]) -> [u8; 16] {
    digest(&SHA256, bytes).as_ref()[..16].try_into().expect("half of 32 bytes")
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Says what a record is to an action of a rule. `undefined` counts what the statement did not get.
pub(crate) fn judge(
    rule: &ActionRule,
    sink: &str,
    action: &Action,
    account_id: &str,
    record: &Record,
    undefined: &mut u64,
) -> Judged {
    let message = &record.message;
    // What is for one connection alone is no rule's business.
    if message.to.is_some() || !rule.statement.filter().matches(&message.topic) {
        return Judged::NotForUs;
    }
    let facts = Facts::of(&rule.name, record);
    let context = facts.context(message, account_id);
    let fail = |reason, detail: String| Judged::Failed(Failure::of(record.seq, reason, detail));
    let outcome = match rule.statement.evaluate(&message.payload, &context) {
        Ok(outcome) => outcome,
        Err(error) => return fail(Reason::Nothing, error.to_string()),
    };
    *undefined += u64::from(outcome.undefined);
    let Some(selection) = outcome.selection else { return Judged::NotForUs };
    let hops = hops(message);
    if hops >= HOPS_MAX {
        return fail(Reason::Looped, format!("it was published by rules {hops} times already"));
    }
    if selection.payload().len() > BODY_BYTES_MAX {
        let bytes = selection.payload().len();
        return fail(
            Reason::TooLarge,
            format!("what was made is {bytes} bytes; the most is {BODY_BYTES_MAX}"),
        );
    }
    let source = Source { record, context: &context, selection, id: format!("{sink}:{}", record.seq) };
    match source.request(action) {
        Ok(request) => Judged::Job(Box::new(Job { seq: record.seq, message: message.clone(), request })),
        Err((reason, detail)) => fail(reason, detail),
    }
}

/// What an action's templates are filled from.
pub(crate) struct Source<'a> {
    pub(crate) record: &'a Record,
    pub(crate) context: &'a Context<'a>,
    pub(crate) selection: Selection,
    /// The same for every attempt.
    pub(crate) id: String,
}

type Wrong = (Reason, String);

impl Source<'_> {
    fn render(&self, template: &rules::sql::Template) -> Result<String, Wrong> {
        let rendered = template.render(&self.record.message.payload, self.context, Some(&self.selection));
        rendered.map_err(|error| (Reason::Template, error.to_string()))
    }

    fn headers(&self, headers: &[(String, rules::sql::Template)]) -> Result<Vec<(String, String)>, Wrong> {
        headers.iter().map(|(name, value)| Ok((name.clone(), self.render(value)?))).collect()
    }

    /// What the selection is, for who reads it.
    fn content_type(&self) -> String {
        let own = self.record.message.properties.as_ref().and_then(|all| all.content_type.as_ref());
        match (self.selection.value(), own) {
            (Some(_), _) => "application/json".to_owned(),
            (None, Some(own)) => own.to_string(),
            (None, None) if self.selection.payload().first().is_some_and(|byte| b"{[".contains(byte)) => {
                "application/json".to_owned()
            }
            (None, None) => "application/octet-stream".to_owned(),
        }
    }

    pub(crate) fn request(&self, action: &Action) -> Result<Request, Wrong> {
        match action {
            Action::Publish(publish) => self.publish(publish).map(Request::Publish),
            Action::Webhook(webhook) => self.post(webhook).map(Request::Post),
        }
    }

    fn publish(&self, publish: &Publish) -> Result<Message, Wrong> {
        let topic = self.render(&publish.topic)?;
        let content_type = publish.content_type.as_ref().map(|template| self.render(template)).transpose()?;
        let headers = self.headers(&publish.headers)?;
        publish::message(self, publish, topic, content_type, headers)
            .map_err(|detail| (Reason::Target, detail))
    }

    fn post(&self, webhook: &Webhook) -> Result<Post, Wrong> {
        let url = self.render(&webhook.url)?;
        // What data brings in must not end the address, nor begin another part of it by white space.
        if url.contains(|c: char| c.is_control() || c == ' ') {
            return Err((Reason::Target, "the address has white space in it".to_owned()));
        }
        Ok(Post {
            id: self.id.clone(),
            url,
            headers: self.headers(&webhook.headers)?,
            content_type: self.content_type(),
            body: Bytes::copy_from_slice(self.selection.payload()),
        })
    }
}

/// What the error action is told (section 7.6 of the contract).
#[expect(clippy::too_many_arguments, reason = "each is another part of what is told")]
pub(crate) fn error_request(
    rule: &str,
    failed: &Action,
    action: &Action,
    sink: &str,
    record: &Record,
    context: &Context<'_>,
    facts: &Facts,
    failure: &Failure,
) -> Result<Request, String> {
    let message = &record.message;
    let range = if failure.to > failure.from {
        format!(" (messages {} to {})", failure.from, failure.to)
    } else {
        String::new()
    };
    let body = Value::Object(vec![
        ("ruleName".to_owned(), Value::Text(rule.to_owned())),
        ("topic".to_owned(), Value::Text(message.topic.to_string())),
        ("cloudwatchTraceId".to_owned(), Value::Text(facts.trace().to_owned())),
        ("clientId".to_owned(), Value::Text(context.client_id.unwrap_or("n/a").to_owned())),
        ("base64OriginalPayload".to_owned(), Value::Text(base64(&message.payload))),
        (
            "failures".to_owned(),
            Value::Array(vec![Value::Object(vec![
                ("failedAction".to_owned(), Value::Text(failed.kind().to_owned())),
                ("failedResource".to_owned(), Value::Text(failed.target().to_owned())),
                ("errorMessage".to_owned(), Value::Text(format!("{}{range}", failure.detail))),
            ])]),
        ),
    ]);
    let id = format!("{sink}:{}:error", record.seq);
    let source = Source { record, context, selection: Selection::of(body), id };
    let request = source.request(action).map_err(|(_, detail)| detail)?;
    // A circle of error actions has an end too.
    match &request {
        Request::Publish(_) if hops(message) >= HOPS_MAX => Err("it went through too many rules".to_owned()),
        _ => Ok(request),
    }
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
