//! Substitution templates: `ops/hot/${topic(2)}`, the fields of actions.
//!
//! Not here: what the fields are for. The laws (section 7.5 of the contract): what stands in `${…}` is worked out on the payload
//! as it came, and on the context; a name that the payload does not have is looked for in what the statement selected.
//! A template that comes to nothing is an error of its action, never the text `Undefined`.

use super::context::{Context, Draws};
use super::node::{Node, Scope};
use super::payload::{self, Wanted};
use super::select::Selection;
use super::{TEXT_BYTES_MAX, overlap, parser};
use crate::fault::Fault;
use model::TopicFilter;

/// A text with expressions in it.
#[derive(Debug)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
    wanted: Wanted,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Expression { text: String, node: Node },
}

/// A template could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`${{{expression}}}` is {found} for this message; it must be text, a number or a boolean")]
pub struct RenderError {
    /// What stands in the template.
    pub expression: String,
    /// What came out.
    pub found: &'static str,
}

impl Template {
    /// Checks and compiles a template.
    ///
    /// # Errors
    /// Every [`Fault`]; places are within the template, from line 1 and column 1.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("the template is {} bytes; the most is {TEXT_BYTES_MAX}", text.len());
            return Err(vec![Fault::new(1, 1, message)]);
        }
        let (mut parts, mut wanted, mut faults) = (Vec::new(), Wanted::Nothing, Vec::new());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let start = text.len() - rest.len() + at;
            let inside = &rest[at + 2..];
            let Some(length) = end_of(inside) else {
                faults.push(at_byte(text, start, Fault::new(1, 1, "`${` has no `}` after it"), 0));
                break;
            };
            if at > 0 {
                parts.push(Part::Text(rest[..at].to_owned()));
            }
            match parser::expression(&inside[..length]) {
                Ok((node, names)) => {
                    wanted = wanted.and(names);
                    parts.push(Part::Expression { text: inside[..length].trim().to_owned(), node });
                }
                Err(inner) => faults.extend(inner.into_iter().map(|fault| at_byte(text, start, fault, 2))),
            }
            rest = &inside[length + 1..];
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts, wanted })
    }

    /// The template as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether there is nothing to fill in.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// What it looks like when every expression is put as `hole`: to see which topics it can come to.
    #[must_use]
    pub fn with_holes(&self, hole: &str) -> String {
        let piece = |part: &'_ Part| match part {
            Part::Text(text) => text.clone(),
            Part::Expression { .. } => hole.to_owned(),
        };
        self.parts.iter().map(piece).collect()
    }

    /// Whether it can come to a topic that `filter` matches: an expression can be any text.
    #[must_use]
    pub fn may_match(&self, filter: &TopicFilter) -> bool {
        let written = |part: &'_ Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Expression { .. } => None,
        };
        let parts: Vec<Option<String>> = self.parts.iter().map(written).collect();
        overlap::may_match(filter, parts.iter().map(Option::as_deref))
    }

    /// Fills it in for a message and what a statement made of it.
    ///
    /// # Errors
    /// [`RenderError`] when an expression comes to nothing, or to an array or object.
    pub fn render(
        &self,
        payload: &[u8],
        context: &Context<'_>,
        selection: Option<&Selection>,
    ) -> Result<String, RenderError> {
        let root = payload::parse(payload, &self.wanted);
        let draws = Draws::new(context.seed);
        let selected = selection.and_then(Selection::value);
        let scope = Scope { root: root.as_ref(), selected, payload, context, draws: &draws };
        let mut made = String::with_capacity(self.text.len());
        for part in &self.parts {
            match part {
                Part::Text(text) => made.push_str(text),
                Part::Expression { text, node } => {
                    let value = node.evaluate(&scope);
                    let kind = value.kind();
                    let is_plain = !matches!(kind, "an array" | "an object");
                    let filled = value.text().filter(|_| is_plain);
                    made.push_str(
                        &filled.ok_or_else(|| RenderError { expression: text.clone(), found: kind })?,
                    );
                }
            }
        }
        Ok(made)
    }
}

/// Where the expression ends: the first `}` that closes no `{` of its own and stands in no quotes.
fn end_of(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_u32, None);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"' | '`') => quote = Some(character),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

/// A fault of the expression that begins at byte `start`, as one of the whole template.
fn at_byte(text: &str, start: usize, fault: Fault, skipped: usize) -> Fault {
    let before = &text[..start];
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or("").chars().count();
    let column = if fault.line == 1 { fault.column + column + skipped } else { fault.column };
    Fault { line: fault.line + line, column, ..fault }
}
