//! Rules that act on messages: a statement, and what is done with what it selects.
//!
//! Not here: reading them from a file (`file`), doing it (`sinks`). The law: an action that is in a rule was checked; what depends
//! on data alone can still go wrong.

use std::fmt;

use model::Qos;

use crate::rule::Version;
use crate::sql::{Statement, Template};

/// Most actions of a rule: AWS's bound.
pub const ACTIONS_MAX: usize = 10;

/// A rule with `sql` and `actions`.
#[derive(Debug)]
pub struct ActionRule {
    /// What stands behind `rule:`, unique over all files.
    pub name: String,
    /// The name of the group it stands in.
    pub group: String,
    /// Its file.
    pub file: String,
    /// Its normalised text, without secrets.
    pub text: String,
    /// The hash of its normalised text with them. See [`Version`].
    pub version: Version,
    /// Which messages, and what is made of them.
    pub statement: Statement,
    /// What is done with it; at least one.
    pub actions: Vec<Action>,
    /// What is done when an action cannot be.
    pub error_action: Option<Action>,
}

/// What is done with what a statement selects.
#[derive(Debug)]
pub enum Action {
    /// It is published again.
    Publish(Publish),
    /// It is sent to a program by HTTP.
    Webhook(Webhook),
}

impl Action {
    /// The word by which a rule names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Publish(_) => "publish",
            Self::Webhook(_) => "webhook",
        }
    }

    /// Where it goes, as the rule writes it; nothing in it is secret.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::Publish(publish) => publish.topic.text(),
            // What stands behind `?` may be a token.
            Self::Webhook(webhook) => webhook.url.text().split('?').next().unwrap_or_default(),
        }
    }
}

/// `publish:`.
#[derive(Debug)]
pub struct Publish {
    /// The topic; one that begins with `$$` is a reserved one with a `$` less.
    pub topic: Template,
    /// At most once, or at least once.
    pub qos: Qos,
    /// MIME type of what is published.
    pub content_type: Option<Template>,
    /// User properties of MQTT 5.
    pub headers: Vec<(String, Template)>,
}

/// `webhook:`.
#[derive(Debug)]
pub struct Webhook {
    /// The address; scheme, host and port are written out.
    pub url: Template,
    /// Beside those that Godwit sends.
    pub headers: Vec<(String, Template)>,
    /// By which the receiver knows that it was Godwit.
    pub secret: Option<Secret>,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
