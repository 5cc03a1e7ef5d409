//! The language of `expr:` and `clear:`: text -> tokens -> tree -> plan -> value.
//!
//! Not here: rule files, and what a verdict leads to. The laws: everything that a text alone can get wrong is told when it
//! is loaded, all at once; a plan holds no text that is looked up while samples come: channels, attributes and windows are
//! places in arrays.

mod eval;
mod function;
mod lexer;
mod lower;
mod plan;
mod syntax;

pub(crate) use eval::Frame;
pub use function::FUNCTION_NAMES;
pub(crate) use lexer::Flaw;
pub(crate) use lower::Lowering;
pub(crate) use plan::{Aggregate, Extent, LastPlan, Node, Slots};

/// How often data made an expression Undefined, by cause. One per rule, added to while samples come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// A division, or a remainder, by zero.
    pub division_by_zero: u64,
    /// A text where a number was needed, a number where a text was, and the like.
    pub wrong_kind: u64,
    /// A result that is no finite number: a root of a negative number, an overflow.
    pub not_finite: u64,
    /// A window that holds more readings than [`WINDOW_SAMPLES_MAX`](crate::WINDOW_SAMPLES_MAX).
    pub window_full: u64,
}

impl Counts {
    /// All causes together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.division_by_zero + self.wrong_kind + self.not_finite + self.window_full
    }
}
