//! Turns at a door: so many of one address at a time, in the order in which they came.
//!
//! For work that a stranger begins and may leave lying, as a handshake of TLS. Not here: the work. The laws:
//!
//! - Nobody waits for another address's turn, so that one stranger holds up himself and his neighbours alone.
//! - A turn that is held for longer than the caller's patience while others of its address wait is taken back: whoever dawdles
//!   gives way.
//! - Nothing is kept of an address that has no turn and waits for none.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// What is counted as one address: of IPv6 a network of 64 bits, which is the least that one customer is given (RFC 6177); a
/// mapped IPv4 address is that address.
#[must_use]
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The turns of all addresses. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Turns {
    per_address: usize,
    patience: Duration,
    queues: Arc<Mutex<HashMap<IpAddr, Arc<Queue>>>>,
}

struct Queue {
    turns: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Who holds a turn, since when, and how he is told to go; the oldest first. One who was told is not here any more.
    holders: BTreeMap<u64, (Instant, Arc<Notify>)>,
    /// Who holds one or waits.
    guests: usize,
}

impl Turns {
    /// So many of each address at a time, each held undisturbed for `patience`.
    #[must_use]
    pub fn new(per_address: usize, patience: Duration) -> Self {
        Self { per_address, patience, queues: Arc::default() }
    }

    /// Waits for a turn of this address.
    pub async fn take(&self, address: IpAddr) -> Turn {
        let guest = self.come(neighbourhood(address));
        let mut coming = std::pin::pin!(Arc::clone(&guest.queue.turns).acquire_owned());
        let mut has_sent_away = false;
        let permit = loop {
            // Whoever was told to go is about to: nobody else is told for the same guest so soon.
            let oldest = guest.oldest().filter(|_| !has_sent_away);
            let dawdles = async {
                match oldest {
                    Some(since) => tokio::time::sleep_until(since + self.patience).await,
                    // Or they have just come to their turns.
                    None => tokio::time::sleep(self.patience).await,
                }
            };
            tokio::select! {
                biased;
                permit = &mut coming => break permit.expect("nobody closes it"),
                () = dawdles => has_sent_away = !has_sent_away && guest.send_away(),
            }
        };
        let (number, over) = guest.hold();
        Turn { guest, number, over, _permit: permit }
    }

    fn come(&self, address: IpAddr) -> Guest {
        let mut queues = self.queues.lock();
        let queue = queues.entry(address).or_insert_with(|| {
            Arc::new(Queue { turns: Arc::new(Semaphore::new(self.per_address)), state: Mutex::default() })
        });
        queue.state.lock().guests += 1;
        Guest { turns: self.clone(), address, queue: Arc::clone(queue) }
    }
}

/// Somebody who holds a turn or waits for one.
struct Guest {
    turns: Turns,
    address: IpAddr,
    queue: Arc<Queue>,
}

impl Guest {
    /// Since when the oldest turn is held.
    fn oldest(&self) -> Option<Instant> {
        self.queue.state.lock().holders.first_key_value().map(|(_, (since, _))| *since)
    }

    /// Tells one who has held his turn for too long to go; `false`: there is none.
    fn send_away(&self) -> bool {
        let mut state = self.queue.state.lock();
        let is_due = |since: &Instant| since.elapsed() >= self.turns.patience;
        let oldest = state.holders.first_entry().filter(|oldest| is_due(&oldest.get().0));
        oldest.map(|oldest| oldest.remove().1.notify_one()).is_some()
    }

    #[allow(clippy::disallowed_methods, reason = "the timer of the runtime has its own clock")]
    fn hold(&self) -> (u64, Arc<Notify>) {
        let (mut state, over) = (self.queue.state.lock(), Arc::new(Notify::new()));
        let number = state.next;
        state.next += 1;
        state.holders.insert(number, (Instant::now(), Arc::clone(&over)));
        (number, over)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut queues = self.turns.queues.lock();
        let mut state = self.queue.state.lock();
        state.guests -= 1;
        if state.guests == 0 {
            queues.remove(&self.address);
        }
    }
}

/// A turn, for as long as it lives.
pub struct Turn {
    guest: Guest,
    number: u64,
    over: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// Waits until the turn is taken back: whoever holds it is to drop it then.
    pub async fn over(&self) {
        self.over.notified().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guest.queue.state.lock().holders.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const PATIENCE: Duration = Duration::from_secs(1);
    const HONEST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_the_turn_of_another_address() {
        let turns = Turns::new(2, PATIENCE);
        let held = (turns.take(STRANGER).await, turns.take(STRANGER).await);
        let waiting = tokio::time::timeout(PATIENCE / 2, turns.take(STRANGER));
        assert!(waiting.await.is_err(), "there are two");
        let began = Instant::now();
        let honest = turns.take(HONEST).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop((held, honest));
        assert!(turns.queues.lock().is_empty(), "nothing stays behind");
    }

    #[tokio::test(start_paused = true)]
    async fn for_one_who_waits_one_gives_way() {
        let turns = Turns::new(2, PATIENCE);
        let (first, second) = (turns.take(STRANGER).await, turns.take(STRANGER).await);
        tokio::time::sleep(2 * PATIENCE).await;
        let (_turn, is_left_alone) = tokio::join!(turns.take(STRANGER), async {
            first.over().await;
            // It takes its time to go, and the other one is not told in its place.
            let is_left_alone = tokio::time::timeout(PATIENCE / 2, second.over()).await.is_err();
            drop(first);
            is_left_alone
        });
        assert!(is_left_alone);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_dawdles_gives_way_to_who_waits_and_to_nobody_else() {
        let turns = Turns::new(1, PATIENCE);
        let dawdler = turns.take(STRANGER).await;
        assert!(tokio::time::timeout(60 * PATIENCE, dawdler.over()).await.is_err(), "nobody waits");
        let next = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(STRANGER).await }
        });
        dawdler.over().await;
        drop(dawdler);
        let next = next.await.expect("it has its turn");
        // A fresh turn is left alone for a while, and then goes to the first of those who wait.
        let began = Instant::now();
        let (turn, ()) = tokio::join!(turns.take(STRANGER), async {
            next.over().await;
            drop(next);
        });
        assert_eq!(began.elapsed(), PATIENCE);
        drop(turn);
        assert!(turns.queues.lock().is_empty(), "nothing stays behind");
    }

    #[test]
    fn a_network_that_one_customer_has_is_one_address() {
        let of = |text: &str| neighbourhood(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::7"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::7"), of("2001:db8:1:3::7"));
        assert_eq!(of("::ffff:10.0.0.1"), STRANGER);
        assert_ne!(STRANGER, of("10.0.0.2"));
    }
}
