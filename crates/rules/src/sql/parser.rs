//! The grammar: tokens to nodes, with everything that can be judged without data judged here.
//!
//! ```text
//! statement   SELECT [VALUE] items FROM 'topic filter' [WHERE expression]
//! items       * | expression [AS a.b], …
//! expression  OR < AND < NOT < = <> < > <= >= IN LIKE BETWEEN IS < + - < * / % < - < .name
//! ```
//!
//! Not here: calls (`calls`). The law: a fault of meaning does not stop the reading, so that all of them are told at once; one of grammar
//! ends its clause.

mod calls;
mod operators;

use super::DEPTH_MAX;
use super::lexer::{Place, Token, tokens};
use super::node::Node;
use super::payload::Wanted;
use super::select::{Item, Items, Nested, Select};
use super::value::Value;
use crate::fault::{Fault, did_you_mean};
use model::TopicFilter;

/// Words that are no names unless they are quoted.
const KEYWORDS: &[&str] = &[
    "select",
    "from",
    "where",
    "as",
    "and",
    "or",
    "not",
    "case",
    "when",
    "then",
    "else",
    "end",
    "in",
    "like",
    "between",
    "is",
    "true",
    "false",
    "null",
    "undefined",
];

/// Most members and items of one statement: more are a mistake of a generator.
const PARTS_MAX: usize = 1_000;

/// A statement, read.
pub(crate) struct Parsed {
    pub(crate) filter: TopicFilter,
    pub(crate) select: Select,
    pub(crate) wanted: Wanted,
}

/// An expression, where it stands, and how deep it is.
struct Expr {
    node: Node,
    place: Place,
    depth: u16,
}

struct Parser {
    tokens: Vec<(Token, Place)>,
    at: usize,
    depth: u16,
    faults: Vec<Fault>,
    /// Members of the payload that are named.
    members: Vec<String>,
    wants_all: bool,
    /// How many nested queries are around.
    nested: u16,
    /// Depth of the deepest node since a nested query began.
    deepest: u16,
}

/// Reads a whole statement.
pub(crate) fn statement(text: &str) -> Result<Parsed, Vec<Fault>> {
    let mut parser = Parser::new(text)?;
    let parsed = parser.statement();
    parser.faults.sort();
    parser.faults.dedup();
    match parsed {
        Some(parsed) if parser.faults.is_empty() => Ok(parsed),
        _ => Err(parser.faults),
    }
}

/// Reads an expression alone: what stands in a template.
pub(crate) fn expression(text: &str) -> Result<(Node, Wanted), Vec<Fault>> {
    let mut parser = Parser::new(text)?;
    let read = parser.expression().and_then(|expr| {
        parser.end()?;
        Ok(expr.node)
    });
    match read {
        Ok(node) if parser.faults.is_empty() => Ok((node, parser.wanted())),
        Ok(_) => Err(parser.faults),
        Err(fault) => {
            parser.faults.push(fault);
            Err(parser.faults)
        }
    }
}

impl Parser {
    fn new(text: &str) -> Result<Self, Vec<Fault>> {
        let tokens = tokens(text).map_err(|fault| vec![fault])?;
        Ok(Self {
            tokens,
            at: 0,
            depth: 0,
            faults: Vec::new(),
            members: Vec::new(),
            wants_all: false,
            nested: 0,
            deepest: 0,
        })
    }

    fn wanted(&self) -> Wanted {
        if self.wants_all {
            Wanted::All
        } else if self.members.is_empty() {
            Wanted::Nothing
        } else {
            let mut members = self.members.clone();
            members.sort();
            members.dedup();
            Wanted::Members(members)
        }
    }

    /// The clauses, each read although the one before it is wrong.
    fn statement(&mut self) -> Option<Parsed> {
        if let Err(fault) = self.keyword("select") {
            self.faults.push(fault.suggesting("begin with `SELECT * FROM 'a/topic'`".to_owned()));
            return None;
        }
        let items = self.items();
        let items = self.told(items, &["from"]);
        let filter = self.filter();
        let filter = self.told(filter, &["where"]);
        let condition = self.condition().and_then(|condition| self.end().map(|()| condition));
        let condition = self.told(condition, &[]);
        Some(Parsed {
            filter: filter?,
            select: Select { items: items?, condition: condition? },
            wanted: self.wanted(),
        })
    }

    /// Takes a fault down and goes on at the next of these keywords.
    fn told<T>(&mut self, read: Result<T, Fault>, next: &[&str]) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(fault) => {
                self.faults.push(fault);
                let mut open = 0_i32;
                loop {
                    match self.peek() {
                        Token::End => break,
                        Token::Symbol("(" | "[" | "{") => open += 1,
                        Token::Symbol(")" | "]" | "}") => open -= 1,
                        Token::Word(word)
                            if open <= 0 && next.iter().any(|next| word.eq_ignore_ascii_case(next)) =>
                        {
                            break;
                        }
                        _ => {}
                    }
                    self.at += 1;
                }
                self.depth = 0;
                self.nested = 0;
                None
            }
        }
    }

    fn filter(&mut self) -> Result<TopicFilter, Fault> {
        let hint = "add `FROM 'dt/+/climate'`: the topics that the rule is about".to_owned();
        self.keyword("from").map_err(|fault| fault.suggesting(hint))?;
        let (token, place) = self.take();
        let Token::Text(text) = token else {
            let fault = place.fault(format!("`FROM` needs a topic filter; here is {}", token.shown()));
            return Err(fault.suggesting("write it in single quotes: `FROM 'dt/+/climate'`".to_owned()));
        };
        if self.peek() == &Token::Symbol(",") {
            return Err(self
                .place()
                .fault("a rule has one topic filter")
                .suggesting("write a second rule".to_owned()));
        }
        TopicFilter::parse(text).map_err(|error| place.fault(error.to_string()))
    }

    fn condition(&mut self) -> Result<Option<Node>, Fault> {
        if !self.is_keyword("where") {
            return Ok(None);
        }
        self.at += 1;
        let condition = self.expression()?;
        if let Node::Literal(value) = &condition.node
            && value.boolean().is_none()
        {
            let message =
                format!("the condition is always {}; only true lets a message through", value.kind());
            self.faults.push(condition.place.fault(message));
        }
        Ok(Some(condition.node))
    }

    /// What stands before `FROM`.
    fn items(&mut self) -> Result<Items, Fault> {
        if self.begins_value() {
            self.at += 1;
            if self.accept("*") {
                self.want_all();
                return Ok(Items::Members { all: true, items: Vec::new() });
            }
            return Ok(Items::Value(self.expression()?.node));
        }
        let (mut all, mut items) = (false, Vec::new());
        loop {
            let place = self.place();
            if self.accept("*") {
                if all {
                    self.faults.push(place.fault("`*` is here twice"));
                }
                all = true;
                self.want_all();
            } else {
                items.push(self.item()?);
            }
            if items.len() > PARTS_MAX {
                return Err(place.fault(format!("more than {PARTS_MAX} items")));
            }
            if !self.accept(",") {
                return Ok(Items::Members { all, items });
            }
        }
    }

    /// Whether `VALUE` here is the keyword and not a member of that name.
    fn begins_value(&self) -> bool {
        let is_value = matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case("value"));
        let follows = |offset: usize| self.tokens.get(self.at + offset).map_or(&Token::End, |token| &token.0);
        is_value
            && match follows(1) {
                Token::Word(word) => {
                    !is_reserved(word)
                        || ["case", "not", "true", "false", "null"].contains(&word.to_lowercase().as_str())
                }
                Token::Symbol("*") => {
                    matches!(follows(2), Token::End)
                        || matches!(follows(2), Token::Word(word) if word.eq_ignore_ascii_case("from"))
                }
                Token::Symbol(symbol) => ["(", "[", "{"].contains(symbol),
                Token::End => false,
                _ => true,
            }
    }

    fn item(&mut self) -> Result<Item, Fault> {
        let expr = self.expression()?;
        if self.is_keyword("as") {
            self.at += 1;
            let mut path = vec![self.name("a name")?];
            while self.accept(".") {
                path.push(self.name("a name")?);
            }
            if path.len() > usize::from(DEPTH_MAX) {
                return Err(expr.place.fault(format!("the name has more than {DEPTH_MAX} steps")));
            }
            return Ok(Item { path, node: expr.node });
        }
        let path = match &expr.node {
            Node::Member(name) | Node::Field(_, name) => vec![name.clone()],
            _ => {
                let fault = expr.place.fault("this item has no name");
                self.faults.push(fault.suggesting("add `AS` and a name".to_owned()));
                Vec::new()
            }
        };
        Ok(Item { path, node: expr.node })
    }

    /// `(SELECT … FROM array [WHERE …])`, after the bracket.
    fn nested(&mut self, place: Place) -> Result<Expr, Fault> {
        self.at += 1;
        self.nested += 1;
        let around = std::mem::take(&mut self.deepest);
        let items = self.items()?;
        // The array is looked for outside, the items and the condition within its elements.
        self.keyword("from")?;
        self.nested -= 1;
        let from = self.expression()?;
        self.nested += 1;
        let condition = self.condition()?;
        self.nested -= 1;
        self.symbol(")")?;
        let depth = self.deepest.max(1);
        self.deepest = around.max(depth);
        let nested = Nested { from: from.node, select: Select { items, condition } };
        self.deeper(place, depth, Node::Select(Box::new(nested)))
    }

    /// An expression of every kind.
    fn expression(&mut self) -> Result<Expr, Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.too_deep(self.place()));
        }
        let read = self.binary(0);
        self.depth = self.depth.saturating_sub(1);
        read
    }

    /// An operand with what is asked of it by `.`.
    fn postfix(&mut self) -> Result<Expr, Fault> {
        let mut expr = self.primary()?;
        while self.accept(".") {
            let name = self.name("the name of a member")?;
            expr = self.deeper(expr.place, expr.depth, Node::Field(Box::new(expr.node), name))?;
        }
        Ok(expr)
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let (token, place) = self.take();
        let literal = |value| Ok(Expr { node: Node::Literal(value), place, depth: 1 });
        match token {
            Token::Text(text) => literal(Value::Text(text)),
            Token::Number(number) => match number.parse::<i128>() {
                Ok(int) => literal(Value::whole(int)),
                Err(_) => match number.parse::<f64>() {
                    Ok(decimal) if decimal.is_finite() => literal(Value::Decimal(decimal)),
                    _ => Err(place.fault(format!("`{number}` is no number"))),
                },
            },
            Token::Symbol("(") => {
                if self.is_keyword("select") {
                    return self.nested(place);
                }
                let inner = self.expression()?;
                self.symbol(")")?;
                Ok(inner)
            }
            Token::Symbol("[") => self.array(place),
            Token::Symbol("{") => self.object(place),
            Token::Name(name) => self.member(name, place),
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "true" => literal(Value::Bool(true)),
                "false" => literal(Value::Bool(false)),
                "null" => literal(Value::Null),
                "undefined" => literal(Value::Undefined),
                "case" => self.case(place),
                _ if self.peek() == &Token::Symbol("(") && !is_reserved(&word) => self.call(&word, place),
                _ if is_reserved(&word) => {
                    let fault = place.fault(format!("`{word}` stands where a value is expected"));
                    Err(fault.suggesting(format!("a member of that name is written `\"{word}\"`")))
                }
                _ => self.member(word, place),
            },
            Token::Symbol("*") => Err(place.fault("`*` is no value here").suggesting(
                "it stands alone, before `, expr AS name`, or in `encode(*, 'base64')`".to_owned(),
            )),
            other => Err(place.fault(format!("{} stands where a value is expected", other.shown()))),
        }
    }

    fn member(&mut self, name: String, place: Place) -> Result<Expr, Fault> {
        if self.nested == 0 && !self.members.contains(&name) {
            if self.members.len() >= PARTS_MAX {
                return Err(place.fault(format!("more than {PARTS_MAX} members are named")));
            }
            self.members.push(name.clone());
        }
        Ok(Expr { node: Node::Member(name), place, depth: 1 })
    }

    fn want_all(&mut self) {
        // Within a nested query `*` is the element.
        self.wants_all |= self.nested == 0;
    }

    fn array(&mut self, place: Place) -> Result<Expr, Fault> {
        let (mut parts, mut depth) = (Vec::new(), 0);
        if !self.accept("]") {
            loop {
                let part = self.expression()?;
                depth = depth.max(part.depth);
                parts.push(part.node);
                if !self.accept(",") {
                    break;
                }
            }
            self.symbol("]")?;
        }
        let node = match literals(parts) {
            Ok(values) => Node::Literal(Value::Array(values)),
            Err(parts) => Node::Array(parts),
        };
        self.deeper(place, depth, node)
    }

    fn object(&mut self, place: Place) -> Result<Expr, Fault> {
        let (mut members, mut depth) = (Vec::new(), 0);
        if !self.accept("}") {
            loop {
                let name = match self.take() {
                    (Token::Text(name) | Token::Name(name) | Token::Word(name), _) => name,
                    (other, place) => {
                        let fault =
                            place.fault(format!("a member's name is expected; here is {}", other.shown()));
                        return Err(fault.suggesting("write `{'name': value}`".to_owned()));
                    }
                };
                self.symbol(":")?;
                let part = self.expression()?;
                depth = depth.max(part.depth);
                members.push((name, part.node));
                if !self.accept(",") {
                    break;
                }
            }
            self.symbol("}")?;
        }
        self.deeper(place, depth, Node::Object(members))
    }

    /// `CASE v WHEN t THEN r … [ELSE e] END`; without `v` each `WHEN` is a condition.
    fn case(&mut self, place: Place) -> Result<Expr, Fault> {
        let mut depth = 0;
        let mut part = |parser: &mut Self| {
            let expr = parser.expression()?;
            depth = depth.max(expr.depth);
            Ok(expr.node)
        };
        let operand = if self.is_keyword("when") { None } else { Some(Box::new(part(self)?)) };
        let mut branches = Vec::new();
        while self.is_keyword("when") {
            self.at += 1;
            let when = part(self)?;
            self.keyword("then")?;
            branches.push((when, part(self)?));
        }
        if branches.is_empty() {
            return Err(self.expected("`WHEN`"));
        }
        let otherwise = if self.is_keyword("else") {
            self.at += 1;
            Some(Box::new(part(self)?))
        } else {
            None
        };
        self.keyword("end")?;
        self.deeper(place, depth, Node::Case { operand, branches, otherwise })
    }

    /// A node that stands above parts of this depth.
    fn deeper(&mut self, place: Place, depth: u16, node: Node) -> Result<Expr, Fault> {
        if depth >= DEPTH_MAX {
            return Err(self.too_deep(place));
        }
        self.deepest = self.deepest.max(depth + 1);
        Ok(Expr { node, place, depth: depth + 1 })
    }

    fn too_deep(&self, place: Place) -> Fault {
        place.fault(format!("the expression is more than {DEPTH_MAX} levels deep"))
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    fn place(&self) -> Place {
        self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    /// The next token; the end is never passed.
    fn take(&mut self) -> (Token, Place) {
        let taken = self.tokens[self.at.min(self.tokens.len() - 1)].clone();
        self.at += 1;
        taken
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), Fault> {
        if self.is_keyword(keyword) {
            self.at += 1;
            return Ok(());
        }
        let near = match self.peek() {
            Token::Word(word) => {
                did_you_mean(word, [keyword]).map(|_| format!("did you mean `{}`?", keyword.to_uppercase()))
            }
            _ => None,
        };
        Err(self.expected(&format!("`{}`", keyword.to_uppercase())).suggesting(near))
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        self.at += usize::from(is_it);
        is_it
    }

    fn symbol(&mut self, symbol: &str) -> Result<(), Fault> {
        if self.accept(symbol) { Ok(()) } else { Err(self.expected(&format!("`{symbol}`"))) }
    }

    fn name(&mut self, what: &str) -> Result<String, Fault> {
        match self.take() {
            (Token::Word(name) | Token::Name(name), _) => Ok(name),
            (other, place) => Err(place.fault(format!("{what} is expected; here is {}", other.shown()))),
        }
    }

    fn expected(&self, what: &str) -> Fault {
        self.place().fault(format!("{what} is expected; here is {}", self.peek().shown()))
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.accept(";");
        match self.peek() {
            Token::End => Ok(()),
            Token::Word(word)
                if ["group", "order", "limit", "having", "join"].contains(&word.to_lowercase().as_str()) =>
            {
                let fault = self.place().fault(format!("`{}` is not part of rules SQL", word.to_uppercase()));
                Err(fault.suggesting(
                    "a rule sees one message at a time; what needs many is an `alert:` or a query".to_owned(),
                ))
            }
            _ => Err(self.expected("an operator or the end")),
        }
    }
}

/// The values of parts that are all literals; they are made once, not for each message.
fn literals(parts: Vec<Node>) -> Result<Vec<Value>, Vec<Node>> {
    if parts.iter().all(|part| matches!(part, Node::Literal(_))) {
        let value = |part| if let Node::Literal(value) = part { value } else { Value::Undefined };
        Ok(parts.into_iter().map(value).collect())
    } else {
        Err(parts)
    }
}

fn is_reserved(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}
