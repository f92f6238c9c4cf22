//! The compute pool: public-key work, off the protocol thread.
//!
//! A thread that has nothing to do makes key pairs for the exchanges to come, so that the first of a
//! burst of them cost half (see [`pairs`]).

mod pairs;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use anyhow::Result;
use core_affinity::CoreId;
use crossbeam::channel::{Receiver, RecvError, Sender, TryRecvError, bounded};
use crypto::dh::{Job, Outcome};

use pairs::Pairs;

/// Threads that run [`Job`]s; the answers carry the tokens of the questions.
pub(crate) struct Compute {
    jobs: Sender<(u64, Job)>,
    outcomes: Receiver<(u64, Outcome)>,
}

impl Compute {
    /// Starts `threads` threads for at most `limit` jobs under way; `wake` is called after each.
    /// `cores` are those without a worker: the first is the protocol thread's, and shared only if
    /// there are no more.
    pub(crate) fn start(
        threads: usize,
        cores: &[CoreId],
        limit: usize,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self> {
        let (jobs, todo) = bounded::<(u64, Job)>(limit);
        let (done, outcomes) = bounded(limit + threads);
        let pairs = Arc::new(Pairs::new(crate::assembly::random()?));
        let mut cores = cores.iter().copied().cycle().skip(1);
        for _ in 0..threads {
            let core = cores.next();
            let (todo, done, wake) = (todo.clone(), done.clone(), Arc::clone(&wake));
            let pairs = Arc::clone(&pairs);
            thread::Builder::new()
                .name("compute".into())
                .spawn(move || {
                    // It would stay where the protocol thread is otherwise.
                    if let Some(core) = core {
                        core_affinity::set_for_current(core);
                    }
                    while let Ok((token, job)) = next(&todo, &pairs) {
                        let outcome = contained(|| job.run_with(|group| pairs.take(group)));
                        if done.send((token, outcome)).is_err() {
                            return;
                        }
                        wake();
                    }
                })?;
        }
        Ok(Self { jobs, outcomes })
    }

    /// Hands a job in; gives it back if too many are under way.
    pub(crate) fn submit(&self, token: u64, job: Job) -> Result<(), Job> {
        self.jobs
            .try_send((token, job))
            .map_err(|error| error.into_inner().1)
    }

    /// What is done by now.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (u64, Outcome)> + '_ {
        self.outcomes.try_iter()
    }
}

/// The next job; until there is one, key pairs are made, as long as they are wanted.
fn next(todo: &Receiver<(u64, Job)>, pairs: &Pairs) -> Result<(u64, Job), RecvError> {
    loop {
        match todo.try_recv() {
            Ok(job) => return Ok(job),
            Err(TryRecvError::Disconnected) => return Err(RecvError),
            Err(TryRecvError::Empty) if pairs.make_one() => {}
            Err(TryRecvError::Empty) => return todo.recv(),
        }
    }
}

/// A job owns all it works on and comes from one peer's message: if it panics, that peer's exchange
/// ends, and nothing of anybody else is in doubt. Without this the thread would be gone, and all
/// exchanges would wait for it.
fn contained(job: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| {
        tracing::error!("public-key work panicked; the exchange it was for ends");
        Outcome::BadPublicValue
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_panics_is_answered_like_a_bad_public_value() {
        let outcome = contained(|| panic!("a number nobody thought of"));
        assert!(matches!(outcome, Outcome::BadPublicValue));
    }
}
