//! The grammar of expressions: tokens become a tree that still knows where everything stood.
//!
//! Not here: which functions there are and what may be compared with what (`lower`). The laws: the tree is at most
//! [`DEPTH_MAX`] deep, so that no text can exhaust the stack; a syntax fault says what was expected.

use super::lexer::{Flaw, Token, tokens};

/// How deep an expression may nest.
pub(crate) const DEPTH_MAX: usize = 64;

/// Longest expression in bytes.
pub(crate) const EXPR_BYTES_MAX: usize = 4_096;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expr {
    pub(crate) at: usize,
    pub(crate) kind: ExprKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExprKind {
    Number(f64),
    Text(String),
    Truth(bool),
    /// A plain name.
    Name(String),
    /// A name in quotes.
    Quoted(String),
    /// `attr."name"`
    Attribute(String),
    Negative(Box<Expr>),
    Not(Box<Expr>),
    /// And, or, comparison, arithmetic: by its sign.
    Binary(Binary, Box<Expr>, Box<Expr>),
    Case(Vec<(Expr, Expr)>, Option<Box<Expr>>),
    Call(String, Vec<Argument>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    And,
    Or,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Argument {
    Expr(Expr),
    /// `5m`
    Span(usize, i64),
    /// `last 4`
    Last(usize, f64),
}

impl Argument {
    pub(crate) fn at(&self) -> usize {
        match self {
            Self::Expr(expr) => expr.at,
            Self::Span(at, _) | Self::Last(at, _) => *at,
        }
    }
}

const KEYWORDS: [&str; 10] = ["and", "or", "not", "true", "false", "case", "when", "then", "else", "end"];

pub(crate) fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Result<Expr, Vec<Flaw>> {
    if text.len() > EXPR_BYTES_MAX {
        let message = format!("the expression is {} bytes; the most is {EXPR_BYTES_MAX}", text.len());
        return Err(vec![Flaw::new(0, message)]);
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens, next: 0, depth: 0 };
    let parsed = parser.or().and_then(|expr| match parser.peek() {
        Token::End => Ok(expr),
        other => Err(parser.unexpected(&other.clone())),
    });
    parsed.map_err(|flaw| vec![flaw])
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    fn at(&self) -> usize {
        self.tokens[self.next].0
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.next].1.clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Sign(next) if *next == sign);
        if is_it {
            self.advance();
        }
        is_it
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Word(next) if next.eq_ignore_ascii_case(word));
        if is_it {
            self.advance();
        }
        is_it
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), Flaw> {
        if self.takes_sign(sign) { Ok(()) } else { Err(self.expected(&format!("`{sign}`"))) }
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Flaw> {
        if self.takes_word(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    fn expected(&self, what: &str) -> Flaw {
        Flaw::new(self.at(), format!("expected {what}, found {}", self.peek().shown()))
    }

    fn unexpected(&self, token: &Token) -> Flaw {
        let flaw = Flaw::new(self.at(), format!("{} does not belong here", token.shown()));
        match token {
            Token::Word(word) if ["between", "in", "like", "is"].contains(&word.to_lowercase().as_str()) => {
                flaw.suggesting("compare with `=`, `<`, `>` and join with `and`, `or`".to_owned())
            }
            Token::Word(_) | Token::Number(_) | Token::Quoted(_) => {
                flaw.suggesting("an operator such as `>` or `and` is missing before it".to_owned())
            }
            _ => flaw,
        }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Flaw>) -> Result<T, Flaw> {
        if self.depth == DEPTH_MAX {
            return Err(Flaw::new(self.at(), format!("the expression nests deeper than {DEPTH_MAX}")));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn or(&mut self) -> Result<Expr, Flaw> {
        self.deeper(|parser| parser.chain(&[Binary::Or], Self::and))
    }

    fn and(&mut self) -> Result<Expr, Flaw> {
        self.chain(&[Binary::And], Self::not)
    }

    fn not(&mut self) -> Result<Expr, Flaw> {
        let at = self.at();
        if self.takes_word("not") {
            let inner = self.deeper(Self::not)?;
            return Ok(Expr { at, kind: ExprKind::Not(Box::new(inner)) });
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, Flaw> {
        let left = self.sum()?;
        let Some((sign_at, compared)) = self.comparison_sign() else { return Ok(left) };
        let right = self.sum()?;
        if let Some((at, _)) = self.comparison_sign() {
            let flaw = Flaw::new(at, "comparisons do not chain");
            return Err(flaw.suggesting("write `1 < x and x < 3`".to_owned()));
        }
        Ok(Expr { at: sign_at, kind: ExprKind::Binary(compared, Box::new(left), Box::new(right)) })
    }

    fn comparison_sign(&mut self) -> Option<(usize, Binary)> {
        let Token::Sign(sign) = self.peek() else { return None };
        let compared = match *sign {
            "=" | "==" => Binary::Equal,
            "!=" | "<>" => Binary::Unequal,
            "<" => Binary::Less,
            "<=" => Binary::LessOrEqual,
            ">" => Binary::Greater,
            ">=" => Binary::GreaterOrEqual,
            _ => return None,
        };
        let at = self.at();
        self.advance();
        Some((at, compared))
    }

    fn sum(&mut self) -> Result<Expr, Flaw> {
        self.chain(&[Binary::Add, Binary::Subtract], Self::product)
    }

    fn product(&mut self) -> Result<Expr, Flaw> {
        self.chain(&[Binary::Multiply, Binary::Divide, Binary::Remainder], Self::unary)
    }

    /// Operands of one rank, joined from the left. A long chain is as deep a tree as it is long: it is bounded too.
    fn chain(
        &mut self,
        binaries: &[Binary],
        operand: fn(&mut Self) -> Result<Expr, Flaw>,
    ) -> Result<Expr, Flaw> {
        let mut left = operand(self)?;
        let mut links = 0;
        loop {
            let at = self.at();
            let found = binaries.iter().copied().find(|binary| match binary {
                Binary::And => self.takes_word("and"),
                Binary::Or => self.takes_word("or"),
                Binary::Add => self.takes_sign("+"),
                Binary::Subtract => self.takes_sign("-"),
                Binary::Multiply => self.takes_sign("*"),
                Binary::Divide => self.takes_sign("/"),
                _ => self.takes_sign("%"),
            });
            let Some(binary) = found else { return Ok(left) };
            links += 1;
            if links > DEPTH_MAX {
                return Err(Flaw::new(at, format!("more than {DEPTH_MAX} operators in a row")));
            }
            let right = operand(self)?;
            left = Expr { at, kind: ExprKind::Binary(binary, Box::new(left), Box::new(right)) };
        }
    }

    fn unary(&mut self) -> Result<Expr, Flaw> {
        let at = self.at();
        if self.takes_sign("-") {
            let inner = self.deeper(Self::unary)?;
            let kind = match inner.kind {
                ExprKind::Number(number) => ExprKind::Number(-number),
                _ => ExprKind::Negative(Box::new(inner)),
            };
            return Ok(Expr { at, kind });
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Expr, Flaw> {
        let at = self.at();
        let kind = match self.peek().clone() {
            Token::Number(number) => {
                self.advance();
                ExprKind::Number(number)
            }
            Token::Text(text) => {
                self.advance();
                ExprKind::Text(text)
            }
            Token::Quoted(name) => {
                self.advance();
                ExprKind::Quoted(name)
            }
            Token::Sign("(") => {
                self.advance();
                let inner = self.or()?;
                self.expect_sign(")")?;
                return Ok(inner);
            }
            Token::Span(_) => {
                let flaw = Flaw::new(at, format!("{} is a span of time, not a value", self.peek().shown()));
                return Err(flaw.suggesting("spans stand in windows: `avg(x, 5m)`".to_owned()));
            }
            Token::Word(word) => {
                if word.eq_ignore_ascii_case("case") {
                    return self.case();
                }
                if is_keyword(&word) && !["true", "false"].contains(&word.to_lowercase().as_str()) {
                    return Err(self.expected("a value"));
                }
                self.advance();
                if word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false") {
                    ExprKind::Truth(word.eq_ignore_ascii_case("true"))
                } else if self.takes_sign("(") {
                    ExprKind::Call(word, self.arguments()?)
                } else if word == "attr" && self.takes_sign(".") {
                    match self.advance() {
                        Token::Quoted(name) => ExprKind::Attribute(name),
                        _ => return Err(Flaw::new(at, "expected the name of an attribute: `attr.floor`")),
                    }
                } else if let Some(name) = word.strip_prefix("attr.") {
                    ExprKind::Attribute(name.to_owned())
                } else {
                    ExprKind::Name(word)
                }
            }
            _ => return Err(self.expected("a value")),
        };
        Ok(Expr { at, kind })
    }

    fn case(&mut self) -> Result<Expr, Flaw> {
        let at = self.at();
        self.advance();
        let mut branches = Vec::new();
        while self.takes_word("when") {
            let condition = self.or()?;
            self.expect_word("then")?;
            branches.push((condition, self.or()?));
        }
        if branches.is_empty() {
            return Err(self.expected("`when`"));
        }
        let otherwise = if self.takes_word("else") { Some(Box::new(self.or()?)) } else { None };
        self.expect_word("end")?;
        Ok(Expr { at, kind: ExprKind::Case(branches, otherwise) })
    }

    fn arguments(&mut self) -> Result<Vec<Argument>, Flaw> {
        let mut arguments = Vec::new();
        if self.takes_sign(")") {
            return Ok(arguments);
        }
        loop {
            let at = self.at();
            let is_last = matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case("last"));
            let argument = match (self.peek().clone(), self.tokens.get(self.next + 1)) {
                (Token::Span(micros), _) => {
                    self.advance();
                    Argument::Span(at, micros)
                }
                (_, Some((_, Token::Number(number)))) if is_last => {
                    let number = *number;
                    self.advance();
                    self.advance();
                    Argument::Last(at, number)
                }
                _ => Argument::Expr(self.or()?),
            };
            arguments.push(argument);
            if self.takes_sign(")") {
                return Ok(arguments);
            }
            if !self.takes_sign(",") {
                return Err(self.expected("`,` or `)`"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_is_the_usual_one() {
        let same = |a: &str, b: &str| {
            // Places differ, the tree does not.
            let bare = |text: &str| {
                let tree = format!("{:?}", parse(text).expect(text));
                let places = regex::Regex::new(r"at: \d+").expect("a pattern");
                places.replace_all(&tree, "").into_owned()
            };
            assert_eq!(bare(a), bare(b), "{a}");
        };
        same("a + b * c", "a + (b * c)");
        same("a - b - c", "(a - b) - c");
        same("not a = b and c", "(not (a = b)) and c");
        same("a or b and c", "a or (b and c)");
        same("a <> 1", "a != 1");
        same("-a * b", "(-a) * b");
        same("CASE WHEN a THEN 1 END", "case when (a) then (1) end");
    }

    #[test]
    fn a_syntax_fault_says_what_was_expected() {
        let check = |text: &str, at: usize, expect: &str| {
            let flaws = parse(text).expect_err(text);
            assert_eq!((flaws[0].at, flaws[0].message.as_str()), (at, expect), "{text}");
        };
        check("", 0, "expected a value, found the end");
        check("a >", 3, "expected a value, found the end");
        check("avg(x 5m)", 6, "expected `,` or `)`, found `5m`");
        check("1 < a < 3", 6, "comparisons do not chain");
        check("a b", 2, "`b` does not belong here");
        check("(a", 2, "expected `)`, found the end");
        check("a > 5m", 4, "`5m` is a span of time, not a value");
        check("case a end", 5, "expected `when`, found `a`");
        check(&"(".repeat(100), 64, "the expression nests deeper than 64");
        assert!(parse(&"not ".repeat(1000)).is_err() && parse(&"-".repeat(4000)).is_err());
        assert!(parse(&"a+".repeat(2047)).is_err() && parse(&"a".repeat(5000)).is_err());
    }
}
