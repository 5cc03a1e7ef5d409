//! What an expression compiles to: a tree of nodes over numbered slots.
//!
//! Not here: how it is made (`lower`) and run (`eval`). The law: equal channels, attributes and windows share a slot, in
//! `expr` and `clear` together.

use bytestring::ByteString;
use model::ChannelName;
use regex::Regex;

use super::function::Function;
pub(crate) use crate::operator::{Arithmetic, Comparison};

/// Where channels, attributes, windows and last values are kept, by number.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Slots {
    pub(crate) channels: Vec<ChannelName>,
    pub(crate) attributes: Vec<String>,
    pub(crate) windows: Vec<WindowPlan>,
    pub(crate) lasts: Vec<LastPlan>,
}

/// A window: the values of an expression at the newest samples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WindowPlan {
    pub(crate) argument: Node,
    pub(crate) extent: Extent,
    /// Texts count too: only `count` asks for that.
    pub(crate) takes_texts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The newest so many samples in which the argument is defined.
    Samples(usize),
    /// The samples of the last so many microseconds, the older end left out.
    Span(i64),
}

/// `last(x)`: the newest reading of a channel, for a span or for ever.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LastPlan {
    pub(crate) channel: usize,
    pub(crate) span_micros: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Aggregate {
    Avg,
    Min,
    Max,
    Count,
    Sum,
    Stddev,
    Rate,
    Delta,
    /// The number is from 0 to 1.
    Quantile(f64),
    Ewma,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Number(f64),
    Truth(bool),
    Text(ByteString),
    Channel(usize),
    Attribute(usize),
    Last(usize),
    Window(usize, Aggregate),
    Not(Box<Node>),
    Negative(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    Case(Vec<(Node, Node)>, Option<Box<Node>>),
    Call(Function, Vec<Node>),
    Matches(Box<Node>, Pattern),
}

/// A regular expression of bounded size; two with the same text are equal.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(pub(crate) Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
