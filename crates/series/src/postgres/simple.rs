//! The simple protocol: a text, of several statements perhaps, and the answers of all.
//!
//! Not here: what is done (`handler`). The law: what stands before a statement that fails is answered; what follows is not done.

use std::fmt::Debug;

use async_trait::async_trait;
use futures::Sink;
use pgwire::api::portal::Format;
use pgwire::api::query::SimpleQueryHandler;
use pgwire::api::results::Response;
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::TransactionStatus;

use super::fault::Fault;
use super::handler::{Handler, may_be_done};
use super::planned::Ready;

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
