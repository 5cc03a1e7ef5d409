//! A rule that raises alerts, compiled.
//!
//! Not here: its text (`file`), and its state (`fold`, `silence`). The law: a rule that exists was checked; it holds no
//! text that is looked up while samples come.

use std::fmt;

use model::{ChannelName, DeviceName, Sample, Timestamp, TopicFilter};

use crate::expr::{Extent, Node, Slots};
use crate::key::{By, Circumstances, Key, Subject};
use crate::machine::Terms;
use crate::silence::AbsentFor;
use crate::template::Template;
use crate::value::Scalar;

/// Which text a rule came from: a hash of its normalised text. Two texts that say the same word for word, but for order
/// of keys, spacing and comments, are one version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// 16 hexadecimal digits.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Version {
    /// Reads 16 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }

    /// FNV-1a, 64 bits: enough to tell the versions of one rule apart.
    pub(crate) fn of(text: &str) -> Self {
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // A column of the catalog holds 63 bits.
        Self(hash >> 1)
    }
}

/// A rule that raises alerts.
#[derive(Debug)]
pub struct Rule {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) file: String,
    /// The rule's own text, cut from its file.
    pub(crate) text: String,
    pub(crate) version: Version,
    pub(crate) from: TopicFilter,
    pub(crate) by: Vec<By>,
    pub(crate) condition: Condition,
    pub(crate) lateness_micros: Option<i64>,
    pub(crate) labels: Vec<(String, Template)>,
    pub(crate) annotations: Vec<(String, Template)>,
}

/// What a rule watches.
#[derive(Debug)]
pub(crate) enum Condition {
    Expr(Box<Plan>),
    /// Nothing is received for so long; when the second is true, while the device is connected.
    Absent(AbsentFor, bool),
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) expr: Node,
    /// `None`: not `expr`.
    pub(crate) clear: Option<Node>,
    pub(crate) slots: Slots,
    pub(crate) terms: Terms,
}

/// How far back a rule looks from a sample to judge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LookBack {
    /// So many microseconds.
    pub micros: i64,
    /// And so many samples.
    pub samples: usize,
    /// And to the newest reading of a channel, whenever that was: `last(x)` without a span.
    pub is_unbounded: bool,
}

impl Rule {
    /// Its name, unique over all files: what stands behind `alert:`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the group it stands in.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The file it stands in, as whoever loaded it named it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Its own text, normalised: what [`Self::version`] is the hash of.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Which topics' readings it sees.
    #[must_use]
    pub fn from(&self) -> &TopicFilter {
        &self.from
    }

    /// What makes its key.
    #[must_use]
    pub fn by(&self) -> &[By] {
        &self.by
    }

    /// Whether samples of several devices may share a key.
    #[must_use]
    pub fn merges_devices(&self) -> bool {
        !self.by.contains(&By::Device)
    }

    /// The channels it looks at; empty for `absent_for`.
    #[must_use]
    pub fn channels(&self) -> &[ChannelName] {
        self.plan().map_or(&[], |plan| &plan.slots.channels)
    }

    /// Whether it looks at anything in the sample: one that it does not see changes nothing. (`absent_for` sees all.)
    #[must_use]
    pub fn sees(&self, sample: &Sample) -> bool {
        match &self.condition {
            Condition::Absent(..) => true,
            Condition::Expr(plan) => {
                sample.readings.iter().any(|reading| plan.slots.channels.contains(&reading.channel))
            }
        }
    }

    /// How far behind the newest sample of its key a sample may be; `None`: any distance.
    #[must_use]
    pub fn lateness_micros(&self) -> Option<i64> {
        self.lateness_micros
    }

    /// `for`, in microseconds; 0 without.
    #[must_use]
    pub fn for_micros(&self) -> i64 {
        self.plan().map_or(0, |plan| plan.terms.for_micros)
    }

    /// Whether `hold` is given.
    #[must_use]
    pub fn has_hold(&self) -> bool {
        self.plan().is_some_and(|plan| plan.terms.hold_micros.is_some())
    }

    /// The span of `absent_for`, when that is what it watches: feed [`Silence`](crate::Silence), not
    /// [`Fold`](crate::Fold).
    #[must_use]
    pub fn absent_for(&self) -> Option<AbsentFor> {
        match &self.condition {
            Condition::Absent(absent, _) => Some(*absent),
            Condition::Expr(_) => None,
        }
    }

    /// Whether silence counts only while the device has a connection:
    /// [`Silence::while_connected`](crate::Silence::while_connected).
    #[must_use]
    pub fn needs_connection(&self) -> bool {
        matches!(self.condition, Condition::Absent(_, true))
    }

    /// How far back it looks from a sample to judge it.
    #[must_use]
    pub fn look_back(&self) -> LookBack {
        let mut back = LookBack::default();
        let Some(plan) = self.plan() else { return back };
        for window in &plan.slots.windows {
            match window.extent {
                Extent::Samples(samples) => back.samples = back.samples.max(samples),
                Extent::Span(micros) => back.micros = back.micros.max(micros),
            }
        }
        for last in &plan.slots.lasts {
            match last.span_micros {
                Some(micros) => back.micros = back.micros.max(micros),
                None => back.is_unbounded = true,
            }
        }
        back
    }

    /// The device as this rule sees it; `None` when a part of the key is not known of it: such a device has no alerts of
    /// this rule.
    #[must_use]
    pub fn subject(&self, device: &DeviceName, known: &Circumstances<'_>) -> Option<Subject> {
        let mut parts = Vec::with_capacity(self.by.len());
        for part in &self.by {
            parts.push((part.name(), known.part(part, device)?));
        }
        let attribute = |name: &String| {
            (known.attribute)(name).map_or(Scalar::Undefined, |text| Scalar::of_attribute(&text))
        };
        let attributes = self.plan().map_or(&[][..], |plan| &plan.slots.attributes);
        Some(Subject { key: Key::new(parts), attributes: attributes.iter().map(attribute).collect() })
    }

    /// Whether a sample of `time` is too far behind `newest` for this rule.
    #[must_use]
    pub fn is_too_late(&self, time: Timestamp, newest: Timestamp) -> bool {
        self.lateness_micros.is_some_and(|lateness| newest.micros_since(time) > lateness)
    }

    pub(crate) fn plan(&self) -> Option<&Plan> {
        match &self.condition {
            Condition::Expr(plan) => Some(plan),
            Condition::Absent(..) => None,
        }
    }
}
