//! Operators by how tightly they bind.
//!
//! Not here: what they do (`node`). The law: rows of one operator nest no deeper than [`DEPTH_MAX`](super::DEPTH_MAX); `AND` and `OR`
//! of many terms are one node.

use super::{Expr, Parser};
use crate::fault::Fault;
use crate::sql::lexer::{Place, Token};
use crate::sql::node::{Arithmetic, Comparison, Node};
use crate::sql::regex::{RegexCall, Work, like};
use crate::sql::value::Value;

/// What stands between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Compare(Comparison),
    Word(&'static str),
    Arithmetic(Arithmetic),
}

const OR: u8 = 1;
const AND: u8 = 2;
const COMPARISON: u8 = 3;
const SUM: u8 = 4;
const PRODUCT: u8 = 5;

impl Operator {
    fn binds(self) -> u8 {
        match self {
            Self::Or => OR,
            Self::And => AND,
            Self::Compare(_) | Self::Word(_) => COMPARISON,
            Self::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => SUM,
            Self::Arithmetic(_) => PRODUCT,
        }
    }

    fn of(token: &Token) -> Option<Self> {
        Some(match token {
            Token::Symbol("=") => Self::Compare(Comparison::Equal),
            Token::Symbol("<>") => Self::Compare(Comparison::Unequal),
            Token::Symbol("<") => Self::Compare(Comparison::Less),
            Token::Symbol("<=") => Self::Compare(Comparison::LessOrEqual),
            Token::Symbol(">") => Self::Compare(Comparison::Greater),
            Token::Symbol(">=") => Self::Compare(Comparison::GreaterOrEqual),
            Token::Symbol("+") => Self::Arithmetic(Arithmetic::Add),
            Token::Symbol("-") => Self::Arithmetic(Arithmetic::Subtract),
            Token::Symbol("*") => Self::Arithmetic(Arithmetic::Multiply),
            Token::Symbol("/") => Self::Arithmetic(Arithmetic::Divide),
            Token::Symbol("%") => Self::Arithmetic(Arithmetic::Remainder),
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "or" => Self::Or,
                "and" => Self::And,
                "in" => Self::Word("in"),
                "like" => Self::Word("like"),
                "between" => Self::Word("between"),
                "is" => Self::Word("is"),
                "not" => Self::Word("not"),
                _ => return None,
            },
            _ => return None,
        })
    }
}

impl Parser {
    /// Operands joined by operators that bind at least as tightly as `least`.
    pub(super) fn binary(&mut self, least: u8) -> Result<Expr, Fault> {
        let mut left = self.unary()?;
        while let Some(operator) = Operator::of(self.peek()).filter(|operator| operator.binds() >= least) {
            let place = self.place();
            self.at += 1;
            left = match operator {
                Operator::Word(word) => self.worded(word, left, place)?,
                Operator::Or | Operator::And => {
                    let right = self.binary(operator.binds() + 1)?;
                    self.joined(operator, left, right)?
                }
                Operator::Compare(how) => {
                    let right = self.binary(COMPARISON + 1)?;
                    let (place, depth) = (left.place, left.depth.max(right.depth));
                    self.judge_comparison(how, &left, &right);
                    self.deeper(place, depth, Node::Compare(how, Box::new((left.node, right.node))))?
                }
                Operator::Arithmetic(what) => {
                    let right = self.binary(operator.binds() + 1)?;
                    let (place, depth) = (left.place, left.depth.max(right.depth));
                    self.judge_arithmetic(what, &left, &right);
                    self.deeper(place, depth, Node::Arithmetic(what, Box::new((left.node, right.node))))?
                }
            };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        let place = self.place();
        let is_not = self.is_keyword("not");
        if !is_not && self.peek() != &Token::Symbol("-") {
            return self.postfix();
        }
        self.at += 1;
        self.depth += 1;
        if self.depth > super::DEPTH_MAX {
            return Err(self.too_deep(place));
        }
        let operand = if is_not { self.binary(COMPARISON) } else { self.unary() };
        self.depth = self.depth.saturating_sub(1);
        let operand = operand?;
        let node = match operand.node {
            part if is_not => Node::Not(Box::new(part)),
            Node::Literal(value @ (Value::Int(_) | Value::Decimal(_))) => {
                Node::Literal(crate::sql::number::negate(&value))
            }
            part => Node::Negate(Box::new(part)),
        };
        self.deeper(place, operand.depth, node)
    }

    /// `AND` and `OR`: a row of them is one node.
    fn joined(&mut self, operator: Operator, left: Expr, right: Expr) -> Result<Expr, Fault> {
        for operand in [&left, &right] {
            if let Node::Literal(value) = &operand.node
                && value.boolean().is_none()
            {
                let message = format!("{} is neither true nor false", value.kind());
                self.faults.push(operand.place.fault(message));
            }
        }
        let (place, right_depth) = (left.place, right.depth);
        let (depth, parts) = match (operator, left.node) {
            (Operator::And, Node::And(mut parts)) | (Operator::Or, Node::Or(mut parts)) => {
                parts.push(right.node);
                (left.depth.saturating_sub(1).max(right_depth), parts)
            }
            (_, node) => (left.depth.max(right_depth), vec![node, right.node]),
        };
        let node = if operator == Operator::And { Node::And(parts) } else { Node::Or(parts) };
        self.deeper(place, depth, node)
    }

    /// `IN`, `LIKE`, `BETWEEN`, `IS`, each also with `NOT`.
    fn worded(&mut self, word: &str, left: Expr, place: Place) -> Result<Expr, Fault> {
        let is_not = word == "not";
        let word = if is_not {
            let following = Operator::of(self.peek());
            self.at += 1;
            match following {
                Some(Operator::Word(word @ ("in" | "like" | "between"))) => word,
                _ => return Err(place.fault("`NOT` here needs `IN`, `LIKE` or `BETWEEN` after it")),
            }
        } else {
            word
        };
        let begins = left.place;
        let mut depth = left.depth;
        let left_node = Box::new(left.node);
        let (node, is_not) = match word {
            "in" => (self.among(left_node, &mut depth)?, is_not),
            "like" => {
                let (token, at) = self.take();
                let Token::Text(pattern) = token else {
                    return Err(at.fault("the pattern of `LIKE` must be written as text"));
                };
                let regex = like(&pattern, at)?;
                let call = RegexCall { what: Work::Matches, subject: *left_node, regex };
                (Node::Regex(Box::new(call)), is_not)
            }
            "between" => {
                let low = self.binary(SUM)?;
                self.keyword("and")?;
                let high = self.binary(SUM)?;
                depth = depth.max(low.depth).max(high.depth);
                (Node::Between(Box::new([*left_node, low.node, high.node])), is_not)
            }
            _ => {
                let is_not = self.is_keyword("not");
                self.at += usize::from(is_not);
                self.keyword("null")?;
                (Node::IsNull(left_node), is_not)
            }
        };
        let expr = self.deeper(begins, depth, node)?;
        if is_not { self.deeper(begins, expr.depth, Node::Not(Box::new(expr.node))) } else { Ok(expr) }
    }

    /// `(a, b, …)`, or an expression that gives an array.
    fn among(&mut self, value: Box<Node>, depth: &mut u16) -> Result<Node, Fault> {
        let mut parts = Vec::new();
        if self.peek() == &Token::Symbol("(") && !self.follows_select() {
            self.at += 1;
            loop {
                let part = self.expression()?;
                *depth = part.depth.max(*depth);
                parts.push(part.node);
                if !self.accept(",") {
                    break;
                }
            }
            self.symbol(")")?;
        } else {
            let part = self.binary(SUM)?;
            *depth = part.depth.max(*depth);
            parts.push(part.node);
        }
        Ok(Node::In(value, parts))
    }

    fn follows_select(&self) -> bool {
        matches!(self.tokens.get(self.at + 1), Some((Token::Word(word), _)) if word.eq_ignore_ascii_case("select"))
    }

    /// A comparison with a literal that can never be compared.
    fn judge_comparison(&mut self, how: Comparison, left: &Expr, right: &Expr) {
        for operand in [left, right] {
            let Node::Literal(value) = &operand.node else { continue };
            let is_ordered = !matches!(how, Comparison::Equal | Comparison::Unequal);
            if *value == Value::Undefined {
                let fault = operand.place.fault("a comparison with Undefined is always Undefined");
                self.faults.push(fault.suggesting("ask `isUndefined(x)`".to_owned()));
            } else if is_ordered && value.number().is_none() {
                let fault =
                    operand.place.fault(format!("{} is neither more nor less than anything", value.kind()));
                self.faults.push(fault.suggesting("compare with a number".to_owned()));
            }
        }
    }

    /// A literal that no operation can take.
    fn judge_arithmetic(&mut self, what: Arithmetic, left: &Expr, right: &Expr) {
        let is_text = |operand: &Expr| matches!(operand.node, Node::Literal(Value::Text(_)));
        let joins = what == Arithmetic::Add && (is_text(left) || is_text(right));
        for operand in [left, right] {
            if let Node::Literal(value) = &operand.node
                && value.number().is_none()
                && !joins
            {
                self.faults.push(operand.place.fault(format!("this is {}, not a number", value.kind())));
            }
        }
        if let Node::Literal(value) = &right.node
            && matches!(what, Arithmetic::Divide | Arithmetic::Remainder)
            && value.number() == Some(0.0)
        {
            self.faults.push(right.place.fault("this divides by zero, whatever comes"));
        }
    }
}
