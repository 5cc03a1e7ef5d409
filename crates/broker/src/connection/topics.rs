//! What a connection remembers of topics: its aliases, and what was decided of the last one.
//!
//! Pure. The laws: aliases are bounded by what the client was told (MQTT 5.0, section 3.3.2.3.4); a decision is
//! forgotten when rights change; nothing remembered pins a network buffer.

use std::num::NonZeroU16;

use identity::Decision;
use model::{Keep, Lane, TopicName};
use mqtt::Reason;

use crate::retained::own;

/// Longest topic whose decision is remembered, in bytes: what an idle connection may hold for it.
const KNOWN_BYTES_MAX: usize = 256;

/// Topics by alias, as the client set them.
#[derive(Default)]
pub(crate) struct Aliases(Vec<Option<TopicName>>);

impl Aliases {
    /// The topic that a publish means.
    ///
    /// # Errors
    /// The reason to disconnect with: an alias above `most`, or one that was never set.
    pub(crate) fn resolve(
        &mut self,
        topic: Option<TopicName>,
        alias: Option<NonZeroU16>,
        most: u16,
    ) -> Result<TopicName, Reason> {
        let Some(alias) = alias else {
            // The decoder refuses a publish with neither.
            return topic.ok_or(Reason::ProtocolError);
        };
        if alias.get() > most {
            return Err(Reason::TopicAliasInvalid);
        }
        let at = usize::from(alias.get()) - 1;
        match topic {
            Some(topic) => {
                if self.0.len() <= at {
                    self.0.resize(at + 1, None);
                }
                self.0[at] = Some(own(&topic));
                Ok(topic)
            }
            // MQTT 5.0, section 3.3.4: an alias that was not set is a protocol error.
            None => self.0.get(at).cloned().flatten().ok_or(Reason::ProtocolError),
        }
    }
}

/// What was decided of a topic: devices publish on the same one again and again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) publish: Decision,
    pub(crate) retain: Decision,
    pub(crate) lane: Lane,
    pub(crate) keep: Keep,
    /// It is neither too long nor too deep.
    pub(crate) fits: bool,
    /// The route looks for an id in the payload.
    pub(crate) has_id: bool,
}

/// The last topic and what was decided of it.
#[derive(Default)]
pub(crate) struct Known(Option<Box<(TopicName, Verdict)>>);

impl Known {
    /// What was decided of `topic`, if it was the last one.
    pub(crate) fn get(&self, topic: &TopicName) -> Option<Verdict> {
        self.0.as_deref().filter(|(known, _)| known == topic).map(|(_, verdict)| *verdict)
    }

    /// Remembers it.
    pub(crate) fn set(&mut self, topic: &TopicName, verdict: Verdict) {
        self.0 = (topic.len() <= KNOWN_BYTES_MAX).then(|| Box::new((own(topic), verdict)));
    }

    /// Forgets it: rights have changed.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_the_topic_it_was_last_set_to() {
        let topic = |text: &str| Some(TopicName::parse(text.to_owned()).expect("a topic"));
        let alias = NonZeroU16::new;
        let mut aliases = Aliases::default();
        let mut resolve =
            |name, number| aliases.resolve(name, alias(number), 2).map(|topic| topic.to_string());
        assert_eq!(resolve(topic("a"), 0), Ok("a".into()));
        assert_eq!(resolve(None, 2), Err(Reason::ProtocolError), "never set");
        assert_eq!(resolve(topic("a"), 2), Ok("a".into()));
        assert_eq!(resolve(None, 2), Ok("a".into()));
        assert_eq!(resolve(topic("b"), 2), Ok("b".into()));
        assert_eq!(resolve(None, 2), Ok("b".into()));
        assert_eq!(resolve(topic("c"), 3), Err(Reason::TopicAliasInvalid));
        assert_eq!(resolve(None, 1), Err(Reason::ProtocolError));
    }
}
