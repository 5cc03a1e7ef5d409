//! From the tree to the plan: names become slots, functions are looked up, kinds are checked.
//!
//! Not here: the grammar (`syntax`). The law: every fault of an expression is told at once, each with its place; a tree
//! with a fault makes no plan.

use bytestring::ByteString;
use model::ChannelName;
use regex::RegexBuilder;

use super::function::{FUNCTION_NAMES, ROWS};
use super::lexer::Flaw;
use super::plan::{Aggregate, Arithmetic, Comparison, Extent, LastPlan, Node, Pattern, Slots, WindowPlan};
use super::syntax::{Argument, Binary, Expr, ExprKind, is_keyword, parse};
use crate::duration;
use crate::fault::did_you_mean;
use crate::limits::Limits;

/// Most bytes that a compiled regular expression may take: the engine's time is linear, its size is what can explode.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// Most different channels, attributes, windows and last values of one rule, each.
pub(crate) const SLOTS_MAX: usize = 32;

/// What is known of a value before there is data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A channel or an attribute: data will tell.
    Any,
    Number,
    Text,
    Truth,
}

impl Kind {
    fn fits(self, wanted: Self) -> bool {
        self == wanted || self == Self::Any || wanted == Self::Any
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Truth => "true or false",
        }
    }
}

/// Compiles the expressions of one rule into shared slots.
pub(crate) struct Lowering<'a> {
    limits: &'a Limits,
    pub(crate) slots: Slots,
    flaws: Vec<Flaw>,
    /// The window or `last` that is being read: they do not nest.
    inside: Option<&'static str>,
}

impl<'a> Lowering<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Self { limits, slots: Slots::default(), flaws: Vec::new(), inside: None }
    }

    /// Compiles a condition.
    pub(crate) fn condition(&mut self, text: &str) -> Result<Node, Vec<Flaw>> {
        let expr = parse(text)?;
        let (node, kind) = self.lower(&expr);
        if !kind.fits(Kind::Truth) {
            let flaw = Flaw::new(expr.at, format!("this is {}, not a condition", kind.shown()));
            self.flaws.push(flaw.suggesting("compare it with something: `temperature > 30`".to_owned()));
        } else if self.flaws.is_empty() && matches!(node, Node::Truth(_)) {
            self.flaws.push(Flaw::new(expr.at, "this is always the same, whatever the readings say"));
        }
        let flaws = std::mem::take(&mut self.flaws);
        if flaws.is_empty() { Ok(node) } else { Err(flaws) }
    }

    fn flaw(&mut self, flaw: Flaw) -> (Node, Kind) {
        self.flaws.push(flaw);
        (Node::Truth(false), Kind::Any)
    }

    fn lower(&mut self, expr: &Expr) -> (Node, Kind) {
        match &expr.kind {
            ExprKind::Number(number) => (Node::Number(*number), Kind::Number),
            ExprKind::Text(text) => (Node::Text(ByteString::from(text.as_str())), Kind::Text),
            ExprKind::Truth(truth) => (Node::Truth(*truth), Kind::Truth),
            ExprKind::Name(name) => self.channel(expr.at, name),
            ExprKind::Quoted(name) => {
                if is_plain(name) {
                    let flaw = Flaw::new(expr.at, format!("`\"{name}\"` needs no quotes"));
                    return self.flaw(
                        flaw.suggesting(format!(
                            "write `{name}` for the channel, or `'{name}'` for the text"
                        )),
                    );
                }
                self.channel(expr.at, name)
            }
            ExprKind::Attribute(name) => match place(&mut self.slots.attributes, name.clone()) {
                Some(slot) => (Node::Attribute(slot), Kind::Any),
                None => self.too_many(expr.at, "attributes"),
            },
            ExprKind::Negative(inner) => {
                (Node::Negative(Box::new(self.wanted(inner, Kind::Number))), Kind::Number)
            }
            ExprKind::Not(inner) => (Node::Not(Box::new(self.wanted(inner, Kind::Truth))), Kind::Truth),
            ExprKind::Binary(binary, left, right) => self.binary(expr.at, *binary, left, right),
            ExprKind::Case(branches, otherwise) => self.case(branches, otherwise.as_deref()),
            ExprKind::Call(name, arguments) => self.call(expr.at, name, arguments),
        }
    }

    /// Lowers what must be of a kind.
    fn wanted(&mut self, expr: &Expr, wanted: Kind) -> Node {
        let (node, kind) = self.lower(expr);
        if !kind.fits(wanted) {
            let message = format!("{} is needed here, and this is {}", wanted.shown(), kind.shown());
            self.flaws.push(Flaw::new(expr.at, message));
        }
        node
    }

    fn channel(&mut self, at: usize, name: &str) -> (Node, Kind) {
        match ChannelName::parse(name.to_owned()) {
            Err(error) => self.flaw(Flaw::new(at, error.to_string())),
            Ok(name) => match place(&mut self.slots.channels, name) {
                Some(slot) => (Node::Channel(slot), Kind::Any),
                None => self.too_many(at, "channels"),
            },
        }
    }

    fn too_many(&mut self, at: usize, what: &str) -> (Node, Kind) {
        self.flaw(Flaw::new(at, format!("a rule may look at {SLOTS_MAX} {what}, and this is one more")))
    }

    fn binary(&mut self, at: usize, binary: Binary, left: &Expr, right: &Expr) -> (Node, Kind) {
        let arithmetic = |sign| (Kind::Number, Some(sign), None);
        let comparison = |sign| (Kind::Any, None, Some(sign));
        let (wanted, sum, compared) = match binary {
            Binary::And | Binary::Or => (Kind::Truth, None, None),
            Binary::Add => arithmetic(Arithmetic::Add),
            Binary::Subtract => arithmetic(Arithmetic::Subtract),
            Binary::Multiply => arithmetic(Arithmetic::Multiply),
            Binary::Divide => arithmetic(Arithmetic::Divide),
            Binary::Remainder => arithmetic(Arithmetic::Remainder),
            Binary::Equal => comparison(Comparison::Equal),
            Binary::Unequal => comparison(Comparison::Unequal),
            Binary::Less => comparison(Comparison::Less),
            Binary::LessOrEqual => comparison(Comparison::LessOrEqual),
            Binary::Greater => comparison(Comparison::Greater),
            Binary::GreaterOrEqual => comparison(Comparison::GreaterOrEqual),
        };
        if let Some(compared) = compared {
            return self.comparison(at, compared, left, right);
        }
        let (a, b) = (Box::new(self.wanted(left, wanted)), Box::new(self.wanted(right, wanted)));
        match sum {
            Some(Arithmetic::Divide | Arithmetic::Remainder) if matches!(*b, Node::Number(0.0)) => {
                self.flaw(Flaw::new(at, "this divides by zero, whatever the readings say"))
            }
            Some(sign) => (Node::Arithmetic(sign, a, b), Kind::Number),
            None if binary == Binary::And => (Node::And(a, b), Kind::Truth),
            None => (Node::Or(a, b), Kind::Truth),
        }
    }

    fn comparison(&mut self, at: usize, sign: Comparison, left: &Expr, right: &Expr) -> (Node, Kind) {
        let (a, a_kind) = self.lower(left);
        let (b, b_kind) = self.lower(right);
        // A reading says 1 and 0 for true and false; a literal number beside a literal truth is a slip.
        if !a_kind.fits(b_kind) {
            let message = format!("{} and {} do not compare", a_kind.shown(), b_kind.shown());
            return self.flaw(Flaw::new(at, message));
        }
        (Node::Compare(sign, Box::new(a), Box::new(b)), Kind::Truth)
    }

    fn case(&mut self, branches: &[(Expr, Expr)], otherwise: Option<&Expr>) -> (Node, Kind) {
        let mut kind: Option<Kind> = None;
        let mut nodes = Vec::new();
        let conditions: Vec<Node> =
            branches.iter().map(|(condition, _)| self.wanted(condition, Kind::Truth)).collect();
        for value in branches.iter().map(|(_, value)| value).chain(otherwise) {
            let (node, of_value) = self.lower(value);
            match kind {
                Some(known) if !known.fits(of_value) => {
                    let message =
                        format!("one branch gives {}, this one {}", known.shown(), of_value.shown());
                    self.flaws.push(Flaw::new(value.at, message));
                }
                Some(known) if known != of_value => kind = Some(Kind::Any),
                _ => kind = Some(of_value),
            }
            nodes.push(node);
        }
        let otherwise = otherwise.and_then(|_| nodes.pop()).map(Box::new);
        (Node::Case(conditions.into_iter().zip(nodes).collect(), otherwise), kind.unwrap_or(Kind::Any))
    }

    fn call(&mut self, at: usize, name: &str, arguments: &[Argument]) -> (Node, Kind) {
        let name = name.to_lowercase();
        if let Some(row) = ROWS.iter().find(|row| row.name == name) {
            let (least, most) = (row.arguments_min, row.arguments_max);
            if !(least..=most).contains(&arguments.len()) {
                let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
                let given = arguments.len();
                return self
                    .flaw(Flaw::new(at, format!("`{name}` takes {wanted} arguments, and here are {given}")));
            }
            let mut nodes = Vec::new();
            for argument in arguments {
                match argument {
                    Argument::Expr(expr) => nodes.push(self.wanted(expr, row.takes)),
                    other => {
                        self.flaw(Flaw::new(other.at(), format!("`{name}` takes no window")));
                    }
                }
            }
            return (Node::Call(row.function, nodes), row.gives);
        }
        match name.as_str() {
            "matches" => self.matches(at, arguments),
            "last" => self.last(at, arguments),
            "avg" => self.window(at, "avg", Aggregate::Avg, arguments),
            "min" => self.window(at, "min", Aggregate::Min, arguments),
            "max" => self.window(at, "max", Aggregate::Max, arguments),
            "count" => self.window(at, "count", Aggregate::Count, arguments),
            "sum" => self.window(at, "sum", Aggregate::Sum, arguments),
            "stddev" => self.window(at, "stddev", Aggregate::Stddev, arguments),
            "rate" => self.window(at, "rate", Aggregate::Rate, arguments),
            "delta" => self.window(at, "delta", Aggregate::Delta, arguments),
            "ewma" => self.window(at, "ewma", Aggregate::Ewma, arguments),
            "quantile" => self.quantile(at, arguments),
            _ => {
                let flaw = Flaw::new(at, format!("there is no function `{name}`"));
                self.flaw(flaw.suggesting(did_you_mean(&name, FUNCTION_NAMES)))
            }
        }
    }

    fn matches(&mut self, at: usize, arguments: &[Argument]) -> (Node, Kind) {
        let [Argument::Expr(text), Argument::Expr(Expr { at: pattern_at, kind: ExprKind::Text(pattern) })] =
            arguments
        else {
            let flaw = Flaw::new(at, "`matches` takes a value and a pattern that is written out");
            return self.flaw(flaw.suggesting("write it as `matches(mode, '^eco')`".to_owned()));
        };
        let text = Box::new(self.wanted(text, Kind::Text));
        let built = RegexBuilder::new(pattern)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX)
            .build();
        match built {
            Ok(regex) => (Node::Matches(text, Pattern(regex)), Kind::Truth),
            Err(regex::Error::CompiledTooBig(_)) => {
                let message =
                    format!("the pattern would compile to more than {} KiB", PATTERN_BYTES_MAX / 1024);
                self.flaw(Flaw::new(*pattern_at, message).suggesting("repeat less".to_owned()))
            }
            Err(error) => {
                let told = error.to_string();
                let why = told.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or(&told);
                self.flaw(Flaw::new(*pattern_at, format!("the pattern is malformed: {why}")))
            }
        }
    }

    fn last(&mut self, at: usize, arguments: &[Argument]) -> (Node, Kind) {
        let (channel, span_micros) = match arguments {
            [Argument::Expr(channel)] => (channel, None),
            [Argument::Expr(channel), Argument::Span(_, micros)] => (channel, Some(*micros)),
            _ => {
                let flaw = Flaw::new(at, "`last` takes a channel, and for how long its value counts");
                return self.flaw(flaw.suggesting("write `last(co2)` or `last(co2, 15m)`".to_owned()));
            }
        };
        if let Some(outer) = self.inside {
            return self.flaw(Flaw::new(at, format!("`last` does not stand inside `{outer}`")));
        }
        let (node, _) = self.lower(channel);
        let Node::Channel(channel_slot) = node else {
            return self.flaw(Flaw::new(channel.at, "`last` takes the name of a channel"));
        };
        match place(&mut self.slots.lasts, LastPlan { channel: channel_slot, span_micros }) {
            Some(slot) => (Node::Last(slot), Kind::Any),
            None => self.too_many(at, "last values"),
        }
    }

    fn quantile(&mut self, at: usize, arguments: &[Argument]) -> (Node, Kind) {
        let share = match arguments {
            [_, Argument::Expr(Expr { kind: ExprKind::Number(share), .. }), _] => Some(*share),
            _ => None,
        };
        let Some(share) = share.filter(|share| (0.0..=1.0).contains(share)) else {
            let flaw = Flaw::new(at, "`quantile` takes a value, a number from 0 to 1 and a window");
            return self.flaw(flaw.suggesting("write it as `quantile(x, 0.95, 1h)`".to_owned()));
        };
        let window = [arguments[0].clone(), arguments[2].clone()];
        self.window(at, "quantile", Aggregate::Quantile(share), &window)
    }

    fn window(
        &mut self,
        at: usize,
        name: &'static str,
        aggregate: Aggregate,
        arguments: &[Argument],
    ) -> (Node, Kind) {
        let wanted = |flaw: Flaw| {
            let other = match name {
                "min" => "; the least of several values is `least(x, y)`",
                "max" => "; the greatest of several values is `greatest(x, y)`",
                _ => "",
            };
            flaw.suggesting(format!("write it as `{name}(x, last 4)` or `{name}(x, 5m)`{other}"))
        };
        let [Argument::Expr(argument), window] = arguments else {
            return self.flaw(wanted(Flaw::new(at, format!("`{name}` takes a value and a window"))));
        };
        let extent = match window {
            Argument::Span(_, micros) => Extent::Span(*micros),
            Argument::Last(window_at, number) => match whole(*number) {
                Some(samples) => Extent::Samples(samples),
                None => {
                    let message = format!("`last {number}` is no number of samples");
                    return self
                        .flaw(Flaw::new(*window_at, message).suggesting("a whole number from 1".to_owned()));
                }
            },
            Argument::Expr(expr) => {
                return self.flaw(wanted(Flaw::new(expr.at, format!("the window of `{name}` is missing"))));
            }
        };
        if let Err(message) = self.limits.allows(extent) {
            let shown = match extent {
                Extent::Samples(samples) => format!("last {samples}"),
                Extent::Span(micros) => duration::shown(micros),
            };
            let flaw = Flaw::new(window.at(), format!("the window `{shown}` {message}"));
            return self.flaw(flaw.suggesting("take a shorter one".to_owned()));
        }
        if let Some(outer) = self.inside {
            return self.flaw(Flaw::new(
                at,
                format!("`{name}` does not stand inside `{outer}`: windows do not nest"),
            ));
        }
        self.inside = Some(name);
        let takes_texts = aggregate == Aggregate::Count;
        let node = self.wanted(argument, if takes_texts { Kind::Any } else { Kind::Number });
        self.inside = None;
        match place(&mut self.slots.windows, WindowPlan { argument: node, extent, takes_texts }) {
            Some(slot) => (Node::Window(slot, aggregate), Kind::Number),
            None => self.too_many(at, "windows"),
        }
    }
}

/// The number as a count of at least one.
fn whole(number: f64) -> Option<usize> {
    (number.fract() == 0.0 && (1.0..=1e9).contains(&number)).then_some(number as usize)
}

/// Where `item` is kept, adding it if it is new; `None` when there is no room.
fn place<T: PartialEq>(items: &mut Vec<T>, item: T) -> Option<usize> {
    if let Some(at) = items.iter().position(|known| *known == item) {
        return Some(at);
    }
    items.push(item);
    (items.len() <= SLOTS_MAX).then(|| items.len() - 1)
}

/// Whether a name can stand without quotes.
fn is_plain(name: &str) -> bool {
    let is_level = |level: &str| !level.is_empty() && level.chars().all(|c| c.is_alphanumeric() || c == '_');
    name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.split('.').all(is_level)
        && !is_keyword(name)
        && !name.starts_with("attr.")
}
