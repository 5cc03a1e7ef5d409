//! The laws of an outbox, by hand and by chance.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::prepared::tests::{number, prepared};

const BOUNDS: Bounds = Bounds { messages_max: 4, bytes_max: 10_000, left_max: 3 };

fn left(seq: u64) -> Option<Left> {
    Some(Left { seq, source: Source::Own, qos_max: Qos::AtLeastOnce, retain: false, ids: None })
}

/// The next message.
fn next(
    outbox: &mut Outbox,
    window: usize,
    now_mono: u64,
    bytes_max: Option<NonZeroU32>,
    drop: impl FnMut(Drop),
) -> Option<Outgoing> {
    outbox.next(window, now_mono, bytes_max, drop).map(|next| match next {
        Next::Publish(outgoing) => outgoing,
        Next::Release(packet_id) => panic!("PUBREL of {packet_id}"),
    })
}

fn push(outbox: &mut Outbox, seq: u64, qos: Qos) -> Pushed {
    outbox.push(prepared(seq, qos), left(seq), &BOUNDS, false, false, Source::Own)
}

/// Of QoS 2, where nothing is dropped.
fn push_wide(outbox: &mut Outbox, seq: u64) {
    let left = left(seq).map(|left| Left { qos_max: Qos::ExactlyOnce, ..left });
    let bounds = Bounds { left_max: 10_000, ..BOUNDS };
    let pushed = outbox.push(prepared(seq, Qos::ExactlyOnce), left, &bounds, false, false, Source::Own);
    assert!(!matches!(pushed, Pushed::Dropped(_)));
}

#[test]
fn what_does_not_fit_in_memory_is_left_and_comes_back_in_order() {
    let mut outbox = Outbox::default();
    let pushed: Vec<_> = (1..=9).map(|seq| push(&mut outbox, seq, Qos::AtLeastOnce)).collect();
    assert_eq!(pushed.iter().filter(|pushed| **pushed == Pushed::Queued).count(), 4);
    assert_eq!(pushed.iter().filter(|pushed| **pushed == Pushed::Left).count(), 3);
    assert_eq!(pushed[7..], [Pushed::Dropped(Drop::QueueFull), Pushed::Dropped(Drop::QueueFull)]);
    let mut seen = Vec::new();
    while let Some(out) = next(&mut outbox, 100, 0, None, |_| panic!("nothing expires")) {
        seen.push(number(&out.prepared));
        if let Some(seq) = outbox.wanted(&BOUNDS) {
            outbox.refill(prepared(seq, Qos::AtLeastOnce));
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_resumed_session_sends_again_in_order_and_within_the_new_window() {
    let mut outbox = Outbox::default();
    for seq in 1..=4 {
        push(&mut outbox, seq, Qos::AtLeastOnce);
    }
    let ids: Vec<_> =
        (0..3).map(|_| next(&mut outbox, 3, 0, None, |_| {}).expect("one more").packet_id).collect();
    assert!(next(&mut outbox, 3, 0, None, |_| {}).is_none(), "the window is full");
    assert!(outbox.acknowledge(ids[1]));
    assert!(!outbox.acknowledge(ids[1]), "acknowledged once");
    outbox.resume();
    let again = next(&mut outbox, 1, 0, None, |_| {}).expect("the first again");
    assert_eq!((again.packet_id, again.dup, number(&again.prepared)), (ids[0], true, 1));
    assert!(next(&mut outbox, 1, 0, None, |_| {}).is_none(), "the new window is one");
    assert!(outbox.acknowledge(ids[0]));
    let again = next(&mut outbox, 1, 0, None, |_| {}).expect("the third again");
    assert_eq!((again.packet_id, again.dup), (ids[2], true));
    assert!(outbox.acknowledge(ids[2]));
    let fresh = next(&mut outbox, 1, 0, None, |_| {}).expect("the fourth");
    assert_eq!((number(&fresh.prepared), fresh.dup), (4, false));
}

#[test]
fn mqtt5_4_3_3_5_what_the_client_has_is_released_and_never_published_again() {
    let mut outbox = Outbox::default();
    for seq in 1..=3 {
        push(&mut outbox, seq, Qos::ExactlyOnce);
    }
    let ids: Vec<_> =
        (0..3).map(|_| next(&mut outbox, 9, 0, None, |_| {}).expect("one more").packet_id).collect();
    assert!(!outbox.acknowledge(ids[0]), "PUBACK is no answer to QoS 2");
    assert!(!outbox.complete(ids[0]), "not released yet");
    assert_eq!(outbox.receive(ids[0], false), Received::Release);
    assert_eq!(outbox.receive(ids[0], true), Received::Release, "it cannot take that back");
    assert_eq!(outbox.receive(ids[1], true), Received::Refused);
    assert_eq!(outbox.receive(ids[1], false), Received::Unknown);
    assert_eq!(outbox.inflight(), 2, "an id is in use until PUBCOMP");
    outbox.resume();
    assert!(matches!(outbox.next(9, 0, None, |_| {}), Some(Next::Release(id)) if id == ids[0]));
    let again = next(&mut outbox, 9, 0, None, |_| {}).expect("the third again");
    assert_eq!((again.packet_id, again.dup, number(&again.prepared)), (ids[2], true, 3));
    assert!(outbox.complete(ids[0]) && !outbox.complete(ids[0]));
    assert_eq!(outbox.receive(ids[2], false), Received::Release);
    assert!(outbox.complete(ids[2]));
    assert_eq!(outbox.inflight(), 0);
}

/// What a catalog would hold: what was saved last, and what is on record.
#[derive(Clone, Default)]
struct Table {
    saved: Saved,
    waiting: Vec<Left>,
    on_record: Vec<OnRecord>,
}

impl Table {
    fn save(&mut self, outbox: &mut Outbox) {
        let saved = outbox.save();
        // Queues of these tests fit one chunk.
        if let Some(chunk) = saved.backlog.chunks.first() {
            self.waiting = chunk.lefts.clone();
            self.waiting.truncate((saved.backlog.end - saved.backlog.head) as usize);
        } else {
            let gone = (saved.backlog.head - self.saved.backlog.head) as usize;
            self.waiting.drain(..gone.min(self.waiting.len()));
        }
        self.on_record.retain(|flight| !saved.over.contains(&flight.serial));
        self.saved = saved;
    }

    fn record(&mut self, steps: &Steps) -> Vec<u64> {
        for (serial, left) in &steps.begun {
            let flight = OnRecord { serial: *serial, left: left.clone(), is_received: false, is_kept: true };
            self.on_record.push(flight);
        }
        for serial in &steps.received {
            let flight = self.on_record.iter_mut().find(|flight| flight.serial == *serial);
            flight.expect("begun before").is_received = true;
        }
        steps.begun.iter().map(|(serial, _)| *serial).chain(steps.received.iter().copied()).collect()
    }

    /// What the next process has. What was pushed since it was saved is pushed again, `from` the journal.
    fn restart(&self, from: impl IntoIterator<Item = u64>) -> Outbox {
        let mut outbox = Outbox::recording();
        outbox.restore(Back {
            serial: self.saved.serial,
            flights: self.saved.flights.clone(),
            aside: self.saved.aside.clone(),
            head: self.saved.backlog.head,
            waiting: self.waiting.clone(),
            is_saved: true,
            on_record: self.on_record.clone(),
        });
        let lost: Vec<_> = outbox.lost_flights().collect();
        for (seq, source) in lost {
            outbox.fly_again(seq, source, |left| Some(prepared(left.seq, left.qos_max)));
        }
        for seq in from.into_iter().filter(|seq| !outbox.is_known(*seq, Source::Own)).collect::<Vec<_>>() {
            push_wide(&mut outbox, seq);
        }
        outbox.settle(true);
        outbox.resume();
        outbox
    }
}

#[test]
fn what_is_saved_comes_back_with_its_packet_ids_and_in_its_order() {
    let (mut outbox, mut table) = (Outbox::recording(), Table::default());
    for seq in 1..=7 {
        push(&mut outbox, seq, Qos::ExactlyOnce);
    }
    assert!(outbox.next(3, 0, None, |_| {}).is_none(), "nothing leaves before it is on record");
    let steps = outbox.steps();
    assert_eq!(steps.begun.len(), 3);
    assert!(outbox.steps().is_empty(), "asked for once");
    let recorded = table.record(&steps);
    outbox.recorded(&recorded, false);
    assert_eq!(outbox.steps(), steps, "and again, when that failed");
    outbox.recorded(&recorded, true);
    let ids: Vec<_> =
        (0..3).map(|_| next(&mut outbox, 3, 0, None, |_| {}).expect("one more").packet_id).collect();
    let Received::Record(serial) = outbox.receive(ids[1], false) else { panic!("on record first") };
    assert_eq!(outbox.receive(ids[1], false), Received::Awaited);
    let received = Steps { begun: Vec::new(), received: vec![serial] };
    outbox.recorded(&table.record(&received), true);
    assert_eq!(outbox.receive(ids[1], false), Received::Release);
    table.save(&mut outbox);
    assert_eq!(table.waiting.iter().map(|left| left.seq).collect::<Vec<_>>(), [4, 5, 6, 7]);
    let mut back = Outbox::recording();
    let restored = back.restore(Back {
        serial: table.saved.serial,
        head: table.saved.backlog.head,
        waiting: table.waiting.clone(),
        is_saved: true,
        on_record: table.on_record.clone(),
        ..Back::default()
    });
    assert_eq!((restored.flights, restored.waiting), (3, 4));
    assert_eq!(back.lost_flights().map(|(seq, _)| seq).collect::<Vec<_>>(), [1, 3]);
    back.fly_again(3, Source::Own, |left| Some(prepared(left.seq, left.qos_max)));
    assert_eq!(back.give_up_lost(), 1, "retention took the first");
    back.resume();
    assert!(matches!(back.next(9, 0, None, |_| {}), Some(Next::Release(id)) if id == ids[1]));
    let third = next(&mut back, 9, 0, None, |_| {}).expect("the third");
    assert_eq!((third.packet_id, third.dup, number(&third.prepared)), (ids[2], true, 3));
    back.refill(prepared(4, Qos::ExactlyOnce));
    assert!(back.next(9, 0, None, |_| {}).is_none());
    let recorded = table.record(&back.steps());
    back.recorded(&recorded, true);
    let fourth = next(&mut back, 9, 0, None, |_| {}).expect("the fourth");
    assert!(!ids.contains(&fourth.packet_id), "no id is used twice");
    assert!(!fourth.dup);
    assert_eq!(back.save().over.len(), 1, "the row of what retention took is needed no more");
}

#[test]
fn messages_of_a_group_go_to_others_unless_they_were_begun() {
    let mut outbox = Outbox::default();
    for (seq, qos) in
        [(1, Qos::AtLeastOnce), (2, Qos::ExactlyOnce), (3, Qos::AtLeastOnce), (4, Qos::ExactlyOnce)]
    {
        outbox.push(prepared(seq, qos), None, &BOUNDS, false, false, Source::Group(9));
    }
    for _ in 0..2 {
        next(&mut outbox, 2, 0, None, |_| {}).expect("one more");
    }
    assert_eq!(outbox.give_back(false), [(9, 3), (9, 4)], "not begun");
    assert_eq!(outbox.give_back(true), [(9, 1)], "QoS 1, when the session ends; QoS 2 goes to nobody else");
    assert_eq!((outbox.inflight(), outbox.queued()), (1, 0));
}

proptest! {
    /// A client that follows the standard, and a process that ends between any two steps.
    #[test]
    fn mqtt5_4_3_3_every_message_of_qos_2_arrives_once_whenever_the_process_ends(
        steps in prop::collection::vec(0..12_u8, 1..250),
    ) {
        let (mut outbox, mut table) = (Outbox::recording(), Table::default());
        // The journal's end, and how far the delivery was when the queue was saved.
        let (mut seq, mut position) = (0_u64, 0_u64);
        let mut asked: VecDeque<Steps> = VecDeque::new();
        // The client: ids it has and that are not released, what it has taken, what it still has to answer.
        let mut held: HashSet<u16> = HashSet::new();
        let mut taken: Vec<u64> = Vec::new();
        let mut answers: VecDeque<(u16, bool)> = VecDeque::new();
        let mut is_draining = false;
        let mut steps = steps.into_iter();
        let mut quiet = 0;
        loop {
            let step = match steps.next() {
                Some(step) => step,
                None if quiet > 30 => break,
                // In the end, everything that can be done is done.
                None => {
                    is_draining = true;
                    quiet += 1;
                    [3, 6, 8, 8][quiet % 4]
                }
            };
            match step {
                0..=2 if !is_draining => {
                    seq += 1;
                    push_wide(&mut outbox, seq);
                }
                0..=5 => {
                    while let Some(next) = outbox.next(3, 0, None, |_| ()) {
                        quiet = 0;
                        match next {
                            Next::Publish(out) => {
                                if held.insert(out.packet_id) {
                                    taken.push(number(&out.prepared));
                                }
                                answers.push_back((out.packet_id, false));
                            }
                            Next::Release(id) => {
                                held.remove(&id);
                                answers.push_back((id, true));
                            }
                        }
                    }
                    let wanted = outbox.steps();
                    if !wanted.is_empty() {
                        asked.push_back(wanted);
                    }
                    if let Some(wanted) = outbox.wanted(&BOUNDS) {
                        outbox.refill(prepared(wanted, Qos::ExactlyOnce));
                    }
                }
                // The catalog comes to it. A release goes out then.
                6..=7 => if let Some(steps) = asked.pop_front() {
                    quiet = 0;
                    let recorded = table.record(&steps);
                    outbox.recorded(&recorded, true);
                    for serial in steps.received {
                        let id = id_of(serial);
                        held.remove(&id);
                        answers.push_back((id, true));
                    }
                },
                8..=9 => if let Some((id, is_complete)) = answers.pop_front() {
                    quiet = 0;
                    if is_complete {
                        outbox.complete(id);
                    } else if let Received::Record(serial) = outbox.receive(id, false) {
                        asked.push_back(Steps { begun: Vec::new(), received: vec![serial] });
                    }
                },
                10 => {
                    table.save(&mut outbox);
                    position = seq;
                }
                // kill -9: what was asked for may have been written or not, what was on its way to the client is lost.
                _ => {
                    if steps.len() % 2 == 0 && let Some(steps) = asked.pop_front() {
                        table.record(&steps);
                    }
                    asked.clear();
                    answers.clear();
                    outbox = table.restart(position + 1..=seq);
                }
            }
        }
        taken.sort_unstable();
        prop_assert_eq!(taken, (1..=seq).collect::<Vec<_>>());
    }
}

/// emqx issue 16296: an id used again while its first message is unacknowledged loses that message.
#[test]
fn an_id_that_is_never_acknowledged_is_never_used_again() {
    let mut outbox = Outbox::default();
    push(&mut outbox, 0, Qos::AtLeastOnce);
    let stuck = next(&mut outbox, 2, 0, None, |_| {}).expect("a packet").packet_id;
    for seq in 1..=140_000 {
        push(&mut outbox, seq, Qos::AtLeastOnce);
        let id = next(&mut outbox, 2, 0, None, |_| {}).expect("a packet").packet_id;
        assert_ne!(id, stuck);
        assert_ne!(id, 0);
        assert!(outbox.acknowledge(id));
    }
}

#[test]
fn expired_and_oversized_messages_are_handed_back_with_their_reason() {
    let mut outbox = Outbox::default();
    let expiring = crate::prepared::tests::expiring(1, 1_000_000);
    outbox.push(expiring, left(1), &BOUNDS, false, false, Source::Own);
    push(&mut outbox, 2, Qos::AtLeastOnce);
    let mut dropped = Vec::new();
    let out = next(&mut outbox, 9, 1_000_000, NonZeroU32::new(5), |reason| dropped.push(reason));
    assert!(out.is_none());
    assert_eq!(dropped, [Drop::Expired, Drop::TooLarge]);
    assert_eq!(outbox.queued_bytes(), 0);
}

proptest! {
    #[test]
    fn every_message_is_sent_acknowledged_or_counted(
        steps in prop::collection::vec((0..6_u8, 0..8_usize, any::<bool>()), 1..200),
    ) {
        let mut outbox = Outbox::default();
        let (mut seq, mut dropped, mut acknowledged) = (0_u64, 0_usize, 0_usize);
        let mut flying: Vec<(u16, u64)> = Vec::new();
        let mut zero_sent = 0;
        let mut last_new = 0;
        for (step, pick, zero) in steps {
            match step {
                0..=2 => {
                    seq += 1;
                    let qos = if zero { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                    if let Pushed::Dropped(_) = push(&mut outbox, seq, qos) {
                        dropped += 1;
                    }
                }
                3 => if let Some(out) = next(&mut outbox, 3, 0, None, |_| ()) {
                    let got = number(&out.prepared);
                    if out.packet_id == 0 {
                        zero_sent += 1;
                    } else if out.dup {
                        prop_assert!(flying.contains(&(out.packet_id, got)), "the same id again");
                    } else {
                        prop_assert!(got > last_new, "order");
                        last_new = got;
                        flying.push((out.packet_id, got));
                    }
                    let ids: HashSet<_> = flying.iter().map(|(id, _)| *id).collect();
                    prop_assert_eq!(ids.len(), flying.len(), "an id is in use twice");
                },
                4 if !flying.is_empty() => {
                    let (id, _) = flying.remove(pick % flying.len());
                    prop_assert!(outbox.acknowledge(id));
                    acknowledged += 1;
                }
                5 => outbox.resume(),
                _ => {}
            }
            if let Some(wanted) = outbox.wanted(&BOUNDS) {
                outbox.refill(prepared(wanted, Qos::AtLeastOnce));
            }
            let waiting = outbox.queued() + outbox.left() + outbox.inflight();
            prop_assert_eq!(seq as usize, waiting + dropped + acknowledged + zero_sent);
            prop_assert!(outbox.queued() <= BOUNDS.messages_max);
            prop_assert!(outbox.left() <= BOUNDS.left_max);
            prop_assert_eq!(outbox.inflight(), flying.len());
        }
    }
}
