//! What happens in an hour, and when: drawn from the seed before it begins.
//!
//! ```text
//!   storm 9 min ─ calm 6 min ─ storm ─ calm ─ storm ─ calm ─ everybody goes ─ silence
//!                           check        check          check               all empty
//! ```

use std::time::Duration;

use crate::dice::Dice;
use crate::tuning::Tuning;

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A subscriber wishes to be connected from here on.
    Dial(usize),
    /// A subscriber hangs up, and stays away.
    HangUp(usize),
    /// A subscriber's machine dies without a word.
    Crash(usize),
    /// A subscriber who wishes to be connected and has no client gets one.
    Return(usize),
    /// A NAT makes new mappings.
    Rebind(usize),
    /// Nothing goes through a subscriber's line.
    Cut(usize),
    /// Something goes through again.
    Mend(usize),
    /// A subscriber sends letters to the server.
    Write {
        /// Who.
        from: usize,
        /// How many.
        letters: usize,
        /// Whether they must arrive.
        is_due: bool,
    },
    /// A subscriber sends letters to another one.
    Gossip {
        /// Who.
        from: usize,
        /// Whom to.
        to: usize,
        /// How many.
        letters: usize,
        /// Whether they must arrive.
        is_due: bool,
    },
    /// The server sends letters to a subscriber, connected or not.
    Push {
        /// Whom to.
        to: usize,
        /// How many.
        letters: usize,
    },
    /// A subscriber sends under an address that is not its own.
    Forge(usize),
    /// What was seen on the wire is sent again, from elsewhere, some of it changed.
    Replay(usize),
    /// Strangers begin to set up and do not go on.
    Strangers(usize),
    /// Octets without meaning.
    Garbage(usize),
    /// Shards change their worker.
    GiveShards(usize),
    /// Every shard that somebody lives in goes to the next worker.
    MoveEverybody,
    /// Time passes and nobody notices.
    Jump(Duration),
    /// The slow path stands still.
    Stall(Duration),
    /// An operator ends the session of a subscriber.
    ClearSession(usize),
    /// An operator ends everything of the peer where a subscriber is.
    ClearPeer(usize),
    /// The network gets better.
    Calm,
    /// The network gets worse.
    Storm,
    /// Everybody who should be connected is, soon; then letters are due.
    Check,
    /// What was due has arrived.
    Collect,
    /// Everybody goes.
    Goodbye,
    /// Nothing is left of anybody.
    End,
}

/// How long an hour is, in its parts.
const STORM: Duration = Duration::from_secs(540);
const CALM: Duration = Duration::from_secs(360);
const STORMS: u32 = 3;
/// Into the calm: long enough for any death to be noticed.
const CHECK_AFTER: Duration = Duration::from_secs(240);
/// What is not as it should be by then may become so until then.
pub const PATIENCE: Duration = Duration::from_secs(70);
/// How long letters in a calm take at most.
pub const COLLECT_AFTER: Duration = Duration::from_secs(40);
/// The end of the hour.
pub const HOUR: Duration = Duration::from_secs(3600);
/// Acts of a storm.
const ACTS: u32 = 220;

/// The acts of an hour, in order of time.
#[must_use]
pub fn hour(subscribers: usize, tuning: &Tuning, dice: &mut Dice) -> Vec<(Duration, Act)> {
    let mut acts = vec![(Duration::ZERO, Act::Storm)];
    for subscriber in 0..subscribers {
        let spread = if tuning.is_stampede { 300 } else { 60_000 };
        acts.push((dice.ms(0..spread), Act::Dial(subscriber)));
    }
    for number in 0..STORMS {
        let begin = (STORM + CALM) * number;
        acts.push((begin, Act::Storm));
        for _ in 0..ACTS {
            storm_act(begin, subscribers, dice, &mut acts);
        }
        let calm = begin + STORM;
        acts.push((calm, Act::Calm));
        acts.push((calm + CHECK_AFTER, Act::Check));
    }
    acts.push(((STORM + CALM) * STORMS, Act::Goodbye));
    acts.push((HOUR, Act::End));
    acts.sort_by_key(|(at, _)| *at);
    acts
}

fn storm_act(
    begin: Duration,
    subscribers: usize,
    dice: &mut Dice,
    acts: &mut Vec<(Duration, Act)>,
) {
    let at = begin + dice.ms(0..STORM.as_millis() as u32);
    let who = dice.index(subscribers);
    let letters = dice.within(1..12) as usize;
    let act = match dice.within(0..100) {
        0..25 => Act::Write {
            from: who,
            letters,
            is_due: false,
        },
        25..33 => Act::Push { to: who, letters },
        33..41 => Act::Gossip {
            from: who,
            to: dice.index(subscribers),
            letters,
            is_due: false,
        },
        41..44 => Act::Forge(who),
        44..49 => Act::Replay(letters),
        49..52 => Act::Strangers(letters * 4),
        52..55 => Act::Garbage(letters),
        55..67 => Act::GiveShards(letters),
        67..75 => Act::Rebind(who),
        75..80 => {
            acts.push((at + dice.seconds(1..90), Act::Mend(who)));
            Act::Cut(who)
        }
        80..84 => {
            acts.push((at + dice.seconds(1..60), Act::Dial(who)));
            Act::HangUp(who)
        }
        84..89 => {
            acts.push((at + dice.seconds(1..60), Act::Return(who)));
            Act::Crash(who)
        }
        89..92 => return stillborn(at, who, dice, acts),
        92..94 => Act::HangUp(who),
        94 => Act::ClearSession(who),
        95 => Act::ClearPeer(who),
        96 => Act::Jump(dice.seconds(1..40)),
        97 => Act::Stall(dice.ms(10..3000)),
        _ => return crowd(at, subscribers, dice, acts),
    };
    acts.push((at, act));
}

/// A subscriber dies, comes back, and dies on the way; then it comes back for good.
fn stillborn(at: Duration, who: usize, dice: &mut Dice, acts: &mut Vec<(Duration, Act)>) {
    acts.push((at, Act::Crash(who)));
    let back = at + dice.seconds(1..10);
    acts.push((back, Act::Return(who)));
    let dead = back + dice.ms(1..1500);
    acts.push((dead, Act::Crash(who)));
    acts.push((dead + dice.seconds(1..20), Act::Return(who)));
}

/// Half of everybody dies or leaves, and comes back at once.
fn crowd(at: Duration, subscribers: usize, dice: &mut Dice, acts: &mut Vec<(Duration, Act)>) {
    let is_clean = dice.permille(500);
    for who in 0..subscribers {
        if dice.permille(500) {
            let back = at + dice.ms(100..3000);
            acts.push(match is_clean {
                true => (at, Act::HangUp(who)),
                false => (at, Act::Crash(who)),
            });
            acts.push((back, Act::Dial(who)));
        }
    }
}
