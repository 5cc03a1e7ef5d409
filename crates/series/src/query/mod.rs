//! SQL: the tables, what a statement may be, and what a query may use.
//!
//! Runs on threads of its own, of low priority, so that a heavy query delays no acknowledgement. Not here: how answers
//! are written (`answer`). The laws: a statement only reads; time, memory and rows of every query are bounded; a query
//! whose asker is gone stops.

mod channels;
pub(crate) mod explain;
mod fold;
mod foreign;
pub(crate) mod functions;
mod last;
mod latest;
mod merge;
mod messages;
mod planner;
mod provided;
mod readings;
mod rollups;
mod sorted;
mod standing;
pub(crate) mod statement;
mod wanted;
mod yielding;

use std::future::Future;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use journal::Journal;
use tokio::sync::{mpsc, oneshot};

pub(crate) use messages::Messages;
use provided::Provided;
pub(crate) use readings::{Part, parts};

use crate::answer::{Answer, CancelOnDrop};
use crate::error::{OpenError, QueryError};
use crate::foreign::ForeignTable;
use crate::rollup::{LiveRollup, Resolution};
use crate::settings::QueryLimits;
use crate::store::{LiveFile, Store};
use crate::table::Wanted;

/// Longest SQL text in bytes: a page of it is long.
pub(crate) const SQL_BYTES_MAX: usize = 64 * 1024;

/// Batches between the engine and whoever reads the answer.
const BATCHES_AHEAD: usize = 4;

/// A query under way. Dropped, it is cancelled.
pub(crate) struct Running {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    pub(crate) guard: CancelOnDrop,
}

/// The query engine.
pub(crate) struct Engine {
    /// `None` once shut down.
    runtime: Option<tokio::runtime::Runtime>,
    handle: tokio::runtime::Handle,
    context: SessionContext,
    store: Arc<Store>,
    channels: Arc<model::Channels>,
}

impl Engine {
    /// Sets up the engine over the store's tables.
    pub(crate) fn new(store: &Arc<Store>, journal: Option<&Journal>) -> Result<Self, OpenError> {
        let threads = store
            .settings()
            .query_threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(2, std::num::NonZero::get));
        let threads = threads.clamp(1, 256);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("series-query")
            .on_thread_start(host::lower_priority)
            .thread_stack_size(statement::STACK_BYTES)
            .enable_all()
            .build()
            .map_err(OpenError::Threads)?;
        let mut config = SessionConfig::new()
            .with_target_partitions(threads)
            .with_information_schema(true)
            .with_default_catalog_and_schema("godwit", "public")
            .with_create_default_catalog_and_schema(true);
        let options = config.options_mut();
        options.execution.time_zone = Some("+00:00".to_owned());
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.bloom_filter_on_read = false;
        options.extensions.insert(planner::EngineOptions::default());
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_optimizer_rule(Arc::new(planner::FromRollups(Arc::clone(store))))
            .with_physical_optimizer_rule(Arc::new(yielding::Yielding))
            .build();
        let context = SessionContext::new_with_state(state);
        let failed = |error: DataFusionError| OpenError::Engine(error.to_string());
        functions::register(&context, &store.settings().site.zone).map_err(failed)?;
        context
            .register_table("readings", Arc::new(Provided(readings::Readings(Arc::clone(store)))))
            .map_err(failed)?;
        let channels = Arc::new(Provided(channels::ChannelsTable(Arc::clone(store))));
        context.register_table("channels", channels).map_err(failed)?;
        for function in standing::functions() {
            context.register_udaf(function);
        }
        for resolution in Resolution::ALL {
            let table = rollups::RollupTable { store: Arc::clone(store), resolution };
            context.register_table(resolution.table(), Arc::new(Provided(table))).map_err(failed)?;
        }
        context
            .register_table("latest", Arc::new(Provided(latest::LatestTable(Arc::clone(store)))))
            .map_err(failed)?;
        if let Some(journal) = journal {
            let messages = Messages { journal: journal.clone(), routes: Arc::clone(store.routes()) };
            context.register_table("messages", Arc::new(Provided(messages))).map_err(failed)?;
        }
        let handle = runtime.handle().clone();
        Ok(Self {
            runtime: Some(runtime),
            handle,
            context,
            store: Arc::clone(store),
            channels: Arc::clone(store.channels()),
        })
    }

    /// Adds a table that another room owns, or puts it in place of the one of its name.
    pub(crate) fn register(&self, table: ForeignTable) -> Result<(), QueryError> {
        let name = table.name.clone();
        let failed = |error: DataFusionError| explain::explain(&error, &QueryLimits::default());
        self.context.deregister_table(name.as_str()).map_err(failed)?;
        self.context
            .register_table(name.as_str(), Arc::new(Provided(foreign::Foreign::new(table))))
            .map_err(failed)?;
        Ok(())
    }

    /// Answers `sql`.
    pub(crate) async fn query(&self, sql: &str, limits: &QueryLimits) -> Result<Answer, QueryError> {
        if self.runtime.is_none() {
            return Err(QueryError::Closed);
        }
        if sql.len() > SQL_BYTES_MAX {
            return Err(QueryError::Invalid {
                message: format!("query is {} bytes; the most is {SQL_BYTES_MAX}", sql.len()),
                hint: None,
            });
        }
        if let Some(batch) = last::answer(&self.store, sql)
            && batch.num_rows() <= limits.rows
        {
            return Ok(Answer::ready(batch));
        }
        let state = self.state(limits)?;
        let (sql, bound) = (sql.to_owned(), limits.clone());
        let running = self.running(limits, |schema, sender| run(state, sql, bound, schema, sender)).await?;
        Ok(Answer::new(running.schema, running.batches, running.guard))
    }

    /// The context that knows every table.
    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Where queries run: threads of low priority.
    pub(crate) fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
    }

    /// Starts a plan, which is made on the engine's own threads; its rows come as they are taken.
    pub(crate) async fn start(
        &self,
        state: SessionState,
        plan: impl FnOnce() -> Result<LogicalPlan, QueryError> + Send + 'static,
        limits: &QueryLimits,
    ) -> Result<Running, QueryError> {
        if self.runtime.is_none() {
            return Err(QueryError::Closed);
        }
        let bound = limits.clone();
        self.running(
            limits,
            |schema, sender| async move { execute(state, plan()?, bound, schema, sender).await },
        )
        .await
    }

    /// Runs `work` in the engine, bounded in time, and waits for the first it says: the schema, or why there is none.
    async fn running<F>(
        &self,
        limits: &QueryLimits,
        work: impl FnOnce(oneshot::Sender<SchemaRef>, mpsc::Sender<Result<RecordBatch, QueryError>>) -> F,
    ) -> Result<Running, QueryError>
    where
        F: Future<Output = Result<(), QueryError>> + Send + 'static,
    {
        let (schema_sender, schema_receiver) = oneshot::channel();
        let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
        let work = work(schema_sender, sender.clone());
        let limit = limits.time;
        let task = self.handle.spawn(async move {
            let failed = match tokio::time::timeout(limit, work).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => QueryError::Time { limit },
            };
            // The asker may be gone.
            let _ = sender.send(Err(failed)).await;
        });
        let guard = CancelOnDrop(task.abort_handle());
        let failed = match schema_receiver.await {
            Ok(schema) => return Ok(Running { schema, batches, guard }),
            // Planning failed: the reason is the only thing that comes.
            Err(_) => batches.recv().await,
        };
        match failed {
            Some(Err(error)) => Err(error),
            // The task ended without a word: it panicked, or the runtime is gone.
            _ => match task.await {
                Err(error) if error.is_panic() => {
                    Err(QueryError::Engine { message: "the engine met a fault of its own".to_owned() })
                }
                _ => Err(QueryError::Closed),
            },
        }
    }

    /// A session of its own: bounded memory, and no files beside.
    fn state(&self, limits: &QueryLimits) -> Result<SessionState, QueryError> {
        self.bounded(&self.context.state(), limits)
    }

    /// A session with the tables and functions of `state`: bounded memory, and no files beside.
    pub(crate) fn bounded(
        &self,
        state: &SessionState,
        limits: &QueryLimits,
    ) -> Result<SessionState, QueryError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory_bytes)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()
            .map_err(|error| explain::explain(&error, limits))?;
        // The catalog is there already.
        let mut config = state.config().clone().with_create_default_catalog_and_schema(false);
        if let Some(options) = config.options_mut().extensions.get_mut::<planner::EngineOptions>() {
            options.rollups = limits.rollups;
        }
        let state = SessionStateBuilder::new_from_existing(state.clone());
        Ok(state.with_config(config).with_runtime_env(runtime).build())
    }

    /// Merges files of one day, for a compaction: rows come sorted and without duplicates. Runs on this thread.
    pub(crate) fn merge_files(
        &self,
        files: Vec<LiveFile>,
        mut take: impl FnMut(&RecordBatch) -> Result<(), crate::StoreError>,
    ) -> Result<Result<(), crate::StoreError>, String> {
        let limits = QueryLimits { memory_bytes: usize::MAX, ..QueryLimits::default() };
        let state = self.state(&limits).map_err(|error| error.to_string())?;
        let fault = |error: &DataFusionError| explain::explain(error, &limits).to_string();
        let everything: Vec<usize> = (0..crate::schema::readings().fields().len()).collect();
        let parts = files.into_iter().map(readings::Part::of_file).collect();
        let plan =
            readings::merge(parts, &self.channels, &everything, None).map_err(|error| fault(&error))?;
        let mut stream = plan.execute(0, state.task_ctx()).map_err(|error| fault(&error))?;
        self.block_on(async {
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(|error| fault(&error))?;
                if let Err(error) = take(&batch) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        })
    }

    /// Folds a day for upkeep, from files alone: its rows come sorted. How many readings came for frozen hours. Runs on
    /// this thread.
    pub(crate) fn fold_day(
        &self,
        day: i64,
        files: &[LiveFile],
        old: Option<&Arc<LiveRollup>>,
        resolution: Resolution,
        mut take: impl FnMut(&RecordBatch) -> Result<(), crate::StoreError>,
    ) -> Result<Result<u64, crate::StoreError>, String> {
        let limits = QueryLimits { memory_bytes: usize::MAX, ..QueryLimits::default() };
        let state = self.state(&limits).map_err(|error| error.to_string())?;
        let fault = |error: &DataFusionError| explain::explain(error, &limits).to_string();
        let parts =
            rollups::DayParts { files: files.to_vec(), memory: Vec::new(), rollup: old.map(Arc::clone) };
        let context = state.task_ctx();
        self.block_on(async {
            let everything = Wanted::default();
            let planned =
                rollups::plan_day(&self.channels, &context, resolution, day, &parts, &everything).await;
            let mut planned = planned.map_err(|error| fault(&error))?;
            let plan = match planned.plans.len() {
                0 => return Ok(Ok(planned.late)),
                1 => planned.plans.remove(0),
                _ => rollups::in_order(planned.plans).map_err(|error| fault(&error))?,
            };
            let mut stream = execute_stream(plan, context).map_err(|error| fault(&error))?;
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(|error| fault(&error))?;
                if let Err(error) = take(&batch) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(planned.late))
        })
    }

    /// Reads all rows of files, one after the other, at start.
    pub(crate) fn read_files(
        &self,
        files: Vec<LiveFile>,
        mut take: impl FnMut(&RecordBatch),
    ) -> Result<(), String> {
        let limits = QueryLimits { memory_bytes: usize::MAX, ..QueryLimits::default() };
        let state = self.state(&limits).map_err(|error| error.to_string())?;
        let fault = |error: &DataFusionError| explain::explain(error, &limits).to_string();
        let everything: Vec<usize> = (0..crate::schema::readings().fields().len()).collect();
        let plan = readings::plain(files, &everything).map_err(|error| fault(&error))?;
        let mut stream: SendableRecordBatchStream =
            execute_stream(plan, state.task_ctx()).map_err(|error| fault(&error))?;
        self.block_on(async {
            while let Some(batch) = stream.next().await {
                take(&batch.map_err(|error| fault(&error))?);
            }
            Ok(())
        })
    }

    /// Reads parts as one stream in the order of the key, each reading once. Runs on this thread; an error of `take` ends
    /// it.
    pub(crate) fn read_in_order(
        &self,
        parts: Vec<Part>,
        channels: &Arc<model::Channels>,
        mut take: impl FnMut(&RecordBatch) -> Result<(), String>,
    ) -> Result<(), QueryError> {
        let limits = QueryLimits { memory_bytes: usize::MAX, ..QueryLimits::default() };
        let state = self.state(&limits)?;
        let fault = |error: &DataFusionError| explain::explain(error, &limits);
        let plan = readings::in_order(parts, channels).map_err(|error| fault(&error))?;
        let mut stream = execute_stream(plan, state.task_ctx()).map_err(|error| fault(&error))?;
        self.block_on(async {
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(|error| fault(&error))?;
                take(&batch).map_err(|message| QueryError::Engine { message })?;
            }
            Ok(())
        })
    }

    /// Reads these columns of what is wanted of parts as one stream in the order of the key, each reading once, until `take`
    /// breaks. Of memory more may come than is wanted. Runs on this thread. Nothing of the plan gathers rows: it holds a batch
    /// of each part, which is why the bound of queries is not laid on it.
    pub(crate) fn read_chosen(
        &self,
        parts: Vec<Part>,
        columns: &[usize],
        wanted: &Wanted,
        mut take: impl FnMut(&RecordBatch) -> std::ops::ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let limits = QueryLimits { memory_bytes: usize::MAX, ..QueryLimits::default() };
        let state = self.state(&limits)?;
        let fault = |error: &DataFusionError| explain::explain(error, &limits);
        let plan = readings::chosen(parts, &self.channels, columns, wanted).map_err(|error| fault(&error))?;
        let mut stream = execute_stream(plan, state.task_ctx()).map_err(|error| fault(&error))?;
        self.block_on(async {
            while let Some(batch) = stream.next().await {
                if take(&batch.map_err(|error| fault(&error))?).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Runs `work` on a thread of the engine's own, of low priority.
    pub(crate) fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        self.handle.spawn_blocking(work);
    }

    /// Runs on this thread; what it spawns runs on the engine's.
    ///
    /// Unconstrained: the streams of the engine give way when the budget of their task is used up. On a thread that is
    /// within a task already, as at start, that budget would be the task's, which is not renewed before this returns:
    /// the work would give way for ever.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let _entered = self.handle.enter();
        futures::executor::block_on(tokio::task::unconstrained(work))
    }

    /// Ends all queries. Does not wait for them.
    pub(crate) fn close(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// Plans and runs a query, handing its rows to `sender`.
async fn run(
    state: SessionState,
    sql: String,
    limits: QueryLimits,
    schema_sender: oneshot::Sender<SchemaRef>,
    sender: mpsc::Sender<Result<RecordBatch, QueryError>>,
) -> Result<(), QueryError> {
    let fault = |error: &DataFusionError| explain::explain(error, &limits);
    statement::bound(&sql)?;
    let statement = statement::parse(&state, &sql).map_err(|error| fault(&error))?;
    statement::allow(&statement)?;
    let plan = state.statement_to_plan(statement).await.map_err(|error| {
        let tables = state.schema_for_ref("readings").map(|schema| schema.table_names()).unwrap_or_default();
        explain::explain_plan(&error, &limits, &tables)
    })?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|_| QueryError::NotARead { statement: statement::first_word(&sql) })?;
    execute(state, plan, limits, schema_sender, sender).await
}

/// Runs a plan, handing its rows to `sender`.
async fn execute(
    state: SessionState,
    plan: LogicalPlan,
    limits: QueryLimits,
    schema_sender: oneshot::Sender<SchemaRef>,
    sender: mpsc::Sender<Result<RecordBatch, QueryError>>,
) -> Result<(), QueryError> {
    let fault = |error: &DataFusionError| explain::explain(error, &limits);
    let mut stream = DataFrame::new(state, plan).execute_stream().await.map_err(|error| fault(&error))?;
    if schema_sender.send(stream.schema()).is_err() {
        return Ok(());
    }
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| fault(&error))?;
        rows += batch.num_rows();
        if rows > limits.rows {
            return Err(QueryError::Rows { limit_rows: limits.rows });
        }
        if batch.num_rows() > 0 && sender.send(Ok(batch)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
