//! A turn of the slow path, as the process takes it.

use std::time::Instant;

use control::{Deadline, Input, Output};
use dataplane::change::{Class, Event, Punt, ToWorker};

use super::{Gateway, Saved};
use crate::dice::Dice;
use crate::ledger::Mark;
use crate::trace::Trace;

/// Inputs of one kind that the slow path takes in one turn.
const SHARE: usize = 256;
/// Messages that may wait for a ring before strangers are no longer listened to.
const CROWD: usize = 64;
/// Turns in a row that may be asked for in which the slow path then does nothing.
const IDLE_TURNS_MAX: usize = 64;
/// How long public-key work takes, milliseconds.
const COMPUTE_MS: std::ops::Range<u32> = 1..300;

impl Gateway {
    pub(super) fn slow_turn(&mut self, now: Instant, dice: &mut Dice, trace: &mut Trace) -> bool {
        if self.stalled_until.is_some() {
            // Not in its loop, and so not asleep.
            self.slow.bell.disarm();
            return false;
        }
        self.slow.bell.disarm();
        let inputs = self.take_inputs(now, trace);
        let deadline = self.control.poll_timeout().filter(|d| d.at <= now);
        if deadline.is_some() {
            self.control.handle_timeout(now);
        }
        let outputs = self.carry_out(now, dice, trace);
        self.assert_progress(inputs + outputs, deadline);
        if inputs + outputs == 0 && deadline.is_none() {
            self.slow.bell.arm();
            return false;
        }
        true
    }

    /// A deadline in the past, with nothing to show for it, turn after turn: the process would
    /// burn a core.
    fn assert_progress(&mut self, done: usize, deadline: Option<Deadline>) {
        self.idle_turns = match deadline {
            Some(_) if done == 0 => self.idle_turns + 1,
            _ => 0,
        };
        let is_idle = self.idle_turns > IDLE_TURNS_MAX;
        assert!(!is_idle, "{deadline:?} is in the past and stays there");
    }

    /// Events and results, established, in progress, strangers: the order of the process.
    fn take_inputs(&mut self, now: Instant, trace: &mut Trace) -> usize {
        let mut count = 0;
        for worker in 0..self.seats.len() {
            for _ in 0..SHARE {
                let Some(event) = self.slow.workers[worker].events.receive() else {
                    break;
                };
                count += 1;
                self.take_event(now, event, trace);
            }
        }
        while let Some(entry) = self.computing.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((_, token), outcome) = entry.remove_entry();
            count += 1;
            trace.note(now, &token.to_le_bytes(), || format!("  computed {token}"));
            self.control
                .handle_input(now, Input::Computed { token, outcome });
        }
        count += self.take_punts(now, Class::Established, trace);
        count += self.take_punts(now, Class::InProgress, trace);
        if self.waiting.iter().all(|queue| queue.len() <= CROWD) {
            count += self.take_punts(now, Class::Stranger, trace);
        }
        count
    }

    fn take_event(&mut self, now: Instant, event: Event, trace: &mut Trace) {
        if trace.is_recorded() {
            trace.say(now, &format!("  event {event:?}"));
        }
        self.ledger.event(&event);
        self.control.handle_input(now, Input::Event(event));
    }

    fn take_punts(&mut self, now: Instant, class: Class, trace: &mut Trace) -> usize {
        let mut count = 0;
        for worker in 0..self.seats.len() {
            for _ in 0..SHARE {
                let Some(punt) = self.slow.workers[worker].punts(class).receive() else {
                    break;
                };
                count += 1;
                note_punt(now, &punt, trace);
                self.ledger.punt(&punt);
                self.control.handle_input(now, Input::Punt(punt));
            }
        }
        count
    }

    pub(super) fn carry_out(&mut self, now: Instant, dice: &mut Dice, trace: &mut Trace) -> usize {
        let mut count = self.send_waiting();
        while let Some(output) = self.control.poll_output() {
            count += 1;
            self.carry_out_one(now, output, dice, trace);
        }
        count + self.send_waiting()
    }

    pub(super) fn carry_out_one(
        &mut self,
        now: Instant,
        output: Output,
        dice: &mut Dice,
        trace: &mut Trace,
    ) {
        match output {
            Output::ToWorker { shard, message } => {
                let worker = usize::from(self.shared.owner(shard).0);
                let number =
                    self.slow.workers[worker].sent() + self.waiting[worker].len() as u64 + 1;
                note_message(now, worker, number, &message, trace);
                if let (Some(saved), ToWorker::Change(change)) = (&mut self.saved, &message) {
                    saved.push(Saved::Change(shard, change.clone()));
                }
                self.ledger.to_worker(&message, Mark { worker, number });
                self.waiting[worker].push_back(message);
            }
            Output::Shared(change) => {
                trace.note(now, &[], || format!("  {change:?}"));
                self.ledger.shared(&change);
                if let Some(saved) = &mut self.saved {
                    saved.push(Saved::Shared(change.clone()));
                }
                self.shared.apply(change);
            }
            Output::Compute { token, job } => {
                let at = now + dice.ms(COMPUTE_MS);
                self.computing.insert((at, token), job.run());
            }
            Output::Reply { response, last, .. } => {
                self.replies.push(response);
                self.is_answered = last;
            }
            Output::KeyLog(_) => {}
            Output::Finished => self.is_finished = true,
        }
    }

    fn send_waiting(&mut self) -> usize {
        let mut count = 0;
        for (link, queue) in self.slow.workers.iter_mut().zip(&mut self.waiting) {
            while let Some(message) = queue.pop_front() {
                if let Err(message) = link.send(message) {
                    queue.push_front(message);
                    break;
                }
                count += 1;
            }
        }
        count
    }
}

fn note_punt(now: Instant, punt: &Punt, trace: &mut Trace) {
    trace.note(now, &punt.bytes, || {
        format!(
            "  punt {:?} {:?} {} octets",
            punt.class,
            punt.origin,
            punt.bytes.len()
        )
    });
}

fn note_message(now: Instant, worker: usize, number: u64, message: &ToWorker, trace: &mut Trace) {
    let octets: &[u8] = match message {
        ToWorker::Change(_) => &[worker as u8],
        ToWorker::Inject(inject) => &inject.bytes,
    };
    trace.note(now, octets, || match message {
        ToWorker::Change(change) => format!("  {worker}/{number} {change:?}"),
        ToWorker::Inject(inject) => format!(
            "  {worker}/{number} inject {:?} {} octets",
            inject.entry,
            inject.bytes.len()
        ),
    });
}
