//! The budget together with the queues that draw on it.

use std::sync::Arc;

use async_tungstenite::tungstenite::Message;
use proptest::prelude::*;

use super::{
    budget::{Bounds, Budget, SHARE},
    outbox::{FRAME_COST, Outbox},
};

const BOUNDS: Bounds = Bounds { queue: 100_000, all: 120_000 };

fn push(outbox: &Arc<Outbox>, cost: usize) {
    outbox.push(Message::binary(vec![0; cost - FRAME_COST]));
}

fn outboxes(budget: &Arc<Budget>, n: usize) -> Vec<Arc<Outbox>> {
    (0..n).map(|_| Arc::new(Outbox::new(budget.clone()))).collect()
}

#[test]
fn who_stays_within_its_share_draws_nothing_and_is_never_closed() {
    let budget = Arc::new(Budget::new(BOUNDS));
    let [greedy, modest] = [1000, 1000].map(|n| outboxes(&budget, n));
    modest.iter().for_each(|outbox| push(outbox, SHARE));
    assert_eq!(budget.drawn(), 0);
    greedy.iter().for_each(|outbox| push(outbox, SHARE + 10_000));
    assert!(budget.drawn() <= BOUNDS.all);
    assert!(modest.iter().all(|outbox| !outbox.is_closing()));
}

#[test]
fn who_stalls_is_closed_before_who_was_just_sent_much() {
    let budget = Arc::new(Budget::new(BOUNDS));
    let stalled = outboxes(&budget, 3);
    // Each stalled queue holds less than the honest one will.
    stalled.iter().for_each(|outbox| push(outbox, SHARE + 39_000));
    let honest = &outboxes(&budget, 1)[0];
    push(honest, SHARE + 41_000);
    assert!(!honest.is_closing());
    assert_eq!(stalled.iter().filter(|outbox| outbox.is_closing()).count(), 2, "an eighth is free again");
}

#[test]
fn who_catches_up_goes_to_the_end_of_the_line() {
    let budget = Arc::new(Budget::new(BOUNDS));
    let [first, second, third] = [0; 3].map(|_| outboxes(&budget, 1).remove(0));
    push(&first, SHARE + 50_000);
    push(&second, SHARE + 50_000);
    first.pop();
    assert_eq!(budget.drawn(), 100_000, "the socket has it, and has not written it");
    first.written(SHARE + 50_000);
    assert_eq!(budget.drawn(), 50_000);
    push(&first, SHARE + 50_000);
    push(&third, SHARE + 50_000);
    assert!(second.is_closing() && !first.is_closing() && !third.is_closing());
}

#[test]
fn a_smaller_budget_counts_at_once() {
    let budget = Arc::new(Budget::new(BOUNDS));
    let queues = outboxes(&budget, 2);
    queues.iter().for_each(|outbox| push(outbox, SHARE + 50_000));
    budget.set_bounds(Bounds { all: 60_000, ..BOUNDS });
    assert_eq!(budget.drawn(), 50_000);
    assert!(queues[0].is_closing() && !queues[1].is_closing());
    drop(queues);
    assert_eq!(budget.drawn(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize, usize),
    Write(usize, usize),
    Replace(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..12_usize;
    prop_oneof![
        6 => (who.clone(), FRAME_COST..40_000).prop_map(|(who, cost)| Step::Push(who, cost)),
        3 => (who.clone(), 1..4_usize).prop_map(|(who, n)| Step::Write(who, n)),
        1 => who.prop_map(Step::Replace),
    ]
}

proptest! {
    /// The bytes drawn are those above the shares and never exceed the budget. A queue is closed only if it exceeds
    /// its own limit, or if all queues that exceeded their share earlier are closed, too.
    #[test]
    fn the_budget_holds_whatever_happens(steps in proptest::collection::vec(step(), 0..400)) {
        let budget = Arc::new(Budget::new(BOUNDS));
        let mut queues = outboxes(&budget, 12);
        let mut line: Vec<usize> = Vec::new();
        for step in steps {
            let open: Vec<bool> = queues.iter().map(|queue| !queue.is_closing()).collect();
            let mut too_full = None;
            if let Step::Push(who, cost) = step && queues[who].queued_bytes() + cost > BOUNDS.queue {
                too_full = Some(who);
            }
            match step {
                Step::Push(who, cost) => push(&queues[who], cost),
                Step::Write(who, n) => {
                    let popped = (0..n).map_while(|_| queues[who].pop());
                    let cost = popped.map(|item| item.cost()).sum();
                    queues[who].written(cost);
                }
                Step::Replace(who) => {
                    queues[who] = Arc::new(Outbox::new(budget.clone()));
                    line.retain(|other| *other != who);
                }
            }
            let above = |who: &usize| queues[*who].queued_bytes() > SHARE;
            (0..12).filter(above).for_each(|who| if !line.contains(&who) { line.push(who) });
            let given_up = |who: &usize| open[*who] && queues[*who].is_closing() && too_full != Some(*who);
            let waiting: Vec<usize> = line.iter().copied().filter(|who| too_full != Some(*who)).collect();
            let victims = waiting.iter().take_while(|who| given_up(who)).count();
            prop_assert_eq!((0..12).filter(given_up).count(), victims);
            line.retain(above);
            let drawn: usize = queues.iter().map(|queue| queue.queued_bytes().saturating_sub(SHARE)).sum();
            prop_assert_eq!(budget.drawn(), drawn);
            prop_assert!(drawn <= BOUNDS.all);
        }
        drop(queues);
        prop_assert_eq!(budget.drawn(), 0);
    }
}
