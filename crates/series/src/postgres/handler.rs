//! What is done with a statement, by the simple and by the extended protocol.
//!
//! Not here: what a statement is (`statement`), running it (`rows`). The laws: in a failed transaction nothing is done
//! until it ends; rows are streamed, never gathered; what a message asks for is bounded before it is believed.

use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::{self, Statement, visit_expressions_mut};
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;
use futures::{Sink, SinkExt, StreamExt};
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{
    DataRowEncoder, DescribePortalResponse, FieldFormat, FieldInfo, QueryResponse, Response, Tag,
};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, PortalSuspended, TARGET_TYPE_BYTE_PORTAL,
    TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use pgwire::messages::startup::ParameterStatus;

use super::Shared;
use super::fault::Fault;
use super::rows;
use super::session::Session;
use super::statement::{Said, is_known_write, understand};
use crate::error::QueryError;
use crate::query::{SQL_BYTES_MAX, explain, statement};
use crate::settings::QueryLimits;

/// Most statements in one text.
const STATEMENTS_AT_ONCE_MAX: usize = 64;

/// Most parameters of a statement.
const PARAMETERS_MAX: usize = 1_000;

/// A statement that is ready to be done.
#[derive(Clone, Debug)]
pub(crate) enum Ready {
    Read(Planned),
    Declare {
        name: String,
        planned: Planned,
    },
    /// Everything else; the columns of its answer, if it has one.
    Other(Said, Arc<Vec<FieldInfo>>),
}

/// A plan with what its parameters are.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    plan: Arc<LogicalPlan>,
    /// What the plan makes of each.
    kinds: Vec<Option<DataType>>,
    /// What the protocol calls them.
    types: Vec<Type>,
}

/// Does the statements of one connection.
#[derive(Clone)]
pub(crate) struct Handler {
    shared: Arc<Shared>,
    session: Arc<Session>,
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
    async fn parse(&self, text: &str) -> Result<Vec<Said>, Fault> {
        if text.len() > SQL_BYTES_MAX {
            return Err(Fault::new(
                "54000",
                format!("query is {} bytes; the most is {SQL_BYTES_MAX}", text.len()),
            ));
        }
        let (shared, text) = (Arc::clone(&self.shared), text.to_owned());
        let work = async move { parse(&shared, &text) };
        rows::on_engine(self.shared.engine(), &self.session, work).await
    }

    /// Plans what has to be planned.
    async fn ready(&self, said: Said, text: &str) -> Result<Ready, Fault> {
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
    async fn run(
        &self,
        plan: Arc<LogicalPlan>,
        values: Option<ParamValues>,
        format: &Format,
    ) -> PgWireResult<QueryResponse> {
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
    async fn other<C>(
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

    fn forget_portals<C: ClientPortalStore>(&self, client: &C)
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

    async fn declare(
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

/// Mends what clients ask of the catalog and the engine cannot answer, where the answer is known.
fn mended(mut statement: Statement) -> Statement {
    let text = |text: &str| ast::Expr::value(ast::Value::SingleQuotedString(text.to_owned()));
    let _: ControlFlow<()> = visit_expressions_mut(&mut statement, |expr| {
        match expr {
            // psql's `\du`: `ARRAY(SELECT … FROM pg_auth_members …)`. No role is a member of another.
            ast::Expr::Function(function)
                if matches!(&function.args, ast::FunctionArguments::Subquery(query)
                    if function.name.to_string().eq_ignore_ascii_case("array")
                        && query.to_string().contains("pg_auth_members")) =>
            {
                *expr = text("{}");
            }
            // psql's `\d+`, `\dn+`, `\dp`: nothing has options or rights of its own.
            ast::Expr::Function(function)
                if function.name.to_string().eq_ignore_ascii_case("array_to_string")
                    && ["reloptions", "relacl", "nspacl", "datacl"]
                        .iter()
                        .any(|word| function.args.to_string().contains(word)) =>
            {
                *expr = text("");
            }
            // Grafana's list of columns: the schemas of `search_path`, which the parser takes for none.
            ast::Expr::InList { expr: schema, list, .. }
                if schema.to_string() == "quote_ident(table_schema)" && list.as_slice() == [text("")] =>
            {
                *list = vec![text("public")];
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    statement
}

fn parse(shared: &Shared, text: &str) -> Result<Vec<Said>, Fault> {
    statement::bound(text).map_err(|error| Fault { state: "54001", ..Fault::of_query(&error) })?;
    let statements = match shared.parser.parse(text) {
        Ok(statements) => statements,
        Err(error) => {
            return Err(match is_known_write(text) {
                Some(statement) => Fault::of_query(&QueryError::NotARead { statement }),
                None => Fault::of_parser(&error, text),
            });
        }
    };
    if statements.len() > STATEMENTS_AT_ONCE_MAX {
        return Err(Fault::new(
            "54000",
            format!("text has {} statements; the most are {STATEMENTS_AT_ONCE_MAX}", statements.len()),
        ));
    }
    statements.into_iter().map(|statement| understand(mended(statement))).collect()
}

/// Rows that one FETCH takes: they are held until they are sent.
const FETCH_ROWS_MAX: usize = 100_000;

/// In a failed transaction only its end is heard.
fn may_be_done(status: TransactionStatus, said: &Said) -> Result<(), Fault> {
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

/// What the parameters of a plan are, as far as it says.
fn parameters(plan: LogicalPlan) -> Result<Planned, Fault> {
    let failed = |error: datafusion::error::DataFusionError| {
        let explained = explain::explain(&error, &QueryLimits::default());
        Fault::of_query(&explained)
    };
    let mut known: HashMap<String, Option<DataType>> = plan.get_parameter_types().map_err(failed)?;
    // `$1::text` says what it is.
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let (Expr::Cast(_) | Expr::TryCast(_) | Expr::Placeholder(_)) = expr else {
                    return Ok(TreeNodeRecursion::Continue);
                };
                let (inner, to) = match expr {
                    Expr::Cast(cast) => (&*cast.expr, Some(cast.field.data_type().clone())),
                    Expr::TryCast(cast) => (&*cast.expr, Some(cast.field.data_type().clone())),
                    other => (other, None),
                };
                if let Expr::Placeholder(placeholder) = inner {
                    let kind = known.entry(placeholder.id.clone()).or_insert(None);
                    if kind.is_none() {
                        *kind = to;
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(failed)?;
    let mut numbered = Vec::with_capacity(known.len());
    for (id, kind) in known {
        let number = id.trim_start_matches('$').parse::<usize>().ok().filter(|number| *number > 0);
        let number =
            number.ok_or_else(|| Fault::new("42P02", format!("`{id}` is no parameter; write $1, $2, …")))?;
        numbered.push((number, kind));
    }
    let count = numbered.iter().map(|(number, _)| *number).max().unwrap_or(0);
    if count > PARAMETERS_MAX {
        return Err(Fault::new(
            "54000",
            format!("statement has parameter ${count}; the last is ${PARAMETERS_MAX}"),
        ));
    }
    let mut kinds = vec![None; count];
    for (number, kind) in numbered {
        kinds[number - 1] = kind;
    }
    let types = kinds.iter().map(|kind| match kind {
        Some(kind) => into_pg_type(kind).unwrap_or(Type::UNKNOWN),
        None => Type::UNKNOWN,
    });
    Ok(Planned { types: types.collect(), plan: Arc::new(plan), kinds })
}

impl Planned {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }

    /// The values that a portal has for the parameters.
    fn values(&self, portal: &Portal<Ready>) -> PgWireResult<Option<ParamValues>> {
        if portal.parameter_len() != self.types.len() {
            return Err(Fault::new(
                "08P01",
                format!("{} values are given for {} parameters", portal.parameter_len(), self.types.len()),
            )
            .into());
        }
        if self.types.is_empty() {
            return Ok(None);
        }
        let kinds: Vec<Option<&DataType>> = self.kinds.iter().map(Option::as_ref).collect();
        let types: Vec<Option<&Type>> = self.types.iter().map(Some).collect();
        deserialize_parameters_with_server_types(portal, &kinds, &types).map(Some)
    }
}

#[async_trait]
impl SimpleQueryHandler for Handler {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let all = self.parse(query).await?;
        if all.is_empty() {
            return Ok(vec![Response::EmptyQuery]);
        }
        let mut responses = Vec::with_capacity(all.len());
        let mut status = client.transaction_status();
        for said in all {
            let done = async {
                may_be_done(status, &said)?;
                self.shared.count_statement();
                match self.ready(said, query).await? {
                    Ready::Read(planned) | Ready::Declare { planned, .. } if !planned.types.is_empty() => {
                        Err(Fault::new("42P02", "parameters such as $1 need a prepared statement").into())
                    }
                    Ready::Read(planned) => {
                        Ok(Response::Query(self.run(planned.plan, None, &Format::UnifiedText).await?))
                    }
                    Ready::Declare { name, planned } => self.declare(&name, planned.plan, None, status).await,
                    Ready::Other(said, fields) => self.other(client, said, fields).await,
                }
            };
            match done.await {
                Ok(response) => {
                    status = match &response {
                        Response::TransactionStart(_) => TransactionStatus::Transaction,
                        Response::TransactionEnd(_) => TransactionStatus::Idle,
                        _ => status,
                    };
                    responses.push(response);
                }
                // What stands before it is answered all the same; what follows is not done.
                Err(error) if !responses.is_empty() => {
                    self.shared.count_error();
                    responses.push(Response::Error(Box::new(error.into())));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(responses)
    }
}

#[async_trait]
impl QueryParser for Handler {
    type Statement = Ready;

    async fn parse_sql<C>(
        &self,
        client: &C,
        sql: &str,
        _types: &[Option<Type>],
    ) -> PgWireResult<Option<Ready>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut all = self.parse(sql).await?;
        if all.len() > 1 {
            return Err(Fault::new("42601", "a prepared statement is one statement").into());
        }
        let Some(said) = all.pop() else { return Ok(None) };
        may_be_done(client.transaction_status(), &said)?;
        Ok(Some(self.ready(said, sql).await?))
    }

    fn get_parameter_types(&self, statement: &Ready) -> PgWireResult<Vec<Type>> {
        Ok(match statement {
            Ready::Read(planned) | Ready::Declare { planned, .. } => planned.types.clone(),
            Ready::Other(..) => Vec::new(),
        })
    }

    fn get_result_schema(&self, statement: &Ready, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        Ok(match statement {
            Ready::Read(planned) => {
                let fields = rows::fields(&planned.schema(), format.unwrap_or(&Format::UnifiedText))?;
                fields.to_vec()
            }
            Ready::Declare { .. } => Vec::new(),
            Ready::Other(_, fields) => fields.to_vec(),
        })
    }
}

#[async_trait]
impl ExtendedQueryHandler for Handler {
    type Statement = Ready;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    async fn on_parse<C>(
        &self,
        client: &mut C,
        message: pgwire::messages::extendedquery::Parse,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Ready>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        if message.type_oids.len() > PARAMETERS_MAX {
            return Err(
                Fault::new("54000", format!("statement has more than {PARAMETERS_MAX} parameters")).into()
            );
        }
        let parser = self.query_parser();
        let statement = pgwire::api::stmt::StoredStatement::parse(client, &message, parser).await?;
        self.session.add_statement(&name, message.query.len())?;
        match statement {
            Some(statement) => client.portal_store().put_statement(Arc::new(statement)),
            None => client.portal_store().put_empty_statement(&name),
        }
        let done = pgwire::messages::extendedquery::ParseComplete::new();
        client.feed(PgWireBackendMessage::ParseComplete(done)).await?;
        Ok(())
    }

    async fn on_bind<C>(&self, client: &mut C, message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Ready>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statement = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        let portal = message.portal_name.as_deref().unwrap_or(DEFAULT_NAME);
        let formats = message.parameter_format_codes.len();
        if formats > 1 && formats != message.parameters.len() {
            let said = format!("{formats} formats are given for {} values", message.parameters.len());
            return Err(Fault::new("08P01", said).into());
        }
        match client.portal_store().get_statement(statement) {
            Some(Entry::Value(stored)) => {
                let types = self.get_parameter_types(&stored.statement)?;
                if types.len() != message.parameters.len() {
                    let said = format!(
                        "{} values are given for {} parameters",
                        message.parameters.len(),
                        types.len()
                    );
                    return Err(Fault::new("08P01", said).into());
                }
                let made = Portal::try_new(&message, stored)?;
                // Told now rather than in the middle of an answer.
                self.get_result_schema(&made.statement.statement, Some(&made.result_column_format))?;
                self.session.add_portal(portal)?;
                client.portal_store().put_portal(Arc::new(made));
            }
            Some(Entry::Empty) => {
                self.session.add_portal(portal)?;
                client.portal_store().put_empty_portal(portal);
            }
            None => {
                return Err(
                    Fault::new("26000", format!("there is no prepared statement `{statement}`")).into()
                );
            }
        }
        client.feed(PgWireBackendMessage::BindComplete(BindComplete::new())).await?;
        Ok(())
    }

    /// A cursor is a portal too.
    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Ready>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        if message.target_type == TARGET_TYPE_BYTE_PORTAL
            && client.portal_store().get_portal(name).is_none()
            && let Ok(fields) = self.session.cursor_fields(name)
        {
            let described = DescribePortalResponse::new(fields.to_vec());
            return pgwire::api::query::send_describe_response(client, &described).await;
        }
        self._on_describe(client, message).await
    }

    /// The rows of a portal go out as they come.
    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Ready>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        // Zero and less are no bound.
        let rows_max = usize::try_from(message.max_rows).ok().filter(|rows| *rows > 0);
        let portal = match client.portal_store().get_portal(name) {
            Some(Entry::Value(portal)) => portal,
            Some(Entry::Empty) => {
                client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
                return Ok(());
            }
            None => return Err(Fault::new("34000", format!("there is no portal `{name}`")).into()),
        };
        client.set_state(PgWireConnectionState::QueryInProgress);
        let state = portal.state();
        let is_new = matches!(*state.lock().await, PortalExecutionState::Initial);
        if is_new {
            match ExtendedQueryHandler::do_query(self, client, &portal, 0).await? {
                Response::Query(rows) => portal.start(rows).await,
                Response::TransactionStart(tag) => {
                    client.set_transaction_status(TransactionStatus::Transaction);
                    client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?;
                    client.set_state(PgWireConnectionState::ReadyForQuery);
                    return Ok(());
                }
                Response::TransactionEnd(tag) => {
                    client.set_transaction_status(TransactionStatus::Idle);
                    client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?;
                    client.set_state(PgWireConnectionState::ReadyForQuery);
                    return Ok(());
                }
                Response::Execution(tag) => {
                    client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?;
                    client.set_state(PgWireConnectionState::ReadyForQuery);
                    return Ok(());
                }
                _ => return Err(Fault::new("0A000", "this statement cannot be prepared").into()),
            }
        }
        let mut state = state.lock().await;
        let mut sent = 0;
        let mut is_over = true;
        let mut word = "SELECT".to_owned();
        if let PortalExecutionState::Suspended(rows) = &mut *state {
            word = rows.command_tag().to_owned();
            loop {
                if rows_max == Some(sent) {
                    is_over = false;
                    break;
                }
                let Some(row) = rows.data_rows().next().await else { break };
                match row {
                    Ok(row) => client.feed(PgWireBackendMessage::DataRow(row)).await?,
                    Err(error) => {
                        *state = PortalExecutionState::Finished;
                        return Err(error);
                    }
                }
                sent += 1;
            }
        }
        if is_over {
            *state = PortalExecutionState::Finished;
            let tag = Tag::new(&word).with_rows(sent);
            client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?;
        } else {
            client.feed(PgWireBackendMessage::PortalSuspended(PortalSuspended::new())).await?;
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn on_sync<C>(
        &self,
        client: &mut C,
        _message: pgwire::messages::extendedquery::Sync,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Ready>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // Outside of a transaction a portal lives until here.
        if client.transaction_status() == TransactionStatus::Idle {
            self.forget_portals(client);
        }
        self.session.remove_portal(DEFAULT_NAME);
        client.portal_store().rm_portal(DEFAULT_NAME);
        pgwire::api::query::send_ready_for_query(client, client.transaction_status()).await
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Ready>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => {
                self.session.remove_statement(name);
                client.portal_store().rm_statement(name);
            }
            TARGET_TYPE_BYTE_PORTAL => {
                self.session.remove_portal(name);
                client.portal_store().rm_portal(name);
            }
            _ => return Err(Fault::new("08P01", "only statements and portals are closed").into()),
        }
        client.feed(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await?;
        Ok(())
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Ready>,
        _rows_max: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Ready>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statement = &portal.statement.statement;
        let status = client.transaction_status();
        if let Ready::Other(said, _) = statement {
            may_be_done(status, said)?;
        } else {
            may_be_done(status, &Said::Begin)?;
        }
        self.shared.count_statement();
        match statement {
            Ready::Read(planned) => {
                let (plan, values) = (Arc::clone(&planned.plan), planned.values(portal)?);
                Ok(Response::Query(self.run(plan, values, &portal.result_column_format).await?))
            }
            Ready::Declare { name, planned } => {
                let (plan, values) = (Arc::clone(&planned.plan), planned.values(portal)?);
                self.declare(name, plan, values, status).await
            }
            Ready::Other(said, fields) => self.other(client, said.clone(), Arc::clone(fields)).await,
        }
    }
}
