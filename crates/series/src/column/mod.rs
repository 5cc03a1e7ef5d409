//! Column files: how sorted readings become Parquet, and how a scan gets them back.
//!
//! A column file is Parquet that any reader can open, but its columns are chosen per file by trying which are
//! smallest, and a column's *name says how to read it*:
//!
//! | column | holds |
//! |---|---|
//! | `device`, `channel`, `topic` | text, dictionary |
//! | `time.us`, `time.ms`, `time.s` | `i64`: the time in the coarsest unit that is exact for every row |
//! | or `time.base`, `time.step.N`, `time.rest.U` | time in µs = base + step × N + rest × U (U is `us`, `ms` or `s`): devices that report at a steady pace. Base is constant within the rows of one channel of one device |
//! | `value.eK` (K = 0..9), `value.f64` | the number as an integer of K decimals: the integer divided by 10^K is the very same f64. A row has at most one of them, chosen per channel of a device; `value.f64` where no K is exact |
//! | `text` | the text; absent when no row has one |
//! | `flags` | bits of [`model::Flags`]; absent when all are 0 |
//! | `received.ms`, or `delay.ms` | receipt in ms, or ms from the reading's time (rounded down to ms) to receipt |
//!
//! Receipt is kept to the millisecond (rounded down); `-0.0` is stored as `0.0`; all else comes back bit for bit.
//!
//! Rows are sorted by (device, channel, time); a file is one row group of at most [`ROWS_MAX`] rows in pages of
//! [`PAGE_ROWS`], with a page index over device, channel and time. Not here: which files are live (`manifest`).

mod adapter;
mod decode;
mod encode;
mod reader;

pub(crate) use adapter::ColumnsAdapterFactory;
pub(crate) use decode::{Decoded, Form};
pub(crate) use encode::{
    Column, EncodeError, Layout, Types, decode_plain, encode, encode_plain, scaled_near, unit_of, write,
};
pub(crate) use reader::{AWAY_MARK, FAULT_MARK, FileCache, FileReader, ReaderFactory};

/// Most rows of one file: a row group that is decided on, encoded and held in memory as a whole.
pub(crate) const ROWS_MAX: usize = 1 << 20;

/// Most text bytes of one file; with longer texts a file has fewer rows.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 20;

/// Rows per page: the least that is decoded to find one device.
pub(crate) const PAGE_ROWS: usize = 8_192;

/// Most decimals that are tried: 10^9 times a number of ten digits still fits 2^53... and sensors have no more.
pub(crate) const DECIMALS_MAX: u32 = 9;

/// How many microseconds each unit has, by its name in columns.
pub(crate) const UNITS: [(&str, i64); 3] = [("s", 1_000_000), ("ms", 1_000), ("us", 1)];
