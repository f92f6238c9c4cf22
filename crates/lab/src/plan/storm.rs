//! A storm: everybody dials again, and the slow path works it off.
//!
//! ```text
//!   clients ──► compute threads ──► protocol thread ──► RADIUS servers ──► up
//!      ▲        public-key work     L2TP, PPP           a window of requests
//!      └── patience is over: begin again, and what was done is wasted
//! ```
//!
//! Each station serves in the order of arrival. What a client that has given up left in a queue is
//! dropped without work, as the gateway drops what is too old.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::agenda::Agenda;
use super::chance::Chance;

/// After this long a storm counts as one that does not end, in seconds.
pub const HOPELESS: f64 = 3600.0;
/// Set-ups longer than this count as this long, in milliseconds.
const LONGEST: u64 = 7_200_000;
/// Points of the curves.
const POINTS: usize = 240;

/// Who dials, and who serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Storm {
    /// Clients that dial.
    pub clients: usize,
    /// All have begun after so many seconds.
    pub within: f64,
    /// A client gives up that is not up after so many seconds,
    pub patience: f64,
    /// and begins again so many seconds later, on average.
    pub redial: f64,
    /// What the kinds of clients take of the slow path, and how many there are of each.
    pub kinds: Vec<Work>,
    /// Threads for public-key work.
    pub compute_threads: usize,
    /// Set-ups that may be under way; the first message of one more is dropped.
    pub half_open: usize,
    /// Seconds until a RADIUS server answers.
    pub radius_latency: f64,
    /// Requests that may wait for an answer.
    pub radius_window: usize,
}

/// What a set-up takes, in seconds of a core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Relative frequency of such clients.
    pub share: f64,
    /// Public-key work.
    pub compute: f64,
    /// The rest.
    pub protocol: f64,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Seconds until the last one was up; `None` if that did not happen within an hour.
    pub seconds: Option<f64>,
    /// Times that a client began, and gave up.
    pub attempts: u64,
    /// Times that a client lost patience.
    pub given_up: u64,
    /// First messages for which there was no room.
    pub refused: u64,
    /// From the first message of the attempt that came through until up, in milliseconds.
    pub setup_ms: Histogram<u64>,
    /// Clients up, by time in seconds.
    pub up: Vec<(f64, f64)>,
    /// RADIUS requests a second, by time in seconds.
    pub radius: Vec<(f64, f64)>,
    /// Busy share of compute threads, protocol thread and RADIUS window until recovery.
    pub busy: [f64; 3],
}

impl Recovery {
    /// The most RADIUS requests in a second.
    #[must_use]
    pub fn radius_peak(&self) -> f64 {
        self.radius.iter().map(|point| point.1).fold(0.0, f64::max)
    }
}

/// RADIUS requests of a set-up: Access-Request and Accounting-Request Start.
pub const REQUESTS: f64 = 2.0;

/// Waits between a client's first messages, in seconds (as IKE daemons and xl2tpd have it).
const LADDER: [f64; 4] = [1.0, 2.0, 4.0, 8.0];

/// Lets the storm come.
#[must_use]
pub fn simulate(storm: &Storm, chance: &mut Chance) -> Recovery {
    let mut sky = Sky::new(storm, chance);
    while let Some((now, event)) = sky.agenda.take() {
        if now > HOPELESS || sky.up_at.len() == storm.clients {
            break;
        }
        sky.happen(now, event);
    }
    sky.finish()
}

/// What happens to a client. Events of an earlier attempt are void.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The first message, sent for the n-th time.
    Begin(Call, usize),
    Served(Call, usize),
    LosePatience(Call),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Call {
    client: usize,
    attempt: u32,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    work: Work,
    attempt: u32,
    began: f64,
    is_inside: bool,
    is_up: bool,
}

/// Servers of one kind, and the queue before them.
struct Station {
    free: usize,
    queue: VecDeque<Call>,
    worked: f64,
    servers: usize,
}

const COMPUTE: usize = 0;
const PROTOCOL: usize = 1;
const RADIUS: usize = 2;

struct Sky<'s> {
    storm: &'s Storm,
    chance: &'s mut Chance,
    agenda: Agenda<Event>,
    clients: Vec<Client>,
    stations: [Station; 3],
    inside: usize,
    up_at: Vec<f64>,
    asked_at: Vec<f64>,
    recovery: Recovery,
}

impl<'s> Sky<'s> {
    fn new(storm: &'s Storm, chance: &'s mut Chance) -> Self {
        let weights: Vec<f64> = storm.kinds.iter().map(|kind| kind.share).collect();
        let mut agenda = Agenda::new();
        let mut clients = Vec::with_capacity(storm.clients);
        for client in 0..storm.clients {
            let began = chance.unit() * storm.within;
            clients.push(Client {
                work: storm.kinds[chance.pick(&weights)],
                attempt: 0,
                began,
                is_inside: false,
                is_up: false,
            });
            agenda.put(began, Event::Begin(Call { client, attempt: 0 }, 0));
        }
        let servers = [storm.compute_threads, 1, storm.radius_window];
        Self {
            storm,
            chance,
            agenda,
            clients,
            stations: servers.map(Station::new),
            inside: 0,
            up_at: Vec::new(),
            asked_at: Vec::new(),
            recovery: Recovery {
                seconds: None,
                attempts: 0,
                given_up: 0,
                refused: 0,
                setup_ms: Histogram::new_with_max(LONGEST, 3).expect("the bounds are in order"),
                up: Vec::new(),
                radius: Vec::new(),
                busy: [0.0; 3],
            },
        }
    }

    fn happen(&mut self, now: f64, event: Event) {
        match event {
            Event::Begin(call, tries) if self.is_current(call) => self.begin(now, call, tries),
            Event::LosePatience(call) if self.is_current(call) => self.give_up(now, call),
            Event::Served(call, station) => self.served(now, call, station),
            Event::Begin(..) | Event::LosePatience(_) => {}
        }
    }

    /// Whether the client is still at this attempt, and not up.
    fn is_current(&self, call: Call) -> bool {
        let client = &self.clients[call.client];
        client.attempt == call.attempt && !client.is_up
    }

    fn begin(&mut self, now: f64, call: Call, tries: usize) {
        if tries == 0 {
            self.recovery.attempts += 1;
            self.clients[call.client].began = now;
            let limit = now + self.storm.patience;
            self.agenda.put(limit, Event::LosePatience(call));
        }
        if self.inside >= self.storm.half_open {
            self.recovery.refused += 1;
            if let Some(wait) = LADDER.get(tries) {
                self.agenda.put(now + wait, Event::Begin(call, tries + 1));
            }
            return;
        }
        self.inside += 1;
        self.clients[call.client].is_inside = true;
        let first = match self.clients[call.client].work.compute > 0.0 {
            true => COMPUTE,
            false => PROTOCOL,
        };
        self.enter(now, call, first);
    }

    fn give_up(&mut self, now: f64, call: Call) {
        let client = &mut self.clients[call.client];
        self.recovery.given_up += 1;
        self.inside -= usize::from(client.is_inside);
        client.is_inside = false;
        client.attempt += 1;
        let again = Call {
            attempt: client.attempt,
            ..call
        };
        let pause = self.storm.redial * (0.5 + self.chance.unit());
        self.agenda.put(now + pause, Event::Begin(again, 0));
    }

    fn enter(&mut self, now: f64, call: Call, station: usize) {
        self.stations[station].queue.push_back(call);
        self.serve(now, station);
    }

    /// Whoever is free takes the next one that still wants to be served.
    fn serve(&mut self, now: f64, station: usize) {
        while self.stations[station].free > 0 {
            let Some(call) = self.stations[station].queue.pop_front() else {
                return;
            };
            if !self.is_current(call) {
                continue;
            }
            let time = self.time(call, station);
            self.stations[station].free -= 1;
            self.stations[station].worked += time;
            if station == RADIUS {
                self.asked_at.push(now);
            }
            self.agenda.put(now + time, Event::Served(call, station));
        }
    }

    fn time(&self, call: Call, station: usize) -> f64 {
        let work = self.clients[call.client].work;
        [work.compute, work.protocol, self.storm.radius_latency][station]
    }

    fn served(&mut self, now: f64, call: Call, station: usize) {
        self.stations[station].free += 1;
        self.serve(now, station);
        match (self.is_current(call), station) {
            (false, _) => {}
            (true, RADIUS) => self.come_up(now, call),
            (true, station) => self.enter(now, call, station + 1),
        }
    }

    fn come_up(&mut self, now: f64, call: Call) {
        let client = &mut self.clients[call.client];
        (client.is_up, client.is_inside) = (true, false);
        self.inside -= 1;
        self.up_at.push(now);
        let ms = (now - client.began) * 1000.0;
        self.recovery.setup_ms.saturating_record(ms as u64);
    }

    fn finish(mut self) -> Recovery {
        let is_over = self.up_at.len() == self.storm.clients;
        let end = match is_over {
            true => self.up_at.last().copied().unwrap_or(0.0),
            false => HOPELESS,
        };
        self.recovery.seconds = is_over.then_some(end);
        let step = (end / POINTS as f64).max(1e-3);
        let marks = (0..=POINTS).map(|point| point as f64 * step);
        let up = marks.clone().map(|at| (at, count_until(&self.up_at, at)));
        self.recovery.up = up.collect();
        let asked = marks.take(POINTS).map(|at| {
            let in_step = count_until(&self.asked_at, at + step) - count_until(&self.asked_at, at);
            (at, in_step * REQUESTS / step)
        });
        self.recovery.radius = asked.collect();
        let busy = |station: &Station| station.worked / (end * station.servers as f64).max(1e-9);
        self.recovery.busy = [0, 1, 2].map(|station| busy(&self.stations[station]));
        self.recovery
    }
}

impl Station {
    fn new(servers: usize) -> Self {
        Self {
            free: servers,
            queue: VecDeque::new(),
            worked: 0.0,
            servers,
        }
    }
}

/// How many of these times, which ascend, are not after `at`.
fn count_until(times: &[f64], at: f64) -> f64 {
    times.partition_point(|time| *time <= at) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand at once, each 10 ms of a core, and nothing else takes time.
    const CALM: Storm = Storm {
        clients: 1000,
        within: 0.0,
        patience: 1e6,
        redial: 10.0,
        kinds: Vec::new(),
        compute_threads: 1,
        half_open: usize::MAX,
        radius_latency: 0.0,
        radius_window: usize::MAX >> 1,
    };

    fn work(compute: f64, protocol: f64) -> Vec<Work> {
        vec![Work {
            share: 1.0,
            compute,
            protocol,
        }]
    }

    fn seconds(storm: &Storm) -> f64 {
        let recovery = simulate(storm, &mut Chance::new(3));
        recovery.seconds.expect("it ends")
    }

    #[test]
    fn a_single_station_takes_the_sum_of_all_work() {
        let storm = Storm {
            kinds: work(0.01, 0.0),
            ..CALM
        };
        assert!((seconds(&storm) - 10.0).abs() < 1e-6);
        let four = Storm {
            compute_threads: 4,
            ..storm
        };
        assert!((seconds(&four) - 2.5).abs() < 1e-6);
    }

    #[test]
    fn a_window_of_requests_takes_clients_times_latency_over_window() {
        let storm = Storm {
            kinds: work(0.0, 1e-9),
            radius_latency: 0.1,
            radius_window: 50,
            ..CALM
        };
        assert!((seconds(&storm) - 2.0).abs() < 1e-3);
        let recovery = simulate(&storm, &mut Chance::new(3));
        let peak = recovery.radius_peak();
        // 50 every 0.1 s, two requests each; a point of the curve holds whole bunches of them.
        assert!((1000.0..=15_000.0).contains(&peak), "{peak}");
    }

    #[test]
    fn stations_in_a_row_take_as_long_as_the_slowest() {
        let storm = Storm {
            kinds: work(0.01, 0.002),
            radius_latency: 0.05,
            ..CALM
        };
        let found = seconds(&storm);
        assert!((found - (10.0 + 0.002 + 0.05)).abs() < 1e-6, "{found}");
    }

    #[test]
    fn impatience_wastes_work_and_makes_a_storm_longer() {
        let patient = Storm {
            kinds: work(0.01, 0.01),
            within: 1.0,
            ..CALM
        };
        let hasty = Storm {
            patience: 3.0,
            ..patient.clone()
        };
        let recovery = simulate(&hasty, &mut Chance::new(3));
        assert!(recovery.given_up > 0);
        assert_eq!(recovery.attempts, recovery.given_up + 1000);
        assert!(recovery.seconds.unwrap() > seconds(&patient));
    }

    #[test]
    fn beyond_the_limit_of_half_open_set_ups_first_messages_are_sent_again() {
        let storm = Storm {
            kinds: work(0.0, 0.01),
            half_open: 100,
            patience: 15.0,
            ..CALM
        };
        let recovery = simulate(&storm, &mut Chance::new(3));
        assert!(recovery.refused > 900);
        assert!(recovery.seconds.is_some());
        assert_eq!(recovery.up.last().unwrap().1, 1000.0);
    }

    /// Three at once, one second each, and nobody waits for more than half a second.
    #[test]
    fn what_was_given_up_in_a_queue_is_dropped_and_its_place_is_free() {
        let storm = Storm {
            clients: 3,
            kinds: work(1.0, 0.0),
            patience: 1.5,
            redial: 100.0,
            ..CALM
        };
        let recovery = simulate(&storm, &mut Chance::new(3));
        let end = recovery.seconds.expect("they are far enough apart");
        assert_eq!((recovery.attempts, recovery.given_up), (5, 2));
        // The second one was being served when it gave up, the third was not.
        assert!((recovery.busy[0] * end - 4.0).abs() < 1e-6);
        assert!((1.5 + 50.0..1.5 + 150.0 + 1.0).contains(&end), "{end}");
        let one_by_one = Storm {
            half_open: 1,
            clients: 2,
            patience: 1.2,
            ..storm
        };
        assert!(simulate(&one_by_one, &mut Chance::new(3)).seconds.is_some());
    }

    #[test]
    fn clients_begin_evenly_and_are_timed_from_when_they_did() {
        let storm = Storm {
            kinds: work(0.0, 1e-3),
            within: 100.0,
            ..CALM
        };
        let recovery = simulate(&storm, &mut Chance::new(3));
        let end = recovery.seconds.unwrap();
        assert!((99.0..100.1).contains(&end), "{end}");
        let half = recovery.up[recovery.up.len() / 2].1;
        assert!((450.0..550.0).contains(&half), "{half}");
        assert!(recovery.setup_ms.max() < 100);
        let step = recovery.radius[1].0 - recovery.radius[0].0;
        let asked: f64 = recovery.radius.iter().map(|(_, rate)| rate * step).sum();
        // Whoever asks in the very beginning is in no step.
        assert!((1990.0..=2000.0).contains(&asked), "{asked}");
    }

    #[test]
    fn busy_is_a_share_of_all_servers_of_a_station() {
        let storm = Storm {
            kinds: work(0.01, 0.0),
            compute_threads: 4,
            ..CALM
        };
        let busy = simulate(&storm, &mut Chance::new(3)).busy[0];
        assert!((busy - 1.0).abs() < 1e-6, "{busy}");
    }

    #[test]
    fn what_cannot_end_does_not_hang() {
        let storm = Storm {
            kinds: work(1.0, 0.0),
            patience: 0.5,
            clients: 10,
            ..CALM
        };
        assert_eq!(simulate(&storm, &mut Chance::new(3)).seconds, None);
    }
}
