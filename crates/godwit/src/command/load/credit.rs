//! How much a publisher may have on its way to subscribers: a closed loop over the whole server.
//!
//! Without it QoS 0 would measure how quickly a server drops. What was sent and did not arrive within a second is
//! given up, counted as lost, and the loop goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// After so long without any delivery what is on its way is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// One publisher's account: deliveries so far, and who waits for more.
pub(super) struct Account {
    /// Subscribers that each message goes to.
    fan: u64,
    delivered: AtomicU64,
    more: Notify,
}

impl Account {
    pub(super) fn new(fan: u64) -> Arc<Self> {
        Arc::new(Self { fan, delivered: AtomicU64::new(0), more: Notify::new() })
    }

    /// A subscriber got so many messages of this publisher.
    pub(super) fn deliver(&self, messages: u64) {
        let before = self.delivered.fetch_add(messages, Ordering::AcqRel);
        if before / self.fan != (before + messages) / self.fan {
            self.more.notify_one();
        }
    }

    /// Deliveries so far.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Acquire)
    }
}

/// What a publisher may still send.
pub(super) struct Credit {
    account: Arc<Account>,
    window: u64,
    sent: u64,
    /// Deliveries that were waited for in vain.
    given_up: u64,
}

impl Credit {
    pub(super) fn new(account: Arc<Account>, window: u64) -> Self {
        Self { account, window, sent: 0, given_up: 0 }
    }

    /// How many messages may be sent now.
    pub(super) fn room(&self) -> u64 {
        let arrived = (self.account.delivered() + self.given_up) / self.account.fan;
        (arrived + self.window).saturating_sub(self.sent).min(self.window)
    }

    /// A message is sent.
    pub(super) fn spend(&mut self) {
        self.sent += 1;
    }

    /// Waits until there may be more room. Safe to drop and call again.
    pub(super) async fn more(&mut self) {
        let before = self.account.delivered();
        if tokio::time::timeout(PATIENCE, self.account.more.notified()).await.is_err()
            && self.account.delivered() == before
        {
            self.given_up = (self.sent * self.account.fan).saturating_sub(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_arrive_is_given_up_and_the_loop_goes_on() {
        let account = Account::new(2);
        let mut credit = Credit::new(Arc::clone(&account), 3);
        for _ in 0..3 {
            assert!(credit.room() > 0);
            credit.spend();
        }
        assert_eq!(credit.room(), 0);
        account.deliver(1);
        assert_eq!(credit.room(), 0, "one of two subscribers");
        account.deliver(1);
        credit.more().await;
        assert_eq!(credit.room(), 1);
        credit.spend();
        credit.more().await;
        assert_eq!(credit.room(), 3, "given up after a second");
    }
}
