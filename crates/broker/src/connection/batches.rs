//! What was read and is on its way to the journal, in the order in which it is to be answered.
//!
//! Pure. One batch is what one read brought. The law: answers leave in the order of arrival, each after its own batch is
//! durable and every batch before it (MQTT 5.0, section 4.6), whatever the order in which batches become durable.

use std::collections::VecDeque;

use mqtt::Reason;

use crate::link::Failure;

/// How a publish is to be answered when its batch is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) packet_id: u16,
    pub(crate) reason: Reason,
    /// PUBREC to QoS 2, PUBACK to QoS 1.
    pub(crate) is_rec: bool,
    /// To a repeat of a QoS 2 message that was answered, or is to be, by another.
    pub(crate) is_repeat: bool,
}

/// The answers of one batch, in their order.
pub(crate) type Answers = Vec<Answer>;

/// How many of them are PUBACK: QoS 2 is counted by the ids that are not released.
fn pubacks(answers: &Answers) -> usize {
    answers.iter().filter(|answer| !answer.is_rec).count()
}

fn repeats(answers: &Answers) -> usize {
    answers.iter().filter(|answer| answer.is_repeat).count()
}

/// Takes the answers to repeats of a QoS 2 packet id away.
pub(crate) fn withdraw_repeats(answers: &mut Answers, packet_id: u16) {
    answers.retain(|answer| !(answer.is_repeat && answer.packet_id == packet_id));
}

/// The batches of one connection.
#[derive(Default)]
pub(crate) struct Batches {
    pending: VecDeque<Pending>,
    /// Number of the next batch; the first of `pending` is `next - pending.len()`.
    next: u64,
    unanswered: usize,
    /// Answers to repeats: nearly always none, and nothing is looked for then.
    repeats: usize,
    bytes: usize,
}

struct Pending {
    answers: Answers,
    bytes: usize,
    fate: Fate,
}

enum Fate {
    Waiting,
    Durable,
    Failed(Failure),
}

impl Batches {
    /// Begins a batch. `is_empty`: nothing of it goes to the journal, it only keeps its place in the order.
    pub(crate) fn open(&mut self, answers: Answers, bytes: usize, is_empty: bool) -> u64 {
        self.unanswered += pubacks(&answers);
        self.repeats += repeats(&answers);
        self.bytes += bytes;
        let fate = if is_empty { Fate::Durable } else { Fate::Waiting };
        self.pending.push_back(Pending { answers, bytes, fate });
        self.next += 1;
        self.next - 1
    }

    /// A batch became durable, or failed.
    pub(crate) fn done(&mut self, number: u64, failed: Option<Failure>) {
        let first = self.next - self.pending.len() as u64;
        let at = number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        if let Some(pending) = at.and_then(|at| self.pending.get_mut(at)) {
            pending.fate = failed.map_or(Fate::Durable, Fate::Failed);
        }
    }

    /// Takes the answers of the first batch when its fate is known.
    pub(crate) fn next_answers(&mut self) -> Option<(Answers, Option<Failure>)> {
        if matches!(self.pending.front()?.fate, Fate::Waiting) {
            return None;
        }
        let Pending { answers, bytes, fate } = self.pending.pop_front()?;
        self.unanswered -= pubacks(&answers);
        self.repeats -= repeats(&answers);
        self.bytes -= bytes;
        if self.pending.is_empty() && self.pending.capacity() > 16 {
            self.pending = VecDeque::new();
        }
        match fate {
            Fate::Failed(failure) => Some((answers, Some(failure))),
            Fate::Durable | Fate::Waiting => Some((answers, None)),
        }
    }

    /// A client has released a packet id: it has its PUBREC, and one to a repeat would come to the next message of this id.
    pub(crate) fn withdraw(&mut self, packet_id: u16) {
        if self.repeats > 0 {
            for pending in &mut self.pending {
                withdraw_repeats(&mut pending.answers, packet_id);
            }
            self.repeats = self.pending.iter().map(|pending| repeats(&pending.answers)).sum();
        }
    }

    /// The number of the next batch.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Whether every batch before `number` is answered.
    pub(crate) fn is_answered_before(&self, number: u64) -> bool {
        self.next - self.pending.len() as u64 >= number
    }

    /// Whether everything is answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// QoS 1 publishes that were not answered yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Bytes on their way.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn acks_leave_in_order_and_only_after_durable(
            sizes in prop::collection::vec(0..4_usize, 1..30),
            order in prop::collection::vec(any::<prop::sample::Index>(), 30),
        ) {
            let mut batches = Batches::default();
            let mut waiting = Vec::new();
            let mut id = 0;
            for &size in &sizes {
                let answers: Answers = (0..size).map(|_| {
                    id += 1;
                    Answer { packet_id: id, reason: Reason::Success, is_rec: id % 3 == 0, is_repeat: false }
                }).collect();
                let number = batches.open(answers, size, size == 0);
                if size > 0 {
                    waiting.push((number, id));
                }
            }
            let mut last = 0;
            for pick in order {
                while let Some((answers, _)) = batches.next_answers() {
                    for answer in answers {
                        prop_assert_eq!(answer.packet_id, last + 1, "in order");
                        last = answer.packet_id;
                    }
                }
                if let Some(&(_, up_to)) = waiting.iter().min() {
                    prop_assert!(last < up_to, "answered before it is durable");
                }
                if !waiting.is_empty() {
                    let (number, _) = waiting.remove(pick.index(waiting.len()));
                    batches.done(number, None);
                }
            }
            while batches.next_answers().is_some() {}
            prop_assert_eq!((batches.unanswered(), batches.bytes(), batches.is_empty()), (0, 0, true));
        }
    }
}
