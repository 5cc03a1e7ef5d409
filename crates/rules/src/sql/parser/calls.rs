//! Calls of functions, and the arguments that are read when the statement is loaded.
//!
//! Not here: what functions do (`function`). The law: an unknown name gets a suggestion, a function that needs what is not here gets the
//! reason.

use super::{Expr, Parser};
use crate::fault::{Fault, did_you_mean};
use crate::sql::function::{self, Want};
use crate::sql::lexer::{Place, Token};
use crate::sql::node::{Node, Type};
use crate::sql::regex::{self, RegexCall, Work};
use crate::sql::text;
use crate::sql::time::{self, Format, Parse, Pattern};
use crate::sql::value::Value;

impl Parser {
    /// `name(…)`; the next token is the bracket.
    pub(super) fn call(&mut self, name: &str, place: Place) -> Result<Expr, Fault> {
        self.symbol("(")?;
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "cast" => return self.cast(place),
            "encode" if self.accept("*") => {
                self.symbol(",")?;
                self.base64_scheme()?;
                self.symbol(")")?;
                return Ok(Expr { node: Node::EncodePayload, place, depth: 1 });
            }
            _ => {}
        }
        let arguments = self.arguments()?;
        if let Some(function) = function::find(&name) {
            let fault = function.count_fault(arguments.len());
            self.faults.extend(fault.map(|message| place.fault(message)));
            for (at, argument) in arguments.iter().enumerate() {
                self.judge(function.name, function.want(at), argument);
            }
            return self.called(place, function.call, arguments);
        }
        if function::SPECIAL.contains(&name.as_str()) {
            return self.special(&name, place, arguments);
        }
        let fault = match function::REFUSED.iter().find(|(refused, _)| *refused == name) {
            Some((_, reason)) => place.fault(format!("`{name}` is not supported: {reason}")),
            None => place
                .fault(format!("there is no function `{name}`"))
                .suggesting(did_you_mean(&name, function::names())),
        };
        self.faults.push(fault);
        Ok(nothing(place))
    }

    fn called(&mut self, place: Place, call: function::Call, arguments: Vec<Expr>) -> Result<Expr, Fault> {
        let depth = arguments.iter().map(|argument| argument.depth).max().unwrap_or(0);
        // A call with too few arguments has its fault already and is never made.
        let nodes = arguments.into_iter().map(|argument| argument.node).collect();
        self.deeper(place, depth, Node::Call(call, nodes))
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, Fault> {
        let mut arguments = Vec::new();
        if !self.accept(")") {
            loop {
                arguments.push(self.expression()?);
                if !self.accept(",") {
                    break;
                }
            }
            self.symbol(")")?;
        }
        Ok(arguments)
    }

    /// A literal that the function cannot take.
    fn judge(&mut self, name: &str, want: Want, argument: &Expr) {
        if let Node::Literal(value) = &argument.node
            && !want.accepts(value)
        {
            let message = format!("`{name}` takes {} here; this is {}", want.shown(), value.kind());
            self.faults.push(argument.place.fault(message));
        }
    }

    /// `x AS type)`.
    fn cast(&mut self, place: Place) -> Result<Expr, Fault> {
        let expr = self.expression()?;
        self.keyword("as")?;
        let at = self.place();
        let name = self.name("a type")?;
        self.symbol(")")?;
        let names = Type::NAMES;
        let Some((_, to)) = names.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) else {
            let near = did_you_mean(&name, names.iter().map(|(known, _)| *known));
            let all = "the types are Int, Decimal, Boolean, String, Array and Object".to_owned();
            self.faults.push(at.fault(format!("there is no type `{name}`")).suggesting(near.unwrap_or(all)));
            return Ok(nothing(place));
        };
        self.deeper(place, expr.depth, Node::Cast(*to, Box::new(expr.node)))
    }

    fn base64_scheme(&mut self) -> Result<(), Fault> {
        let (token, place) = self.take();
        match token {
            Token::Text(scheme) | Token::Name(scheme) if scheme.eq_ignore_ascii_case("base64") => Ok(()),
            other => Err(place.fault(format!("the encoding is `'base64'`; here is {}", other.shown()))),
        }
    }

    /// Functions of which some arguments must be written out.
    fn special(&mut self, name: &str, place: Place, arguments: Vec<Expr>) -> Result<Expr, Fault> {
        let (least, most) = match name {
            "regexp_replace" | "transform" => (3, 3),
            "parse_time" => (2, 3),
            _ => (2, 2),
        };
        if !(least..=most).contains(&arguments.len()) {
            let takes = if least == most { format!("{least}") } else { format!("{least} to {most}") };
            let message = format!("`{name}` takes {takes} arguments; here are {}", arguments.len());
            self.faults.push(place.fault(message));
            return Ok(nothing(place));
        }
        let depth = arguments.iter().map(|argument| argument.depth).max().unwrap_or(0);
        let made = self.special_node(name, arguments);
        match made {
            Ok(node) => self.deeper(place, depth, node),
            Err(fault) => {
                self.faults.push(fault);
                Ok(nothing(place))
            }
        }
    }

    fn special_node(&mut self, name: &str, arguments: Vec<Expr>) -> Result<Node, Fault> {
        let mut arguments = arguments.into_iter();
        let mut next = || arguments.next().expect("counted");
        let node = match name {
            "encode" | "decode" => {
                let (value, scheme) = (next(), next());
                let written = written(name, "the encoding", &scheme)?;
                if !written.eq_ignore_ascii_case("base64") {
                    return Err(scheme
                        .place
                        .fault(format!("`{name}` knows `'base64'` alone; this is `'{written}'`")));
                }
                self.judge(name, Want::Text, &value);
                Node::Call(if name == "encode" { text::encode } else { text::decode }, vec![value.node])
            }
            "regexp_matches" | "regexp_substr" | "regexp_replace" => {
                let (subject, pattern) = (next(), next());
                self.judge(name, Want::Text, &subject);
                let regex = regex::compile(&written(name, "the pattern", &pattern)?, pattern.place)?;
                let what = match name {
                    "regexp_matches" => Work::Matches,
                    "regexp_substr" => Work::First,
                    _ => Work::Replace(next().node),
                };
                Node::Regex(Box::new(RegexCall { what, subject: subject.node, regex }))
            }
            "parse_time" => {
                let (pattern, time) = (next(), next());
                self.judge(name, Want::Number, &time);
                let pattern = Pattern::parse(&written(name, "the pattern", &pattern)?, pattern.place)?;
                let zone = match arguments.next() {
                    Some(zone) => time::zone(&written(name, "the time zone", &zone)?, zone.place)?,
                    None => jiff::tz::TimeZone::UTC,
                };
                Node::FormatTime(Box::new(Format { pattern, zone, time: time.node }))
            }
            "time_to_epoch" => {
                let (text, pattern) = (next(), next());
                self.judge(name, Want::Text, &text);
                let pattern = Pattern::parse(&written(name, "the pattern", &pattern)?, pattern.place)?;
                Node::ParseTime(Box::new(Parse { pattern, text: text.node }))
            }
            _ => {
                let (what, attributes, values) = (next(), next(), next());
                if written(name, "the first argument", &what)? != "enrichArray" {
                    return Err(what.place.fault("`transform` knows `'enrichArray'` alone"));
                }
                self.judge(name, Want::Object, &attributes);
                self.judge(name, Want::Array, &values);
                Node::Call(function::enrich_array, vec![attributes.node, values.node])
            }
        };
        Ok(node)
    }
}

/// The text of an argument that must be a literal. A name in double quotes stands for a text here.
fn written(name: &str, what: &str, argument: &Expr) -> Result<String, Fault> {
    match &argument.node {
        Node::Literal(Value::Text(text)) => Ok(text.clone()),
        _ => Err(argument
            .place
            .fault(format!("{what} of `{name}` must be written as text, in single quotes"))
            .suggesting("it is read when the rule is loaded, not for each message".to_owned())),
    }
}

/// Stands for what is wrong, so that the reading goes on.
fn nothing(place: Place) -> Expr {
    Expr { node: Node::Literal(Value::Bool(true)), place, depth: 1 }
}
