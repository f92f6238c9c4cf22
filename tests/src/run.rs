//! Runs seeds: many at a time, and the one that fails a second time, to tell its story.

use std::cell::RefCell;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use crate::trace::Record;
use crate::world::{Summary, World};

/// Subscribers of a run.
pub const SUBSCRIBERS: usize = 50;
/// Lines of the story that a failure tells.
const TAIL: usize = 80;

/// Runs one seed to its end.
///
/// # Panics
/// If something is not as it must be.
#[must_use]
pub fn hour(seed: u64) -> Summary {
    World::new(seed, SUBSCRIBERS, None).run()
}

/// A seed that failed, and its story.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How to see it again, what was not as it must be, and what happened before.
    pub story: String,
}

/// Runs a seed; if it fails, once more with a record.
pub fn attempt(seed: u64) -> Result<Summary, Failure> {
    let what = match quietly(|| hour(seed)) {
        Ok(summary) => return Ok(summary),
        Err(what) => what,
    };
    let record = Record::default();
    let again = AssertUnwindSafe(|| World::new(seed, SUBSCRIBERS, Some(record.clone())).run());
    let remark = match quietly(again) {
        Err(same) if same == what => String::new(),
        Err(other) => format!("the same seed is not the same run, for then: {other}\n"),
        Ok(_) => "the same seed is not the same run, for then it passes\n".to_owned(),
    };
    let story = format!(
        "SEED={seed} cargo test -p tests --test simulation one_seed -- --nocapture\n\
         {}\n…\n{remark}{what}",
        record.tail(tail()).join("\n")
    );
    Err(Failure { seed, story })
}

/// `LINES` of the story, if somebody wants more or fewer.
fn tail() -> usize {
    let lines = std::env::var("LINES")
        .ok()
        .and_then(|lines| lines.parse().ok());
    lines.unwrap_or(TAIL)
}

thread_local! {
    /// The words of the last panic of a thread that is to panic quietly.
    static WORDS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Calls `act`; if it panics, what it said and where, which is then printed nowhere else.
fn quietly<R>(act: impl FnOnce() -> R + UnwindSafe) -> Result<R, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            WORDS.with_borrow_mut(|words| match words {
                Some(words) => *words = told(info),
                None => loud(info),
            });
        }));
    });
    WORDS.set(Some(String::new()));
    let result = catch_unwind(act);
    let words = WORDS.take().unwrap_or_default();
    result.map_err(|_| words)
}

fn told(info: &PanicHookInfo<'_>) -> String {
    let text = info.payload_as_str().unwrap_or("a panic without words");
    let place = info.location().map(ToString::to_string);
    format!("{text}\n  at {}", place.unwrap_or_default())
}

/// Runs all seeds of a range on `threads` threads. The failures, in order of their seeds.
#[must_use]
pub fn all(seeds: Range<u64>, threads: usize) -> (Vec<Summary>, Vec<Failure>) {
    let next = AtomicU64::new(seeds.start);
    let results = Mutex::new((Vec::new(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = attempt(seed);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(summary) => results.0.push(summary),
                        Err(failure) => results.1.push(failure),
                    }
                }
            });
        }
    });
    let (summaries, mut failures) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.seed);
    (summaries, failures)
}
