//! From batches of readings to the bytes of a file, piece by piece.
//!
//! The Parquet is plain: ordinary types (a time is a UTC timestamp in microseconds, names are strings), no schema of
//! Arrow's own beside, so that every reader sees the same columns as SQL. Not here: where the bytes go.

use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::FileFormat;
use crate::answer;
use crate::schema;

/// Bytes of a row group in memory after which it is written.
const GROUP_BYTES_MAX: usize = 32 << 20;

/// Makes the bytes of a file.
pub(super) enum Encoder {
    Csv { is_started: bool },
    Jsonl,
    Parquet(Box<Parquet>),
}

pub(super) struct Parquet {
    writer: ArrowWriter<Pieces>,
    pieces: Pieces,
    schema: SchemaRef,
}

/// What the writer has written and nobody has taken.
#[derive(Clone, Default)]
struct Pieces(Arc<Mutex<Vec<u8>>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Pieces {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Encoder {
    pub(super) fn new(format: FileFormat) -> Result<Self, String> {
        Ok(match format {
            FileFormat::Csv => Self::Csv { is_started: false },
            FileFormat::Jsonl => Self::Jsonl,
            FileFormat::Parquet => {
                let (pieces, schema) = (Pieces::default(), plain());
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_created_by(format!("godwit {}", env!("CARGO_PKG_VERSION")));
                let options = ArrowWriterOptions::new()
                    .with_properties(properties.build())
                    .with_skip_arrow_metadata(true);
                let writer = ArrowWriter::try_new_with_options(pieces.clone(), Arc::clone(&schema), options);
                let writer = writer.map_err(|error| error.to_string())?;
                Self::Parquet(Box::new(Parquet { writer, pieces, schema }))
            }
        })
    }

    /// Takes rows in, and gives what can be written of the file.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, String> {
        Ok(match self {
            Self::Csv { is_started } => {
                let is_first = !std::mem::replace(is_started, true);
                answer::csv(batch, is_first).into_bytes()
            }
            Self::Jsonl => answer::json_lines(batch).into_bytes(),
            Self::Parquet(parquet) => {
                parquet.add(batch).map_err(|error| error.to_string())?;
                parquet.pieces.take()
            }
        })
    }

    /// The end of the file.
    pub(super) fn finish(self) -> Result<Vec<u8>, String> {
        Ok(match self {
            Self::Csv { is_started: true } | Self::Jsonl => Vec::new(),
            // A file without rows has its header.
            Self::Csv { is_started: false } => {
                answer::csv(&RecordBatch::new_empty(schema::readings()), true).into_bytes()
            }
            Self::Parquet(parquet) => {
                let Parquet { writer, pieces, .. } = *parquet;
                writer.close().map_err(|error| error.to_string())?;
                pieces.take()
            }
        })
    }
}

impl Parquet {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), parquet::errors::ParquetError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns =
            columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<_, _>>()?;
        self.writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        if self.writer.in_progress_size() >= GROUP_BYTES_MAX {
            self.writer.flush()?;
        }
        Ok(())
    }
}

/// The columns of `readings` with types that every reader knows.
fn plain() -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8View => field.as_ref().clone().with_data_type(DataType::Utf8),
        DataType::Timestamp(unit, Some(_)) => {
            field.as_ref().clone().with_data_type(DataType::Timestamp(*unit, Some("UTC".into())))
        }
        _ => field.as_ref().clone(),
    };
    Arc::new(Schema::new(schema::readings().fields().iter().map(field).collect::<Vec<_>>()))
}
