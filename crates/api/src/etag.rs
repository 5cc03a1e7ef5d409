//! Changes that are made only if nobody else changed the thing meanwhile: `ETag` and `If-Match` (RFC 9110, sections 8.8.3
//! and 13.1.1).
//!
//! The tag of a thing is its version in quotes, a strong one. The law: a request with an `If-Match` that cannot be
//! understood changes nothing.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use model::Kind;
use serde::Serialize;

use crate::problem::Problem;

/// The version that a change is to be made of; `None`: of any.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    version.and_then(|digits| digits.parse().ok()).map(Some).ok_or_else(|| {
        Problem::new(Kind::Invalid, "api.if_match", "`If-Match` is no tag of this API")
            .hint(Some("send the `ETag` of the answer that was read: a number in quotes"))
    })
}

/// The tag of a version.
pub(crate) fn of(version: u64) -> (header::HeaderName, HeaderValue) {
    (header::ETAG, HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes"))
}

/// An answer with the tag of what it shows.
pub(crate) fn tagged(version: u64, shown: impl Serialize) -> Response {
    ([of(version)], Json(shown)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_understood_or_refused() {
        let read = |text: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(text) = text {
                headers.insert(header::IF_MATCH, HeaderValue::from_static(text));
            }
            if_match(&headers).ok()
        };
        assert_eq!(read(None), Some(None));
        assert_eq!(read(Some("*")), Some(None));
        assert_eq!(read(Some("\"17\"")), Some(Some(17)));
        for odd in ["17", "\"\"", "W/\"17\"", "\"17\", \"18\"", "\"x\""] {
            assert_eq!(read(Some(odd)), None, "{odd}");
        }
    }
}
