//! Who of the subscribers comes and goes when: held for a time, killed by chance, back again.
//!
//! ```text
//!   Dialling ─► Up ─► Silent ─► Leaving ─► Resting ─► Dialling
//!      └──────── failed ───────────────────►┘  └─ no redial: Out
//! ```
//!
//! A session that is about to end is silent for a moment first: a packet on its way to somebody who
//! has hung up would be called lost, and nobody lost it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crypto::Random;

use crate::fleet::ClientId;
use crate::pace::Pace;
use crate::scenario::Churn;

/// Packets on their way have arrived by then.
const SILENCE: Duration = Duration::from_millis(300);
/// Seats that are looked at for one whose session can be killed.
const DRAWS: usize = 16;

/// What is to be done with a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// No more traffic for it.
    Silence,
    /// It says goodbye.
    HangUp,
    /// It is gone without a word.
    Vanish,
    /// Its tunnel ends with everybody in it, with a word or without.
    Cut {
        /// Without.
        is_silent: bool,
    },
    /// It dials again.
    Redial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Dialling,
    Up,
    Silent { is_killed: bool },
    Leaving,
    Resting,
    Out,
}

struct Seat {
    group: usize,
    state: State,
    at: Option<Instant>,
}

struct Group {
    cohort: Cohort,
    first: usize,
    kills: Option<Pace>,
}

/// Subscribers who are alike.
#[derive(Clone, Debug)]
pub struct Cohort {
    /// How many.
    pub size: usize,
    /// The tunnels that they are in, in turn.
    pub tunnels: usize,
    /// How their sessions end.
    pub churn: Churn,
}

/// All subscribers.
pub struct Crowd {
    groups: Vec<Group>,
    seats: Vec<Seat>,
    deadlines: BTreeSet<(Instant, u32)>,
    dice: Random,
    next_kill: Option<Instant>,
    is_closed: bool,
    up: usize,
}

impl Crowd {
    /// All of them are dialling; nobody is killed before `begin`.
    #[must_use]
    pub fn new(cohorts: Vec<Cohort>, begin: Instant, mut dice: Random) -> Self {
        let mut crowd = Self {
            groups: Vec::new(),
            seats: Vec::new(),
            deadlines: BTreeSet::new(),
            next_kill: None,
            is_closed: false,
            up: 0,
            dice: dice.fork(),
        };
        for (group, cohort) in cohorts.into_iter().enumerate() {
            let (first, kill) = (crowd.seats.len(), cohort.churn.kill);
            let kills = (kill > 0.0).then(|| Pace::poisson(kill, begin, dice.fork()));
            crowd.seats.extend((0..cohort.size).map(|_| Seat {
                group,
                state: State::Dialling,
                at: None,
            }));
            crowd.groups.push(Group {
                cohort,
                first,
                kills,
            });
        }
        crowd.plan_kills(begin);
        crowd
    }

    /// A subscriber is up.
    pub fn handle_up(&mut self, now: Instant, id: ClientId) {
        self.enter(id.0, State::Up);
        let churn = self.churn(id.0);
        if let Some(hold) = churn.hold.filter(|_| !self.is_closed) {
            self.wait(id.0, now + hold.saturating_sub(SILENCE));
        }
    }

    /// A subscriber is over.
    pub fn handle_down(&mut self, now: Instant, id: ClientId) {
        self.rest(now, id.0);
    }

    /// What is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<(ClientId, Act)> {
        let mut acts = Vec::new();
        while let Some((at, seat)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            self.seats[seat as usize].at = None;
            acts.extend(self.act(now, seat).map(|act| (ClientId(seat), act)));
        }
        if self.next_kill.is_some_and(|at| at <= now) {
            for group in 0..self.groups.len() {
                self.kill(now, group, &mut acts);
            }
            self.plan_kills(now);
        }
        acts
    }

    /// When [`Self::handle_timeout`] is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = self.deadlines.first().map(|(at, _)| *at);
        next.into_iter().chain(self.next_kill).min()
    }

    /// From here on nobody leaves, and nobody comes again.
    pub fn close(&mut self) {
        self.is_closed = true;
        self.deadlines.clear();
        self.next_kill = None;
    }

    /// Subscribers that are up.
    #[must_use]
    pub fn up(&self) -> usize {
        self.up
    }

    fn act(&mut self, now: Instant, seat: u32) -> Option<Act> {
        match self.seats[seat as usize].state {
            State::Up => Some(self.silence(now, seat, false)),
            State::Silent { is_killed } => Some(self.end(now, seat, is_killed)),
            State::Resting => {
                self.enter(seat, State::Dialling);
                Some(Act::Redial)
            }
            State::Dialling | State::Leaving | State::Out => None,
        }
    }

    fn silence(&mut self, now: Instant, seat: u32, is_killed: bool) -> Act {
        self.enter(seat, State::Silent { is_killed });
        self.wait(seat, now + SILENCE);
        Act::Silence
    }

    fn end(&mut self, now: Instant, seat: u32, is_killed: bool) -> Act {
        let churn = self.churn(seat);
        let (kills_tunnels, is_silent) = (churn.kills_tunnels, churn.is_silent);
        match is_killed {
            true if kills_tunnels => {
                self.enter(seat, State::Leaving);
                Act::Cut { is_silent }
            }
            true if is_silent => {
                self.rest(now, seat);
                Act::Vanish
            }
            _ => {
                self.enter(seat, State::Leaving);
                Act::HangUp
            }
        }
    }

    fn churn(&self, seat: u32) -> &Churn {
        &self.groups[self.seats[seat as usize].group].cohort.churn
    }

    fn rest(&mut self, now: Instant, seat: u32) {
        match self.churn(seat).redial_after.filter(|_| !self.is_closed) {
            Some(after) => {
                self.enter(seat, State::Resting);
                self.wait(seat, now + after);
            }
            None => self.enter(seat, State::Out),
        }
    }

    fn kill(&mut self, now: Instant, group: usize, acts: &mut Vec<(ClientId, Act)>) {
        let Some(kills) = &mut self.groups[group].kills else {
            return;
        };
        let due = kills.due(now);
        let (first, size) = (self.groups[group].first, self.groups[group].cohort.size);
        for _ in 0..due {
            let drawn = (0..DRAWS).map(|_| first as u32 + self.dice.below(size as u32));
            let drawn: Vec<u32> = drawn.collect();
            let is_up = |seat: &u32| self.seats[*seat as usize].state == State::Up;
            let Some(seat) = drawn.into_iter().find(is_up) else {
                continue;
            };
            for seat in self.who_goes_with(group, seat) {
                if self.seats[seat as usize].state == State::Up {
                    acts.push((ClientId(seat), self.silence(now, seat, true)));
                }
            }
        }
    }

    /// Everybody in its tunnel, if that is what is killed.
    fn who_goes_with(&self, group: usize, seat: u32) -> Vec<u32> {
        let (first, cohort) = (self.groups[group].first, &self.groups[group].cohort);
        if !cohort.churn.kills_tunnels {
            return vec![seat];
        }
        let tunnel = (seat as usize - first) % cohort.tunnels;
        let mates = (tunnel..cohort.size).step_by(cohort.tunnels);
        mates.map(|mate| (first + mate) as u32).collect()
    }

    fn plan_kills(&mut self, now: Instant) {
        let kills = self.groups.iter().filter_map(|group| group.kills.as_ref());
        self.next_kill = kills.map(|pace| pace.next(now)).min();
    }

    fn enter(&mut self, seat: u32, state: State) {
        let entered = &mut self.seats[seat as usize];
        self.up += usize::from(state == State::Up);
        self.up -= usize::from(matches!(entered.state, State::Up));
        entered.state = state;
        if let Some(at) = entered.at.take() {
            self.deadlines.remove(&(at, seat));
        }
    }

    fn wait(&mut self, seat: u32, until: Instant) {
        self.seats[seat as usize].at = Some(until);
        self.deadlines.insert((until, seat));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const MS: Duration = Duration::from_millis(1);
    const ONE: ClientId = ClientId(0);

    fn crowd(size: usize, churn: Churn, begin: Instant) -> Crowd {
        let cohort = Cohort {
            size,
            tunnels: size.div_ceil(10),
            churn,
        };
        Crowd::new(vec![cohort], begin, Random::from_seed([5; 32]))
    }

    #[test]
    fn a_session_that_is_held_goes_and_comes_again() {
        let begin = clock::now();
        let churn = Churn {
            hold: Some(5000 * MS),
            redial_after: Some(700 * MS),
            ..Churn::default()
        };
        let mut crowd = crowd(1, churn, begin);
        assert_eq!(crowd.poll_timeout(), None);
        crowd.handle_up(begin, ONE);
        assert_eq!(
            (crowd.up(), crowd.poll_timeout()),
            (1, Some(begin + 4700 * MS))
        );
        assert_eq!(crowd.handle_timeout(begin + 4699 * MS), []);
        let mut now = begin + 4700 * MS;
        assert_eq!(crowd.handle_timeout(now), [(ONE, Act::Silence)]);
        now += SILENCE;
        assert_eq!(crowd.handle_timeout(now), [(ONE, Act::HangUp)]);
        assert_eq!((crowd.up(), crowd.poll_timeout()), (0, None));
        crowd.handle_down(now, ONE);
        assert_eq!(crowd.poll_timeout(), Some(now + 700 * MS));
        assert_eq!(crowd.handle_timeout(now + 700 * MS), [(ONE, Act::Redial)]);
        assert_eq!(crowd.poll_timeout(), None);
    }

    #[test]
    fn who_is_killed_without_goodbye_rests_at_once() {
        let begin = clock::now();
        let churn = Churn {
            kill: 10.0,
            is_silent: true,
            redial_after: Some(100 * MS),
            ..Churn::default()
        };
        let mut crowd = crowd(50, churn, begin);
        for number in 0..50 {
            crowd.handle_up(begin, ClientId(number));
        }
        let mut acts = Vec::new();
        let end = begin + 3000 * MS;
        while let Some(at) = crowd.poll_timeout().filter(|at| *at < end) {
            acts.extend(crowd.handle_timeout(at));
        }
        let count = |act| acts.iter().filter(|(_, done)| *done == act).count();
        // Of 30 on average, the standard deviation is 5.5.
        assert!(
            (10..50).contains(&count(Act::Silence)),
            "{}",
            count(Act::Silence)
        );
        assert_eq!(count(Act::HangUp), 0);
        assert!(count(Act::Vanish) <= count(Act::Silence));
        assert!(count(Act::Redial) > 0);
    }

    #[test]
    fn who_is_in_a_tunnel_that_is_killed_goes_with_it() {
        let begin = clock::now();
        let churn = Churn {
            kill: 10.0,
            kills_tunnels: true,
            ..Churn::default()
        };
        let mut crowd = crowd(30, churn, begin);
        for number in 0..30 {
            crowd.handle_up(begin, ClientId(number));
        }
        let (first, silenced) = loop {
            let at = crowd.poll_timeout().unwrap();
            let acts = crowd.handle_timeout(at);
            if !acts.is_empty() {
                break (at, acts);
            }
        };
        let ids: Vec<u32> = silenced.iter().map(|(id, _)| id.0).collect();
        let expected: Vec<u32> = (0..30).filter(|id| id % 3 == ids[0] % 3).collect();
        assert_eq!((&ids, crowd.up()), (&expected, 20));
        let cut = Act::Cut { is_silent: false };
        let mut acts = Vec::new();
        while let Some(at) = crowd.poll_timeout().filter(|at| *at <= first + SILENCE) {
            acts.extend(crowd.handle_timeout(at));
        }
        assert!(ids.iter().all(|id| acts.contains(&(ClientId(*id), cut))));
    }

    #[test]
    fn nobody_comes_again_once_it_is_closed() {
        let begin = clock::now();
        let churn = Churn {
            kill: 10.0,
            redial_after: Some(MS),
            ..Churn::default()
        };
        let mut crowd = crowd(2, churn, begin);
        crowd.handle_up(begin, ONE);
        crowd.handle_down(begin, ONE);
        crowd.close();
        crowd.handle_down(begin, ClientId(1));
        assert_eq!(crowd.poll_timeout(), None);
        assert_eq!(crowd.handle_timeout(begin + 60_000 * MS), []);
    }
}
