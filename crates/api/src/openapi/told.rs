//! What a route takes and gives: the first told by the types of its handler, the second by its row.
//!
//! axum hands a handler what the types of its arguments say; the same types are asked here what they read. The law: a handler
//! that reads a body or a query has it in the document, because it would not have it otherwise.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;

use super::shape::{self, Unlike};

/// A type that is in the document by its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    /// Its path in the code.
    pub(super) path: fn() -> &'static str,
    /// Its schema.
    pub(super) schema: fn() -> Result<Value, Unlike>,
}

impl Named {
    pub(crate) fn of<T: Deserialize<'static>>() -> Self {
        Self { path: std::any::type_name::<T>, schema: shape::of::<T> }
    }

    /// `UsersNew` of `api::users::New`, `Session` of `api::sessions::Session`: unique, which a test holds.
    pub(super) fn name(self) -> String {
        let mut name = String::new();
        for part in (self.path)().split("::").skip(1) {
            let word: String = part
                .split('_')
                .map(|word| {
                    word.chars()
                        .take(1)
                        .map(|first| first.to_ascii_uppercase())
                        .chain(word.chars().skip(1))
                        .collect::<String>()
                })
                .collect();
            if word.starts_with(&name) || name.starts_with(&word) {
                name.clear();
            }
            name.push_str(&word);
        }
        name
    }
}

/// What a handler takes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Takes {
    /// What is behind `?`.
    pub(super) query: Option<Named>,
    /// The body.
    pub(super) body: Option<Named>,
    /// The body is any JSON text, which the handler reads itself.
    pub(super) text: bool,
    /// Headers.
    pub(super) headers: bool,
}

/// What a route gives.
#[derive(Debug, Clone)]
pub(crate) struct Gives {
    /// The HTTP status.
    pub(super) status: u16,
    /// One of these; of several parts together: those are one entry.
    pub(super) json: Vec<Vec<Named>>,
    /// `null` too.
    pub(super) or_null: bool,
    /// It comes line by line, each of the shape.
    pub(super) lines: bool,
    /// Media types of what is no JSON, or not of one shape.
    pub(super) media: &'static [&'static str],
}

impl Gives {
    /// JSON of one shape.
    pub(crate) fn one<T: Deserialize<'static>>(status: u16) -> Self {
        Self { json: vec![vec![Named::of::<T>()]], ..Self::none(status) }
    }

    /// JSON with the fields of both.
    pub(crate) fn both<T: Deserialize<'static>, U: Deserialize<'static>>(status: u16) -> Self {
        Self { json: vec![vec![Named::of::<T>(), Named::of::<U>()]], ..Self::none(status) }
    }

    /// Lines of JSON, each of one shape.
    pub(crate) fn lines<T: Deserialize<'static>>(status: u16) -> Self {
        Self { lines: true, ..Self::one::<T>(status) }
    }

    /// Nothing but the status.
    pub(crate) fn none(status: u16) -> Self {
        Self { status, json: Vec::new(), or_null: false, lines: false, media: &[] }
    }

    /// Other things than JSON of one shape.
    pub(crate) fn media(status: u16, media: &'static [&'static str]) -> Self {
        Self { media, ..Self::none(status) }
    }

    /// … or `null`.
    pub(crate) fn or_null(mut self) -> Self {
        self.or_null = true;
        self
    }

    /// … or the other of the same status.
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.json.extend(other.json);
        self
    }
}

/// An argument of a handler.
pub(crate) trait Argument {
    /// Tells what it reads.
    fn tell(takes: &mut Takes);
}

impl<S> Argument for State<S> {
    fn tell(_: &mut Takes) {}
}

impl<T> Argument for Extension<T> {
    fn tell(_: &mut Takes) {}
}

impl<T> Argument for Path<T> {
    // Their names are in the path.
    fn tell(_: &mut Takes) {}
}

impl<T> Argument for Option<Extension<T>> {
    fn tell(_: &mut Takes) {}
}

impl Argument for HeaderMap {
    fn tell(takes: &mut Takes) {
        takes.headers = true;
    }
}

impl Argument for String {
    fn tell(takes: &mut Takes) {
        takes.text = true;
    }
}

impl<T: Deserialize<'static>> Argument for Query<T> {
    fn tell(takes: &mut Takes) {
        takes.query = Some(Named::of::<T>());
    }
}

impl<T: Deserialize<'static>, E> Argument for Result<Json<T>, E> {
    fn tell(takes: &mut Takes) {
        takes.body = Some(Named::of::<T>());
    }
}

/// The arguments of a handler, as axum's `Handler` names them: behind a mark of its own.
pub(crate) trait Arguments {
    /// What they read.
    fn takes() -> Takes;
}

macro_rules! arguments {
    ($($argument:ident)*) => {
        impl<M, $($argument: Argument),*> Arguments for (M, $($argument,)*) {
            #[allow(unused_mut, reason = "a handler without arguments")]
            fn takes() -> Takes {
                let mut takes = Takes::default();
                $($argument::tell(&mut takes);)*
                takes
            }
        }
    };
}

arguments!();
arguments!(A);
arguments!(A B);
arguments!(A B C);
arguments!(A B C D);
arguments!(A B C D E);
arguments!(A B C D E F);
arguments!(A B C D E F G);
