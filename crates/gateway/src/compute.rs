//! The compute pool: public-key work, off the protocol thread.

use std::sync::Arc;
use std::thread;

use anyhow::Result;
use crossbeam::channel::{Receiver, Sender, bounded};
use crypto::dh::{Job, Outcome};

/// Threads that run [`Job`]s; the answers carry the tokens of the questions.
pub(crate) struct Compute {
    jobs: Sender<(u64, Job)>,
    outcomes: Receiver<(u64, Outcome)>,
}

impl Compute {
    /// Starts `threads` threads for at most `limit` jobs under way; `wake` is called after each.
    pub(crate) fn start(
        threads: usize,
        limit: usize,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self> {
        let (jobs, todo) = bounded::<(u64, Job)>(limit);
        let (done, outcomes) = bounded(limit + threads);
        for _ in 0..threads {
            let (todo, done, wake) = (todo.clone(), done.clone(), Arc::clone(&wake));
            thread::Builder::new()
                .name("compute".into())
                .spawn(move || {
                    for (token, job) in todo {
                        if done.send((token, job.run())).is_err() {
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
