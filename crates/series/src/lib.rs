//! Readings as columns: memory → Parquet files, and SQL over both. The one home of Arrow and DataFusion.
//!
//! ```text
//! journal ──→ decode (model::route) ──→ memory ──→ column files, named by the manifest
//!                                         └────────────┴──→ SQL: readings, rollups, latest, channels, messages, foreign tables
//! ```
//!
//! [`Series`] runs it on threads of its own. Not here: what a payload means (`model`), durability of messages
//! (`journal`), public JSON (`api`).
//!
//! The laws: effect and position move together (both are in the manifest); a reading is (device, channel, time), a
//! repeat changes nothing, a different value replaces by `seq`; "latest" is by the time of the reading; nothing is
//! dropped without being counted in [`Tally`]; no type of the engine is seen outside.

mod answer;
mod column;
mod conflict;
mod error;
mod export;
mod extract;
mod files;
mod fold;
mod foreign;
mod history;
mod latest;
mod learnt;
mod manifest;
mod offline;
mod pace;
mod postgres;
mod query;
mod rebirth;
mod reprocess;
mod retention;
mod rollup;
mod rows;
mod samples;
mod schema;
mod service;
mod settings;
mod stats;
mod store;
mod table;
mod tally;
mod tiers;
mod upkeep;

pub use answer::{Answer, Format};
pub use error::{OpenError, QueryError, StoreError};
pub use export::{
    Access, Day, Export, ExportSettings, ExportStatus, FileFormat, Lake, LakeError, LakeFile, Selection,
};
pub use extract::{Extract, FileExtract};
pub use foreign::{Cell, ColumnKind, ForeignTable, RowsFunction, SampleFunction};
pub use history::{HeldMax, HowFar, Met, Past, PastOrder};
pub use offline::Offline;
pub use postgres::{
    PermitFunction, Postgres, PostgresError, PostgresParts, PostgresSettings, ScramVerifier, SqlAsk,
    SqlLogin, SqlRefusal, VerifierFunction,
};
pub use reprocess::{Reprocess, ReprocessError, ReprocessState, Reprocessing, RouteCount};
pub use samples::StoredSample;
pub use service::Series;
pub use settings::{Budget, QueryLimits, RemoteSettings, RetentionSettings, Secret, Settings, SiteSettings};
pub use stats::{DiskStats, RemoteStats, Stats};
pub use tally::{MessageSample, Tally, UndecodableKind, UnroutedKind};
