//! The one task that owns a client's connection, and the handle to it.
//!
//! It takes orders, writes packets in batches, takes answers apart, and when the connection is lost makes it again
//! and goes on where it stopped. All state is its own: no lock. The law it keeps: whatever ends it, why is
//! written down before any ticket learns that there will be no answer.

use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::Qos;
use mqtt::{Ack, Disconnect, EncodeError, Packet, Reason};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::backoff::Backoff;
use crate::error::kind_of;
use crate::flight::Flight;
use crate::handshake::{Accepted, attempt};
use crate::life::{LOOKS_PER_KEEP_ALIVE, Life};
use crate::options::WINDOW_MAX;
use crate::packets::{Filters, acknowledge, publish, received, subscribe};
use crate::publisher::{Reply, ended};
use crate::wire::Wire;
use crate::{
    Acknowledged, ConnectError, EndError, Machine, Messages, Options, Outgoing, PublishError, Publisher,
    Received, State, SubscribeError,
};

/// Orders that are taken at once: one batch of writing.
const ORDERS_AT_ONCE: usize = 256;
/// No more orders are taken while this many bytes wait to be written: the server is slow, and callers are to feel it.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// What a handle asks of the task.
#[derive(Debug)]
pub(crate) enum Order {
    Publish { message: Outgoing, reply: Reply },
    Subscribe { filters: Filters, answer: oneshot::Sender<Result<Vec<Reason>, SubscribeError>> },
    Close,
}

/// A packet on its way, and who waits for its answer.
#[derive(Debug)]
struct Sent {
    packet: Packet,
    since_micros: u64,
    waits: Waits,
}

#[derive(Debug)]
enum Waits {
    Publisher(Reply),
    Subscriber(oneshot::Sender<Result<Vec<Reason>, SubscribeError>>),
    /// Subscriptions that are made again in a new session.
    Nobody,
}

/// A connected client. Dropping it (and its publishers) closes it in the background.
pub struct Client {
    publisher: Publisher,
    state: watch::Receiver<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Client {
    /// Connects, once. From then on a lost connection is made again by itself.
    ///
    /// # Errors
    /// [`ConnectError`] says why there is no connection and, in its hint, what to do.
    pub async fn connect(options: Options, machine: Machine) -> Result<(Self, Messages), ConnectError> {
        let accepted = attempt(&options, options.clean_start, options.attempt).await?;
        let (orders, orders_in) = mpsc::unbounded_channel();
        let (deliveries, queue) = mpsc::channel(options.deliveries.max(1));
        let window = Arc::new(Semaphore::new(options.window.clamp(1, WINDOW_MAX)));
        let why = Arc::new(OnceLock::new());
        let address: Arc<str> = accepted.address.as_str().into();
        let (states, state) = watch::channel(State::Connected { address: Arc::clone(&address), times: 1 });
        let task = Task {
            options,
            machine,
            orders: orders_in,
            deliveries,
            window: Arc::clone(&window),
            ended: Arc::clone(&why),
            states,
            address,
            connections: 1,
            flight: Flight::new(),
            again: VecDeque::new(),
            on_wire: 0,
            unsure: VecDeque::new(),
            subscriptions: Vec::new(),
            held: None,
            taken: HashSet::new(),
            closing: false,
            lost_since: None,
        };
        let publisher = Publisher { orders, window, ended: Arc::clone(&why) };
        let task = tokio::spawn(task.run(accepted));
        Ok((Self { publisher, state, task }, Messages { queue, ended: why }))
    }

    /// A handle to publish with.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// How the connection stands, to be watched.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Subscribes, and gives the QoS that the server granted per filter. Made again by itself when a server has
    /// forgotten the session.
    ///
    /// # Errors
    /// [`SubscribeError::Refused`] names the first filter that the server refused.
    pub async fn subscribe(&self, filters: Filters) -> Result<Vec<Qos>, SubscribeError> {
        let texts: Vec<String> = filters.iter().map(|(filter, _)| filter.to_string()).collect();
        let (answer, answered) = oneshot::channel();
        let gone = || SubscribeError::from(ended(&self.publisher.ended));
        self.publisher.orders.send(Order::Subscribe { filters, answer }).map_err(|_| gone())?;
        let reasons = answered.await.map_err(|_| gone())??;
        texts
            .into_iter()
            .zip(reasons)
            .map(|(filter, reason)| match Qos::from_u8(reason as u8) {
                Some(qos) => Ok(qos),
                None => Err(SubscribeError::Refused { filter, reason }),
            })
            .collect()
    }

    /// Ends at once, without a goodbye: what is unacknowledged is given up, and the server publishes a will.
    pub fn abandon(self) {
        self.task.abort();
    }

    /// Ends cleanly: waits until everything published before is acknowledged, says DISCONNECT, closes.
    ///
    /// # Errors
    /// [`EndError`] when the client ended otherwise, before or meanwhile.
    pub async fn close(self) -> Result<(), EndError> {
        // A task that is gone has written down why.
        let _ = self.publisher.orders.send(Order::Close);
        let finished = self.task.await;
        match ended(&self.publisher.ended) {
            EndError::Closed if finished.is_ok() => Ok(()),
            end => Err(end),
        }
    }
}

struct Task {
    options: Options,
    machine: Machine,
    orders: mpsc::UnboundedReceiver<Order>,
    deliveries: mpsc::Sender<Received>,
    window: Arc<Semaphore>,
    ended: Arc<OnceLock<EndError>>,
    states: watch::Sender<State>,
    address: Arc<str>,
    connections: u64,
    flight: Flight<Sent>,
    /// Ids that must be sent again on this connection, oldest first; nothing new leaves before them.
    again: VecDeque<u16>,
    /// How many of the flight were sent on this connection.
    on_wire: usize,
    /// QoS 0 messages that are not written yet, with the end of each in the count of bytes put.
    unsure: VecDeque<(u64, u64, Reply)>,
    subscriptions: Filters,
    /// A delivery for which the reader has no room yet, and the id to acknowledge then (0: none).
    held: Option<(Received, u16)>,
    /// QoS 2 deliveries that were taken and are not released by the server: what comes again under these ids is known.
    taken: HashSet<u16>,
    closing: bool,
    /// When the connection was lost, until a new one has brought a packet.
    lost_since: Option<u64>,
}

/// How a connection ended.
enum Loss {
    /// As it should.
    Closed,
    /// By itself: to be made again.
    Lost(String),
    /// The server does not want us.
    Dismissed(EndError),
}

impl Task {
    async fn run(mut self, accepted: Accepted) {
        let mut accepted = accepted;
        let end = loop {
            let how = match self.converse(accepted).await {
                Loss::Closed => break EndError::Closed,
                Loss::Dismissed(end) => break end,
                Loss::Lost(how) => how,
            };
            tracing::debug!(address = %self.address, how, "connection lost");
            accepted = match self.regain(how).await {
                Ok(again) => again,
                Err(end) => break end,
            };
        };
        // First why, then the window, then (dropping everything) the tickets.
        let _ = self.ended.set(end);
        self.window.close();
        self.states.send_replace(State::Ended);
    }

    /// Makes the connection again, until patience ends.
    async fn regain(&mut self, how: String) -> Result<Accepted, EndError> {
        let now = self.machine.clock.mono_micros();
        let since = *self.lost_since.get_or_insert(now);
        for (_, _, reply) in self.unsure.drain(..) {
            let _ = reply.answer.send(Err(PublishError::Lost));
        }
        let patience = u64::try_from(self.options.patience.as_micros()).unwrap_or(u64::MAX);
        let mut backoff = Backoff::default();
        let mut last = None;
        loop {
            let why =
                last.as_ref().map_or_else(|| how.clone(), |error: &Arc<ConnectError>| error.to_string());
            self.states.send_replace(State::Lost {
                address: Arc::clone(&self.address),
                why: why.into(),
                attempts: backoff.attempts(),
            });
            let left = patience.saturating_sub(self.machine.clock.mono_micros().saturating_sub(since));
            if left == 0 {
                let (address, patience) = (self.address.to_string(), self.options.patience);
                return Err(EndError::GaveUp { address, lost: how, patience, last });
            }
            let left = Duration::from_micros(left);
            tokio::time::sleep(backoff.next(self.machine.random.number()).min(left)).await;
            match attempt(&self.options, false, self.options.attempt.min(left)).await {
                Ok(accepted) => {
                    self.connections += 1;
                    self.address = accepted.address.as_str().into();
                    let address = Arc::clone(&self.address);
                    self.states.send_replace(State::Connected { address, times: self.connections });
                    self.resume(accepted.session_present);
                    return Ok(accepted);
                }
                Err(error) if error.is_final() && self.is_refused_for_good(&error) => {
                    let (address, refusal) = (self.address.to_string(), Arc::new(error));
                    return Err(EndError::NotTakenBack { address, lost: how, refusal });
                }
                Err(error) => last = Some(Arc::new(error)),
            }
        }
    }

    /// A server that starts may still show its last life's token: who is looked up anew is tried anew.
    fn is_refused_for_good(&self, error: &ConnectError) -> bool {
        !matches!(
            error,
            ConnectError::Refusal { reason: Reason::BadUserNameOrPassword | Reason::NotAuthorized, .. }
        ) || self.options.patience.is_zero()
    }

    /// Lines up what must be sent again: all that is unacknowledged, in order, behind the subscriptions if the
    /// server has forgotten them.
    fn resume(&mut self, session_present: bool) {
        self.on_wire = 0;
        self.again.clear();
        let waiting: Vec<u16> = self.flight.ids().collect();
        if !session_present {
            self.taken.clear();
        }
        if !session_present && !self.subscriptions.is_empty() && self.flight.room() > 0 {
            let filters = self.subscriptions.clone();
            let since_micros = self.machine.clock.mono_micros();
            let mut id = 0;
            self.flight.put(|given| {
                id = given;
                Sent { packet: subscribe(given, filters), since_micros, waits: Waits::Nobody }
            });
            self.again.push_back(id);
        }
        for id in waiting {
            if let Some(Sent { packet: Packet::Publish(publish), .. }) = self.flight.get_mut(id) {
                publish.dup = true;
            }
            self.again.push_back(id);
        }
    }

    /// Speaks on one connection until it ends.
    async fn converse(&mut self, accepted: Accepted) -> Loss {
        let Accepted { mut wire, receive_maximum, keep_alive_s, .. } = accepted;
        let look = Duration::from_secs(u64::from(keep_alive_s).max(1)) / LOOKS_PER_KEEP_ALIVE;
        let mut looks = tokio::time::interval(look);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        looks.tick().await;
        let mut life = Life::default();
        let mut batch = Vec::with_capacity(ORDERS_AT_ONCE);
        let deliveries = self.deliveries.clone();
        loop {
            self.send_again(&mut wire, receive_maximum);
            match self.take_answers(&mut wire, &mut life) {
                ControlFlow::Break(loss) => return loss,
                ControlFlow::Continue(()) => self.settle_unsure(&wire),
            }
            if self.closing && self.flight.is_empty() && self.unsure.is_empty() {
                return self.say_goodbye(wire).await;
            }
            let room =
                receive_maximum.saturating_sub(self.on_wire).min(self.flight.room()).min(ORDERS_AT_ONCE);
            let takes_orders =
                !self.closing && room > 0 && self.again.is_empty() && wire.waiting() < OUTPUT_BYTES_MAX;
            let reading = self.held.is_none();
            tokio::select! {
                moved = wire.turn(reading) => match moved {
                    Ok(true) => {}
                    Ok(false) => return Loss::Lost("the server closed the connection".to_owned()),
                    Err(error) => return Loss::Lost(error.to_string()),
                },
                taken = self.orders.recv_many(&mut batch, room), if takes_orders => {
                    // Nobody holds a handle any more: what they asked for is still done.
                    self.closing |= taken == 0;
                    let now = self.machine.clock.mono_micros();
                    for order in batch.drain(..) {
                        self.obey(order, &mut wire, now);
                    }
                    life.spoke = true;
                }
                place = deliveries.reserve(), if !reading => {
                    if let Some((message, id)) = self.held.take() {
                        let qos = message.qos;
                        if let Ok(place) = place {
                            place.send(message);
                        }
                        acknowledge(&mut wire, qos, id);
                        life.spoke = true;
                    }
                }
                _ = looks.tick(), if keep_alive_s > 0 => {
                    if life.look(reading) {
                        return Loss::Lost(format!("no answer for {keep_alive_s} s"));
                    }
                    if life.must_speak() && wire.put(&Packet::PingReq).is_ok() {
                        life.spoke = true;
                        life.asked = true;
                    }
                }
            }
        }
    }

    /// Puts what must be sent again, as far as the server takes it.
    fn send_again(&mut self, wire: &mut Wire, receive_maximum: usize) {
        while self.on_wire < receive_maximum
            && wire.waiting() < OUTPUT_BYTES_MAX
            && let Some(id) = self.again.pop_front()
        {
            let Some(sent) = self.flight.get(id) else { continue };
            match wire.put(&sent.packet) {
                Ok(_) => self.on_wire += 1,
                Err(error) => {
                    let sent = self.flight.take(id).expect("it was just found");
                    sent.waits.refuse(&error);
                }
            }
        }
    }

    fn obey(&mut self, order: Order, wire: &mut Wire, now: u64) {
        match order {
            Order::Publish { message, reply } if message.qos == Qos::AtMostOnce => {
                match wire.put(&publish(0, message, self.options.version)) {
                    Ok(end) => self.unsure.push_back((end, now, reply)),
                    Err(error) => Waits::Publisher(reply).refuse(&error),
                }
            }
            Order::Publish { message, reply } => {
                let version = self.options.version;
                self.launch(wire, now, |id| publish(id, message, version), Waits::Publisher(reply));
            }
            Order::Subscribe { filters, answer } => {
                self.launch(wire, now, |id| subscribe(id, filters), Waits::Subscriber(answer));
            }
            Order::Close => self.closing = true,
        }
    }

    /// Gives a packet its id, puts it, and remembers who waits for its answer.
    fn launch(&mut self, wire: &mut Wire, now: u64, make: impl FnOnce(u16) -> Packet, waits: Waits) {
        let mut id = 0;
        let sent = self.flight.put(|given| {
            id = given;
            Sent { packet: make(given), since_micros: now, waits }
        });
        match wire.put(&sent.packet) {
            Ok(_) => self.on_wire += 1,
            Err(error) => {
                let sent = self.flight.take(id).expect("it was just put there");
                sent.waits.refuse(&error);
            }
        }
    }

    /// Takes apart what has come, until there is no whole packet or no room for a delivery.
    fn take_answers(&mut self, wire: &mut Wire, life: &mut Life) -> ControlFlow<Loss> {
        let mut now = None;
        while self.held.is_none() {
            let packet = match wire.next() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(error) => {
                    return ControlFlow::Break(Loss::Lost(format!("the server sent garbage: {error}")));
                }
            };
            life.heard = true;
            life.asked = false;
            self.lost_since = None;
            let now = *now.get_or_insert_with(|| self.machine.clock.mono_micros());
            self.on_packet(packet, wire, life, now)?;
        }
        ControlFlow::Continue(())
    }

    fn on_packet(&mut self, packet: Packet, wire: &mut Wire, life: &mut Life, now: u64) -> ControlFlow<Loss> {
        match packet {
            Packet::PubAck(ack) => self.on_last_answer(ack, now),
            // What the server does not know any more it has released: the message arrived.
            Packet::PubComp(ack) => self.on_last_answer(Ack::new(ack.packet_id, Reason::Success), now),
            Packet::PubRec(ack) if ack.reason.is_failure() => self.on_last_answer(ack, now),
            Packet::PubRec(ack) => {
                let release = Packet::PubRel(Ack::new(ack.packet_id, Reason::Success));
                if let Some(sent) = self.flight.get_mut(ack.packet_id) {
                    // From here on the release is sent again, never the message (MQTT 5.0, section 4.3.3).
                    sent.packet = release.clone();
                }
                let _ = wire.put(&release);
                life.spoke = true;
            }
            Packet::PubRel(ack) => {
                self.taken.remove(&ack.packet_id);
                let _ = wire.put(&Packet::PubComp(Ack::new(ack.packet_id, Reason::Success)));
                life.spoke = true;
            }
            Packet::SubAck(answer) => {
                if let Some(sent) = self.take(answer.packet_id) {
                    self.on_suback(sent, answer.reasons);
                }
            }
            Packet::Publish(publish) => {
                let Some((message, id)) = received(publish) else {
                    return lost("the server sent a topic alias, which nobody asked for");
                };
                let qos = message.qos;
                if qos == Qos::ExactlyOnce && !self.taken.insert(id) {
                    acknowledge(wire, qos, id);
                    return ControlFlow::Continue(());
                }
                match self.deliveries.try_send(message) {
                    Err(mpsc::error::TrySendError::Full(message)) => self.held = Some((message, id)),
                    // Without a reader it is acknowledged all the same: the server is not to keep it for nobody.
                    Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {
                        acknowledge(wire, qos, id);
                        life.spoke = true;
                    }
                }
            }
            Packet::PingResp => {}
            Packet::Disconnect(goodbye) => return self.on_dismissal(goodbye),
            other => {
                return lost(&format!("the server sent {}, which nobody asked for", other.packet_type()));
            }
        }
        ControlFlow::Continue(())
    }

    fn take(&mut self, id: u16) -> Option<Sent> {
        let sent = self.flight.take(id)?;
        self.on_wire = self.on_wire.saturating_sub(1);
        Some(sent)
    }

    /// The answer that ends a message: PUBACK, PUBCOMP, or a refusal of QoS 2.
    fn on_last_answer(&mut self, ack: Ack, now: u64) {
        let Some(Sent { waits: Waits::Publisher(reply), since_micros, .. }) = self.take(ack.packet_id) else {
            tracing::debug!(id = ack.packet_id, "acknowledgement of nothing");
            return;
        };
        let answer = if (ack.reason as u8) < 0x80 {
            Ok(Acknowledged { reason: ack.reason, waited_micros: now.saturating_sub(since_micros) })
        } else {
            let text = ack.properties.and_then(|told| told.reason_string).map(|text| text.to_string());
            Err(PublishError::Refused { reason: ack.reason, text })
        };
        let _ = reply.answer.send(answer);
    }

    fn on_suback(&mut self, sent: Sent, reasons: Vec<Reason>) {
        let Sent { packet: Packet::Subscribe(asked), waits, .. } = sent else { return };
        let Waits::Subscriber(answer) = waits else { return };
        let granted = asked.filters.into_iter().zip(&reasons).filter(|(_, reason)| (**reason as u8) < 0x80);
        for (filter, _) in granted {
            self.subscriptions.retain(|(known, _)| *known != filter.0);
            self.subscriptions.push(filter);
        }
        let _ = answer.send(Ok(reasons));
    }

    fn on_dismissal(&mut self, goodbye: Disconnect) -> ControlFlow<Loss> {
        let text = goodbye.properties.and_then(|told| told.reason_string).map(|text| text.to_string());
        if kind_of(goodbye.reason).is_retryable() || goodbye.reason == Reason::Success {
            let said = text.map_or(String::new(), |text| format!(" ({text})"));
            return lost(&format!("the server said: {}{said}", goodbye.reason));
        }
        let address = self.address.to_string();
        ControlFlow::Break(Loss::Dismissed(EndError::Dismissed { address, reason: goodbye.reason, text }))
    }

    /// Answers for the QoS 0 messages that have left.
    fn settle_unsure(&mut self, wire: &Wire) {
        while let Some((end, ..)) = self.unsure.front()
            && *end <= wire.left()
            && let Some((_, since, reply)) = self.unsure.pop_front()
        {
            let waited_micros = self.machine.clock.mono_micros().saturating_sub(since);
            let _ = reply.answer.send(Ok(Acknowledged { reason: Reason::Success, waited_micros }));
        }
    }

    async fn say_goodbye(&mut self, mut wire: Wire) -> Loss {
        if wire.put(&Packet::Disconnect(Disconnect::new(Reason::Success))).is_ok() {
            // Everything is acknowledged: a server that does not hear the goodbye misses nothing else.
            let _ = tokio::time::timeout(self.options.attempt, wire.close()).await;
        }
        Loss::Closed
    }
}

impl Waits {
    fn refuse(self, error: &EncodeError) {
        match self {
            Self::Publisher(reply) => {
                let _ = reply.answer.send(Err(match error {
                    EncodeError::TooLarge { bytes, bytes_max, .. } => {
                        PublishError::TooLarge { bytes: *bytes, bytes_max: *bytes_max }
                    }
                    other => PublishError::Invalid(other.to_string()),
                }));
            }
            Self::Subscriber(answer) => {
                let _ = answer.send(Err(SubscribeError::Invalid(error.to_string())));
            }
            Self::Nobody => {}
        }
    }
}

fn lost(how: &str) -> ControlFlow<Loss> {
    ControlFlow::Break(Loss::Lost(how.to_owned()))
}
