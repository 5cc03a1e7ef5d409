//! Running a plan at one sample.
//!
//! Not here: windows' memory (`window`) and what a verdict leads to. The law: three-valued logic as SQL has it: `false and
//! Undefined` is false, `true or Undefined` is true, everything else that touches Undefined is Undefined.

use smallvec::SmallVec;

use super::Counts;
use super::plan::{Arithmetic, Comparison, Node};
use crate::value::Scalar;
use crate::window::{Last, Window};

/// What a plan sees at one sample.
pub(crate) struct Frame<'a> {
    /// The sample's readings, by slot.
    pub(crate) channels: &'a [Scalar],
    pub(crate) attributes: &'a [Scalar],
    pub(crate) windows: &'a [Window],
    pub(crate) lasts: &'a [Last],
    /// The sample's time in microseconds.
    pub(crate) micros: i64,
}

impl Node {
    pub(crate) fn truth(&self, frame: &Frame<'_>, counts: &mut Counts) -> Option<bool> {
        match self {
            Self::Compare(sign, a, b) => {
                let (a, b) = (a.value(frame, counts), b.value(frame, counts));
                compared(*sign, &a, &b, counts)
            }
            Self::And(a, b) => match (a.truth(frame, counts), b.truth(frame, counts)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(a, b) => match (a.truth(frame, counts), b.truth(frame, counts)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(inner) => inner.truth(frame, counts).map(|truth| !truth),
            other => {
                let value = other.value(frame, counts);
                let truth = value.truth();
                counts.wrong_kind += u64::from(truth.is_none() && value.is_defined());
                truth
            }
        }
    }

    pub(crate) fn value(&self, frame: &Frame<'_>, counts: &mut Counts) -> Scalar {
        match self {
            Self::Number(number) => Scalar::Number(*number),
            Self::Truth(truth) => Scalar::Truth(*truth),
            Self::Text(text) => Scalar::Text(text.clone()),
            Self::Channel(slot) => frame.channels[*slot].clone(),
            Self::Attribute(slot) => frame.attributes[*slot].clone(),
            Self::Last(slot) => frame.lasts[*slot].at(frame.micros),
            Self::Window(slot, aggregate) => frame.windows[*slot].value(*aggregate, frame.micros, counts),
            Self::Negative(inner) => match inner.value(frame, counts) {
                Scalar::Undefined => Scalar::Undefined,
                value => numeric(value.number().map(|number| -number), counts),
            },
            Self::Arithmetic(sign, a, b) => {
                let (a, b) = (a.value(frame, counts), b.value(frame, counts));
                arithmetic(*sign, &a, &b, counts)
            }
            Self::Case(branches, otherwise) => {
                let found = branches.iter().find(|(when, _)| when.truth(frame, counts) == Some(true));
                let value = found.map(|(_, then)| then).or(otherwise.as_deref());
                value.map_or(Scalar::Undefined, |value| value.value(frame, counts))
            }
            Self::Call(function, arguments) => {
                let values: SmallVec<[Scalar; 2]> =
                    arguments.iter().map(|argument| argument.value(frame, counts)).collect();
                function.call(&values, counts)
            }
            Self::Matches(text, pattern) => match text.value(frame, counts) {
                Scalar::Undefined => Scalar::Undefined,
                value => match value.text() {
                    Some(text) => Scalar::Truth(pattern.0.is_match(text)),
                    None => numeric(None, counts),
                },
            },
            Self::And(..) | Self::Or(..) | Self::Not(_) | Self::Compare(..) => {
                self.truth(frame, counts).map_or(Scalar::Undefined, Scalar::Truth)
            }
        }
    }
}

fn numeric(number: Option<f64>, counts: &mut Counts) -> Scalar {
    match number {
        Some(number) if number.is_finite() => Scalar::Number(number),
        Some(_) => {
            counts.not_finite += 1;
            Scalar::Undefined
        }
        None => {
            counts.wrong_kind += 1;
            Scalar::Undefined
        }
    }
}

fn arithmetic(sign: Arithmetic, a: &Scalar, b: &Scalar, counts: &mut Counts) -> Scalar {
    if !a.is_defined() || !b.is_defined() {
        return Scalar::Undefined;
    }
    let (Some(a), Some(b)) = (a.number(), b.number()) else { return numeric(None, counts) };
    if b == 0.0 && matches!(sign, Arithmetic::Divide | Arithmetic::Remainder) {
        counts.division_by_zero += 1;
        return Scalar::Undefined;
    }
    let result = match sign {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Remainder => a % b,
    };
    numeric(Some(result), counts)
}

fn compared(sign: Comparison, a: &Scalar, b: &Scalar, counts: &mut Counts) -> Option<bool> {
    if !a.is_defined() || !b.is_defined() {
        return None;
    }
    let Some(order) = a.compared(b) else {
        counts.wrong_kind += 1;
        return None;
    };
    Some(match sign {
        Comparison::Equal => order.is_eq(),
        Comparison::Unequal => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}
