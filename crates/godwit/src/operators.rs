//! What operators may see of the MQTT door and do to it: the broker's views, as the API shows them.
//!
//! Here because a door never imports a door.

use std::sync::Arc;

use api::{Connection, Filter, NotCleared, Operators, Retained, Session};
use broker::{Broker, FilterView, RetainedView, SessionView};
use model::Principal;

/// The functions that the API asks.
pub(crate) fn of(broker: &Arc<Broker>) -> Operators {
    let [all, one, kicked, ended, kept, cleared] = [(); 6].map(|()| Arc::clone(broker));
    Operators {
        sessions: Box::new(move || all.sessions().into_iter().map(|view| session(view, None)).collect()),
        session: Box::new(move |client_id| {
            let all = one.sessions_of(&client_id).into_iter();
            all.map(|(view, filters)| session(view, Some(filters))).collect()
        }),
        kick: Box::new(move |client_id, is_meant| kicked.kick(client_id, is_meant)),
        end_sessions_of: Box::new(move |device| ended.end_sessions_of(device)),
        retained: Box::new(move |filter| kept.retained(&filter).into_iter().map(retained).collect()),
        clear: Box::new(move |topics| {
            let broker = Arc::clone(&cleared);
            Box::pin(async move {
                broker.clear_retained(topics).await.map_err(|error| NotCleared {
                    kind: error.kind(),
                    text: error.to_string(),
                    hint: error.hint().map(str::to_owned),
                })
            })
        }),
    }
}

fn session(view: SessionView, filters: Option<Vec<FilterView>>) -> Session {
    Session {
        client_id: view.client_id.to_string(),
        principal: match view.principal {
            Principal::Anonymous => "anonymous".to_owned(),
            Principal::User(name) => format!("user:{name}"),
            Principal::DevicePassword(device) => format!("device:{device}"),
            Principal::Certificate(digest) => {
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("certificate:{hex}")
            }
            Principal::Inside => "godwit".to_owned(),
        },
        device: view.device.map(|device| device.to_string()),
        confined: view.is_confined,
        connection: view.connection.map(|connection| Connection {
            peer: connection.peer.to_string(),
            version: connection.version.to_string(),
            connected_at: connection.connected_at.to_string(),
            bridge: connection.is_bridge,
        }),
        subscriptions: view.filters,
        filters: filters.map(|filters| filters.into_iter().map(filter).collect()),
        queued_messages: view.queued,
        queued_bytes: view.queued_bytes,
        left_messages: view.left,
        inflight_messages: view.inflight,
        expiry_s: view.expiry_s,
    }
}

fn filter(view: FilterView) -> Filter {
    Filter {
        filter: view.filter,
        qos: view.qos_max as u8,
        no_local: view.no_local,
        retain_as_published: view.retain_as_published,
        id: (view.id != 0).then_some(view.id),
    }
}

fn retained(view: RetainedView) -> Retained {
    Retained {
        topic: view.topic,
        payload: view.payload,
        qos: view.qos as u8,
        received_at: view.received_at.to_string(),
        seq: view.seq,
    }
}
