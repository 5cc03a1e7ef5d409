//! Two values of the same device, channel and time: the order in which a channel that appends keeps them.
//!
//! Not here: which channels append (`model::Channels`). The laws: what says the same is equal, to the last bit; the order
//! depends on nothing but what is said, so that it is the same whatever came first.

use std::cmp::Ordering;

use arrow::array::{Array, Float64Array, StringViewArray};

/// A number, a text, or both.
pub(crate) type Said<'a> = (Option<f64>, Option<&'a str>);

/// Numbers before none, by their size; then by text.
pub(crate) fn order(a: Said<'_>, b: Said<'_>) -> Ordering {
    let number = |number: Option<f64>| (number.is_none(), number.unwrap_or(0.0));
    let ((a_none, a_number), (b_none, b_number)) = (number(a.0), number(b.0));
    a_none.cmp(&b_none).then_with(|| a_number.total_cmp(&b_number)).then_with(|| a.1.cmp(&b.1))
}

/// What a row of a batch says.
pub(crate) fn said<'a>(value: &Float64Array, text: &'a StringViewArray, row: usize) -> Said<'a> {
    (value.is_valid(row).then(|| value.value(row)), text.is_valid(row).then(|| text.value(row)))
}
