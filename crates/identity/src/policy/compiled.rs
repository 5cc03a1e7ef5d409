//! Policies compiled for one session: what is left when everything about it is put in.
//!
//! For each action, what allows and what denies is a [`Set`] of patterns over the topic, the filter or the client id: exact
//! texts and literal prefixes are found by binary search, patterns with a wildcard inside by their literal head, and only
//! those without a head are tried one by one. All text lies in one piece, so that a session that is judged by the default
//! policy costs some hundred bytes. The laws: a decision takes no lock and no memory; any deny wins.

use std::borrow::Cow;
use std::sync::Arc;

use super::context::Context;
use super::document::{Effect, Resource, Statement, own_places};
use super::pattern::{self, ANY, Template, matches};
use super::variable::Variable;
use super::{AwsSettings, Policy};
use crate::Action;

/// Which statement decided: the place of its policy among those compiled, and its own place, both from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct By {
    /// The place of the policy in [`Compiled::policies`].
    pub policy: u16,
    /// The place of the statement in its document.
    pub statement: u16,
}

/// What policies say to one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// A statement allows it and none denies it.
    Allowed(By),
    /// A statement denies it.
    Denied(By),
    /// No statement speaks of it.
    Implicit,
}

/// Policies compiled for one session.
#[derive(Debug)]
pub struct Compiled {
    policies: Arc<[Arc<Policy>]>,
    /// What it was compiled from, to know whether it is to be done again.
    context: Context,
    /// All literal text and all patterns.
    text: Box<str>,
    sets: Box<[Set]>,
    /// For each action: its set of denials, its set of permissions. Equal sets stand once.
    of_action: [[u8; 2]; ACTIONS.len()],
}

/// Every action, its name in policies in lower case, and what stands before its resource.
const ACTIONS: [(Action, &str, &str); 5] = [
    (Action::Connect, "iot:connect", "client/"),
    (Action::Publish, "iot:publish", "topic/"),
    (Action::RetainPublish, "iot:retainpublish", "topic/"),
    (Action::Subscribe, "iot:subscribe", "topicfilter/"),
    (Action::Receive, "iot:receive", "topic/"),
];

/// Patterns that are looked up together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Set {
    /// Everything matches.
    all: Option<By>,
    /// Texts, sorted.
    exact: Box<[Entry]>,
    /// Literal prefixes, sorted, none of them a prefix of another.
    prefixes: Box<[Entry]>,
    /// Other patterns, sorted by their literal heads.
    globs: Box<[Entry]>,
    /// The lengths that heads have, each once.
    heads: Box<[u32]>,
    /// `NotResource`: everything that is not in the inner set.
    nots: Box<[(By, Set)]>,
}

/// A part of the common text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    start: u32,
    len: u32,
    /// Of a pattern, its literal head.
    head: u32,
    by: By,
}

impl Compiled {
    /// Compiles `policies` for a session.
    #[must_use]
    pub fn of(policies: Arc<[Arc<Policy>]>, context: Context, aws: &AwsSettings) -> Self {
        let mut text = String::new();
        let mut sets = vec![Set::default()];
        let mut of_action = [[0; 2]; ACTIONS.len()];
        // Conditions are the session's, not the action's: judged once.
        let counted: Vec<(By, &Statement)> = policies
            .iter()
            .enumerate()
            .flat_map(|(policy, of)| {
                of.document.statements().iter().enumerate().map(move |(statement, read)| {
                    let by = By { policy: place(policy), statement: place(statement) };
                    (by, read)
                })
            })
            .filter(|(_, statement)| statement.conditions.iter().all(|condition| condition.holds(&context)))
            .collect();
        for (at, (_, name, kind)) in ACTIONS.iter().enumerate() {
            for (side, effect) in [Effect::Deny, Effect::Allow].into_iter().enumerate() {
                let mut draft = Draft::default();
                for (by, statement) in &counted {
                    if statement.effect == effect && statement.actions.has(name) {
                        draft.add(*by, statement, kind, &context, aws);
                    }
                }
                let before = text.len();
                let set = draft.finished(&mut text);
                let same = sets.iter().position(|other| is_same(other, &set, &text));
                of_action[at][side] = u8::try_from(same.unwrap_or(sets.len())).expect("at most eleven sets");
                match same {
                    Some(_) => text.truncate(before),
                    None => sets.push(set),
                }
            }
        }
        Self { policies, context, text: text.into(), sets: sets.into(), of_action }
    }

    /// What the policies say to `action` on `topic` (a filter for [`Action::Subscribe`], the client id for
    /// [`Action::Connect`]).
    #[must_use]
    pub fn judge(&self, action: Action, topic: &str) -> Judgement {
        let [deny, allow] = self.of_action[action as usize];
        if let Some(by) = self.find(&self.sets[usize::from(deny)], topic) {
            return Judgement::Denied(by);
        }
        self.find(&self.sets[usize::from(allow)], topic).map_or(Judgement::Implicit, Judgement::Allowed)
    }

    /// The policies it was compiled from.
    #[must_use]
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// What was known of the session.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Whether compiling these for this would make the same.
    pub(crate) fn is_of(&self, policies: &[Arc<Policy>], context: &Context) -> bool {
        self.policies.len() == policies.len()
            && self.policies.iter().zip(policies).all(|(own, other)| Arc::ptr_eq(own, other))
            && self.context == *context
    }

    fn find(&self, set: &Set, topic: &str) -> Option<By> {
        if set.all.is_some() {
            return set.all;
        }
        if let Ok(at) = set.exact.binary_search_by(|entry| self.text(entry).cmp(topic)) {
            return Some(set.exact[at].by);
        }
        // No prefix is a prefix of another: only the last one that is not behind the topic can be one of it.
        let behind = set.prefixes.partition_point(|entry| self.text(entry) <= topic);
        if let Some(entry) = behind.checked_sub(1).map(|at| &set.prefixes[at])
            && topic.starts_with(self.text(entry))
        {
            return Some(entry.by);
        }
        for len in &set.heads {
            let Some(head) = topic.as_bytes().get(..*len as usize) else { break };
            let from = set.globs.partition_point(|entry| self.head(entry) < head);
            for entry in set.globs[from..].iter().take_while(|entry| self.head(entry) == head) {
                let tail = &self.text(entry)[head.len()..];
                if matches(tail, &topic[head.len()..]) {
                    return Some(entry.by);
                }
            }
        }
        set.nots.iter().find(|(_, inner)| self.find(inner, topic).is_none()).map(|(by, _)| *by)
    }

    fn text(&self, entry: &Entry) -> &str {
        text_of(&self.text, entry)
    }

    fn head(&self, entry: &Entry) -> &[u8] {
        &self.text.as_bytes()[entry.start as usize..(entry.start + entry.head) as usize]
    }
}

fn text_of<'a>(text: &'a str, entry: &Entry) -> &'a str {
    &text[entry.start as usize..(entry.start + entry.len) as usize]
}

/// A place in a list of policies or statements. Both are bounded far below; what were beyond is judged by the last.
fn place(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

/// Whether two sets hold the same, wherever their text lies.
fn is_same(one: &Set, other: &Set, text: &str) -> bool {
    let same = |one: &[Entry], other: &[Entry]| {
        one.len() == other.len()
            && one
                .iter()
                .zip(other)
                .all(|(one, other)| one.by == other.by && text_of(text, one) == text_of(text, other))
    };
    one.all == other.all
        && same(&one.exact, &other.exact)
        && same(&one.prefixes, &other.prefixes)
        && same(&one.globs, &other.globs)
        && one.nots.len() == other.nots.len()
        && one
            .nots
            .iter()
            .zip(&other.nots)
            .all(|(one, other)| one.0 == other.0 && is_same(&one.1, &other.1, text))
}

/// A set on its way.
#[derive(Default)]
struct Draft {
    patterns: Vec<(String, By)>,
    nots: Vec<(By, Draft)>,
}

impl Draft {
    fn add(&mut self, by: By, statement: &Statement, kind: &str, context: &Context, aws: &AwsSettings) {
        if statement.resources.is_not {
            let mut inner = Self::default();
            for resource in &statement.resources.list {
                inner.add_resource(by, resource, kind, context, aws);
            }
            self.nots.push((by, inner));
        } else {
            for resource in &statement.resources.list {
                self.add_resource(by, resource, kind, context, aws);
            }
        }
    }

    fn add_resource(
        &mut self,
        by: By,
        resource: &Resource,
        kind: &str,
        context: &Context,
        aws: &AwsSettings,
    ) {
        match resource {
            Resource::Everything => self.patterns.push((ANY.to_owned(), by)),
            Resource::Arn { places, rest } => {
                let is_here =
                    places.iter().zip(own_places(aws)).all(|(pattern, (_, own))| matches(pattern, own));
                if !is_here {
                    return;
                }
                for filled in fillings(rest, context) {
                    self.patterns
                        .extend(pattern::behind(&filled, kind).into_iter().map(|rest| (rest.to_owned(), by)));
                }
            }
        }
    }

    fn finished(self, text: &mut String) -> Set {
        let mut set = Set::default();
        let (mut exact, mut prefixes, mut globs) = (Vec::new(), Vec::new(), Vec::new());
        for (pattern, by) in self.patterns {
            if pattern == ANY {
                set.all = Some(set.all.map_or(by, |first| first.min(by)));
                continue;
            }
            let head = pattern::head(&pattern).len();
            if head == pattern.len() {
                exact.push((pattern, head, by));
            } else if &pattern[head..] == ANY {
                prefixes.push((pattern[..head].to_owned(), head, by));
            } else {
                globs.push((pattern, head, by));
            }
        }
        // What matches everything hides the rest.
        if set.all.is_some() {
            return set;
        }
        exact.sort();
        exact.dedup_by(|next, kept| next.0 == kept.0);
        prefixes.sort();
        prefixes.dedup_by(|next, kept| next.0.starts_with(&kept.0));
        globs.sort_by(|one, other| one.0[..one.1].cmp(&other.0[..other.1]).then(one.2.cmp(&other.2)));
        let mut heads: Vec<u32> = globs.iter().map(|(_, head, _)| size(*head)).collect();
        heads.sort_unstable();
        heads.dedup();
        let mut laid = |drafts: Vec<(String, usize, By)>| {
            let entry = |(pattern, head, by): (String, usize, By)| {
                let entry = Entry { start: size(text.len()), len: size(pattern.len()), head: size(head), by };
                text.push_str(&pattern);
                entry
            };
            drafts.into_iter().map(entry).collect()
        };
        set.exact = laid(exact);
        set.prefixes = laid(prefixes);
        set.globs = laid(globs);
        set.heads = heads.into();
        set.nots = self.nots.into_iter().map(|(by, inner)| (by, inner.finished(text))).collect();
        set
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("policies are bounded far below 4 GiB")
}

/// The patterns that a resource amounts to: one for each child where it names children, else one.
fn fillings<'a>(rest: &'a Template, context: &'a Context) -> Vec<Cow<'a, str>> {
    let many = rest.variables().find(|variable| **variable == Variable::Child);
    let fill = |chosen: Option<&str>| {
        rest.filled(|variable| {
            if Some(variable) == many {
                return chosen.map(|text| Cow::Owned(text.to_owned()));
            }
            variable.texts(context).into_iter().next()
        })
    };
    match many.map(|variable| variable.texts(context)) {
        Some(texts) if !texts.is_empty() => texts.iter().map(|text| fill(Some(text))).collect(),
        // Nothing is known: the variable stays as text.
        _ => vec![fill(None)],
    }
}
