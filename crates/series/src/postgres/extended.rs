//! The extended protocol: statements that are prepared, bound to values as portals, and done in parts.
//!
//! Not here: what is done (`handler`). The laws: rows are streamed, never gathered; outside of a transaction a portal lives until
//! the next Sync.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{Sink, SinkExt, StreamExt};
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::ExtendedQueryHandler;
use pgwire::api::results::{DescribePortalResponse, FieldInfo, Response, Tag};
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

use super::fault::Fault;
use super::handler::{Handler, may_be_done};
use super::planned::{PARAMETERS_MAX, Ready};
use super::rows;
use super::statement::Said;

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
