//! What is done with a statement of one connection, whichever protocol it came by.
//!
//! Not here: what a statement is (`statement`, `text`), its plan (`planned`), the two protocols (`simple`, `extended`), running
//! it (`rows`). The laws: in a failed transaction nothing is done until it ends; rows are streamed, never gathered; what a
//! message asks for is bounded before it is believed.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::common::ParamValues;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::Statement;
use futures::{Sink, SinkExt, StreamExt};
use pgwire::api::portal::Format;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::TransactionStatus;
use pgwire::messages::startup::ParameterStatus;

use super::fault::Fault;
use super::planned::{Planned, Ready, parameters};
use super::rows;
use super::session::Session;
use super::statement::Said;
use super::text;
use super::{Shared, SqlAsk};
use crate::error::QueryError;
use crate::query::{SQL_BYTES_MAX, explain, statement};
use crate::settings::QueryLimits;

/// Does the statements of one connection.
#[derive(Clone)]
pub(crate) struct Handler {
    pub(super) shared: Arc<Shared>,
    pub(super) session: Arc<Session>,
    context: SessionContext,
}

impl Handler {
    pub(crate) fn new(shared: Arc<Shared>, session: Arc<Session>) -> Self {
        let context = super::catalog::of_connection(&shared.context, &session);
        Self { shared, session, context }
    }

    fn limits(&self) -> QueryLimits {
        let mut limits = self.shared.series.query_limits().clone();
        if let Some(timeout) = self.session.statement_timeout() {
            limits.time = limits.time.min(timeout);
        }
        limits
    }

    /// Reads a text as statements, on the engine's threads: they have room for what is nested.
    pub(super) async fn parse(&self, text: &str) -> Result<Vec<Said>, Fault> {
        if text.len() > SQL_BYTES_MAX {
            return Err(Fault::new(
                "54000",
                format!("query is {} bytes; the most is {SQL_BYTES_MAX}", text.len()),
            ));
        }
        let (shared, text) = (Arc::clone(&self.shared), text.to_owned());
        let work = async move { text::statements(&shared, &text) };
        rows::on_engine(self.shared.engine(), &self.session, work).await
    }

    /// Whether who logged in may do this now.
    fn permit(&self, ask: SqlAsk<'_>) -> Result<(), Fault> {
        let Some(login) = self.session.login() else {
            return Err(Fault::fatal("08P01", "nobody has logged in"));
        };
        (self.shared.permit)(login, ask)
            .map_err(|refusal| Fault::new("42501", refusal.text).with_hint(refusal.hint))
    }

    /// Plans what has to be planned.
    pub(super) async fn ready(&self, said: Said, text: &str) -> Result<Ready, Fault> {
        self.permit(SqlAsk::Prepare(text))?;
        match said {
            Said::Read(statement) => Ok(Ready::Read(self.plan(*statement, text).await?)),
            Said::Declare { name, query } => {
                let planned = self.plan(Statement::Query(query), text).await?;
                Ok(Ready::Declare { name, planned })
            }
            Said::Show(name) => {
                let fields = match &name {
                    None => vec![text_field("name"), text_field("setting")],
                    Some(name) => vec![text_field(Session::shown(name).unwrap_or(name))],
                };
                Ok(Ready::Other(Said::Show(name), Arc::new(fields)))
            }
            Said::Fetch { name, count } => {
                let fields = self.session.cursor_fields(&name)?;
                Ok(Ready::Other(Said::Fetch { name, count }, fields))
            }
            other => Ok(Ready::Other(other, Arc::default())),
        }
    }

    async fn plan(&self, statement: Statement, text: &str) -> Result<Planned, Fault> {
        let (context, limits, text) = (self.context.clone(), self.limits(), text.to_owned());
        let time = limits.time;
        let work = async move {
            let state = context.state();
            let statement = EngineStatement::Statement(Box::new(statement));
            let plan = state.statement_to_plan(statement).await.map_err(|error| {
                let tables = state.schema_for_ref("readings").map(|schema| schema.table_names());
                let explained = explain::explain_plan(&error, &limits, &tables.unwrap_or_default());
                Fault::of_plan(&error, &explained, &text)
            })?;
            let only_reads =
                SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
            only_reads.verify_plan(&plan).map_err(|_| {
                let statement = statement::first_word(&text);
                Fault::of_query(&QueryError::NotARead { statement })
            })?;
            parameters(plan)
        };
        let planned = rows::on_engine(self.shared.engine(), &self.session, work);
        match tokio::time::timeout(time, planned).await {
            Ok(planned) => planned,
            Err(_) => Err(Fault::of_query(&QueryError::Time { limit: time })),
        }
    }

    /// Runs a plan with the values of its parameters.
    pub(super) async fn run(
        &self,
        plan: Arc<LogicalPlan>,
        values: Option<ParamValues>,
        format: &Format,
    ) -> PgWireResult<QueryResponse> {
        self.permit(SqlAsk::Run)?;
        let limits = self.limits();
        let state = self.shared.engine().bounded(&self.context.state(), &limits);
        let state = state.map_err(|error| Fault::of_query(&error))?;
        let bound = limits.clone();
        let plan = move || {
            let plan = (*plan).clone();
            match values {
                None => Ok(plan),
                Some(values) => {
                    plan.replace_params_with_values(&values).map_err(|error| explain::explain(&error, &bound))
                }
            }
        };
        rows::start(self.shared.engine(), &self.session, state, plan, &limits, format).await
    }

    /// Does what is no read. `forget` names what goes with it.
    pub(super) async fn other<C>(
        &self,
        client: &mut C,
        said: Said,
        fields: Arc<Vec<FieldInfo>>,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Ok(match said {
            Said::Begin => Response::TransactionStart(Tag::new("BEGIN")),
            Said::Commit | Said::Rollback => {
                let has_failed = client.transaction_status() == TransactionStatus::Error;
                self.forget_portals(client);
                let word = if said == Said::Rollback || has_failed { "ROLLBACK" } else { "COMMIT" };
                Response::TransactionEnd(Tag::new(word))
            }
            Said::Nothing(word) => Response::Execution(Tag::new(word)),
            Said::Set { name, value } => {
                if let Some((name, value)) = self.session.set(&name, value.as_deref())? {
                    let status = ParameterStatus::new(name, value);
                    client.feed(PgWireBackendMessage::ParameterStatus(status)).await?;
                }
                Response::Execution(Tag::new("SET"))
            }
            Said::Discard | Said::Reset => {
                self.session.reset();
                for (name, value) in self.session.reported() {
                    let status = ParameterStatus::new(name, value);
                    client.feed(PgWireBackendMessage::ParameterStatus(status)).await?;
                }
                if said == Said::Reset {
                    return Ok(Response::Execution(Tag::new("RESET")));
                }
                self.session.close_cursors();
                self.forget_statements(client);
                Response::Execution(Tag::new("DISCARD ALL"))
            }
            Said::Deallocate(name) => {
                match name {
                    Some(name) => {
                        self.session.remove_statement(&name);
                        client.portal_store().rm_statement(&name);
                    }
                    None => self.forget_statements(client),
                }
                Response::Execution(Tag::new("DEALLOCATE"))
            }
            Said::Show(None) => {
                answer(fields, self.session.all().into_iter().map(|(name, value)| vec![name, value]))?
            }
            Said::Show(Some(name)) => {
                let value = self.session.get(&name).ok_or_else(|| {
                    Fault::new("42704", format!("there is no variable `{name}`"))
                        .with_hint("SHOW ALL lists them")
                })?;
                answer(fields, [vec![value]])?
            }
            Said::Fetch { name, count } => {
                let mut cursor = self.session.take_cursor(&name)?;
                let limit = count.unwrap_or(usize::MAX);
                let (fields, rows) = (cursor.row_schema(), cursor.data_rows());
                let mut taken = Vec::new();
                while taken.len() < limit.min(FETCH_ROWS_MAX) {
                    let Some(row) = rows.next().await else { break };
                    taken.push(row);
                }
                let is_cut = taken.len() == FETCH_ROWS_MAX && limit > FETCH_ROWS_MAX;
                let has_failed = taken.last().is_some_and(Result::is_err);
                if !has_failed {
                    self.session.open_cursor(&name, cursor)?;
                }
                if is_cut {
                    return Err(
                        Fault::new("54000", format!("a FETCH takes at most {FETCH_ROWS_MAX} rows")).into()
                    );
                }
                let mut response = QueryResponse::new(fields, futures::stream::iter(taken));
                response.set_command_tag("FETCH");
                Response::Query(response)
            }
            Said::Close(name) => {
                match name {
                    Some(name) => drop(self.session.take_cursor(&name)?),
                    None => self.session.close_cursors(),
                }
                Response::Execution(Tag::new("CLOSE CURSOR"))
            }
            // These are planned, and done where they are.
            Said::Read(_) | Said::Declare { .. } => Response::EmptyQuery,
        })
    }

    pub(super) fn forget_portals<C: ClientPortalStore>(&self, client: &C)
    where
        C::PortalStore: PortalStore,
    {
        for name in self.session.take_portals() {
            client.portal_store().rm_portal(&name);
        }
    }

    fn forget_statements<C: ClientPortalStore>(&self, client: &C)
    where
        C::PortalStore: PortalStore,
    {
        for name in self.session.take_statements() {
            client.portal_store().rm_statement(&name);
        }
    }

    pub(super) async fn declare(
        &self,
        name: &str,
        plan: Arc<LogicalPlan>,
        values: Option<ParamValues>,
        status: TransactionStatus,
    ) -> PgWireResult<Response> {
        if status != TransactionStatus::Transaction {
            return Err(Fault::new("25P01", "a cursor lives in a transaction")
                .with_hint("say BEGIN before")
                .into());
        }
        let rows = self.run(plan, values, &Format::UnifiedText).await?;
        self.session.open_cursor(name, rows)?;
        Ok(Response::Execution(Tag::new("DECLARE CURSOR")))
    }
}

/// Rows that one FETCH takes: they are held until they are sent.
const FETCH_ROWS_MAX: usize = 100_000;

/// In a failed transaction only its end is heard.
pub(super) fn may_be_done(status: TransactionStatus, said: &Said) -> Result<(), Fault> {
    let ends = matches!(said, Said::Rollback | Said::Commit | Said::Nothing("ROLLBACK"));
    if status == TransactionStatus::Error && !ends {
        return Err(Fault::new("25P02", "the transaction has failed: statements are ignored until it ends")
            .with_hint("say ROLLBACK"));
    }
    Ok(())
}

fn text_field(name: &str) -> FieldInfo {
    FieldInfo::new(name.to_owned(), None, None, Type::TEXT, FieldFormat::Text)
}

fn answer(
    fields: Arc<Vec<FieldInfo>>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> PgWireResult<Response> {
    let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
    let mut encoded = Vec::new();
    for row in rows {
        for value in row {
            encoder.encode_field(&Some(value))?;
        }
        encoded.push(Ok(encoder.take_row()));
    }
    let mut response = QueryResponse::new(fields, futures::stream::iter(encoded));
    response.set_command_tag("SHOW");
    Ok(Response::Query(response))
}
