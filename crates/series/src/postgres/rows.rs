//! Runs a plan on the engine's own threads and hands its rows to the connection, encoded.
//!
//! Not here: encoding a value (`arrow_pg`). The laws: planning, running and encoding are done by the threads of low
//! priority; a few batches are ahead of the client and no more; who cancels or hangs up ends the work.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use futures::StreamExt;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, QueryResponse};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;
use tokio::sync::mpsc;

use super::fault::Fault;
use super::session::Session;
use crate::answer::CancelOnDrop;
use crate::error::QueryError;
use crate::query::Engine;
use crate::settings::QueryLimits;

/// Rows that are encoded at once: some 100 kB.
const ROWS_AT_ONCE: usize = 1_024;

/// Pieces of encoded rows ahead of the client.
const PIECES_AHEAD: usize = 2;

/// The columns of an answer as the protocol describes them.
pub(crate) fn fields(schema: &SchemaRef, format: &Format) -> PgWireResult<Arc<Vec<FieldInfo>>> {
    if let Format::Individual(formats) = format
        && formats.len() != schema.fields().len()
    {
        return Err(Fault::new(
            "08P01",
            format!("{} formats are asked for {} columns", formats.len(), schema.fields().len()),
        )
        .into());
    }
    let fields = arrow_schema_to_pg_fields(schema, format, None).map_err(unknown_type)?;
    Ok(Arc::new(fields))
}

/// A type of the engine that the protocol has no word for.
fn unknown_type(error: PgWireError) -> PgWireError {
    match error {
        PgWireError::UserError(info) => {
            Fault::new("0A000", info.message.to_lowercase()).with_hint("cast it: `column::text`").into()
        }
        other => other,
    }
}

/// Does `work` on the engine's threads; ends it when the client does.
pub(crate) async fn on_engine<T: Send + 'static>(
    engine: &Engine,
    session: &Session,
    work: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, Fault> {
    let mut task = engine.handle().spawn(work);
    let _guard = CancelOnDrop(task.abort_handle());
    tokio::select! {
        done = &mut task => done.unwrap_or_else(|error| Err(if error.is_panic() {
            Fault::new("XX000", "the engine met a fault of its own")
        } else {
            Fault::new("57P01", "the server is stopping")
        })),
        ended = session.ended() => Err(ended),
    }
}

/// Starts a plan; its rows come as they are taken.
pub(crate) async fn start(
    engine: &Engine,
    session: &Arc<Session>,
    state: SessionState,
    plan: impl FnOnce() -> Result<LogicalPlan, QueryError> + Send + 'static,
    limits: &QueryLimits,
    format: &Format,
) -> PgWireResult<QueryResponse> {
    let mut ended = Box::pin(session.ended());
    let running = tokio::select! {
        running = engine.start(state, plan, limits) => running.map_err(|error| Fault::of_query(&error))?,
        ended = &mut ended => return Err(ended.into()),
    };
    let fields = fields(&running.schema, format)?;
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let for_rows = Arc::clone(&fields);
    let task = engine.handle().spawn(async move {
        let mut running = running;
        while let Some(batch) = running.batches.recv().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    let _ = sender.send(Err(Fault::of_query(&error).into())).await;
                    return;
                }
            };
            for from in (0..batch.num_rows()).step_by(ROWS_AT_ONCE) {
                let part = batch.slice(from, ROWS_AT_ONCE.min(batch.num_rows() - from));
                let rows: PgWireResult<Vec<DataRow>> = encode_recordbatch(Arc::clone(&for_rows), part)
                    .collect::<PgWireResult<_>>()
                    .map_err(unknown_type);
                let is_last = rows.is_err();
                if sender.send(rows).await.is_err() || is_last {
                    return;
                }
            }
        }
    });
    let guard = CancelOnDrop(task.abort_handle());
    let pieces = futures::stream::unfold(Some((receiver, ended, guard)), |state| async move {
        let (mut receiver, mut ended, guard) = state?;
        tokio::select! {
            biased;
            piece = receiver.recv() => {
                let piece = piece?;
                let next = piece.is_ok().then_some((receiver, ended, guard));
                Some((piece, next))
            }
            fault = &mut ended => Some((Err(fault.into()), None)),
        }
    });
    let rows = pieces.flat_map(|piece| {
        futures::stream::iter(match piece {
            Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    });
    Ok(QueryResponse::new(fields, rows))
}
