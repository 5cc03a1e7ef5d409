//! The functions of one sample's values: what they are called, what they take, what they give.
//!
//! Not here: `last` and the windows, which look back (`lower`, `window`). The law: a wrong kind of value gives Undefined
//! and is counted; nothing panics.

use bytestring::ByteString;

use super::Counts;
use super::lower::Kind;
use crate::value::Scalar;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Abs,
    Ceil,
    Coalesce,
    Contains,
    Defined,
    EndsWith,
    Floor,
    Greatest,
    Least,
    Length,
    Lower,
    Number,
    Round,
    Sqrt,
    StartsWith,
    Text,
    Upper,
}

/// A function's row: name, what it is, fewest and most arguments, the kind of each, the kind of the result.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) function: Function,
    pub(crate) arguments_min: usize,
    pub(crate) arguments_max: usize,
    pub(crate) takes: Kind,
    pub(crate) gives: Kind,
}

const fn row(
    name: &'static str,
    function: Function,
    (arguments_min, arguments_max): (usize, usize),
    takes: Kind,
    gives: Kind,
) -> Row {
    Row { name, function, arguments_min, arguments_max, takes, gives }
}

/// Most arguments of a function that takes any number of them.
const MANY: usize = 16;

pub(crate) const ROWS: [Row; 17] = [
    row("abs", Function::Abs, (1, 1), Kind::Number, Kind::Number),
    row("ceil", Function::Ceil, (1, 1), Kind::Number, Kind::Number),
    row("coalesce", Function::Coalesce, (1, MANY), Kind::Any, Kind::Any),
    row("contains", Function::Contains, (2, 2), Kind::Text, Kind::Truth),
    row("defined", Function::Defined, (1, 1), Kind::Any, Kind::Truth),
    row("ends_with", Function::EndsWith, (2, 2), Kind::Text, Kind::Truth),
    row("floor", Function::Floor, (1, 1), Kind::Number, Kind::Number),
    row("greatest", Function::Greatest, (1, MANY), Kind::Number, Kind::Number),
    row("least", Function::Least, (1, MANY), Kind::Number, Kind::Number),
    row("length", Function::Length, (1, 1), Kind::Text, Kind::Number),
    row("lower", Function::Lower, (1, 1), Kind::Text, Kind::Text),
    row("number", Function::Number, (1, 1), Kind::Any, Kind::Number),
    row("round", Function::Round, (1, 1), Kind::Number, Kind::Number),
    row("sqrt", Function::Sqrt, (1, 1), Kind::Number, Kind::Number),
    row("starts_with", Function::StartsWith, (2, 2), Kind::Text, Kind::Truth),
    row("text", Function::Text, (1, 1), Kind::Any, Kind::Text),
    row("upper", Function::Upper, (1, 1), Kind::Text, Kind::Text),
];

/// Every function of the language, as docs/rules.md lists them.
pub const FUNCTION_NAMES: [&str; 29] = [
    "abs",
    "avg",
    "ceil",
    "coalesce",
    "contains",
    "count",
    "defined",
    "delta",
    "ends_with",
    "ewma",
    "floor",
    "greatest",
    "last",
    "least",
    "length",
    "lower",
    "matches",
    "max",
    "min",
    "number",
    "quantile",
    "rate",
    "round",
    "sqrt",
    "starts_with",
    "stddev",
    "sum",
    "text",
    "upper",
];

impl Function {
    /// Calls it. The number of arguments was checked when the rule was loaded.
    pub(crate) fn call(self, arguments: &[Scalar], counts: &mut Counts) -> Scalar {
        match self {
            Self::Defined => Scalar::Truth(arguments[0].is_defined()),
            Self::Coalesce => arguments.iter().find(|a| a.is_defined()).cloned().unwrap_or(Scalar::Undefined),
            // What is missing makes the result Undefined, and is nobody's mistake: it is not counted.
            _ if arguments.iter().any(|argument| !argument.is_defined()) => Scalar::Undefined,
            _ => self.of_defined(arguments).unwrap_or_else(|| {
                counts.wrong_kind += 1;
                Scalar::Undefined
            }),
        }
    }

    fn of_defined(self, arguments: &[Scalar]) -> Option<Scalar> {
        let first = &arguments[0];
        let number = |make: fn(f64) -> f64| first.number().map(|number| Scalar::finite(make(number)));
        let texts = |is: fn(&str, &str) -> bool| Some(Scalar::Truth(is(first.text()?, arguments[1].text()?)));
        let folded = |choose: fn(f64, f64) -> f64| {
            let numbers: Option<Vec<f64>> = arguments.iter().map(Scalar::number).collect();
            numbers?.into_iter().reduce(choose).map(Scalar::Number)
        };
        match self {
            Self::Abs => number(f64::abs),
            Self::Ceil => number(f64::ceil),
            Self::Floor => number(f64::floor),
            // Half away from zero, as people round.
            Self::Round => number(f64::round),
            Self::Sqrt => number(f64::sqrt),
            Self::Greatest => folded(f64::max),
            Self::Least => folded(f64::min),
            Self::Contains => texts(|text, part| text.contains(part)),
            Self::StartsWith => texts(|text, part| text.starts_with(part)),
            Self::EndsWith => texts(|text, part| text.ends_with(part)),
            Self::Length => Some(Scalar::Number(first.text()?.chars().count() as f64)),
            Self::Lower => Some(Scalar::Text(ByteString::from(first.text()?.to_lowercase()))),
            Self::Upper => Some(Scalar::Text(ByteString::from(first.text()?.to_uppercase()))),
            Self::Number => match first {
                Scalar::Text(text) => {
                    text.trim().parse().ok().filter(|number: &f64| number.is_finite()).map(Scalar::Number)
                }
                other => other.number().map(Scalar::Number),
            },
            Self::Text => Some(Scalar::Text(match first {
                Scalar::Text(text) | Scalar::Both(_, text) => text.clone(),
                Scalar::Truth(truth) => ByteString::from(truth.to_string()),
                other => ByteString::from(other.number()?.to_string()),
            })),
            Self::Coalesce | Self::Defined => None,
        }
    }
}
