//! The traffic of a run: both ends begin, stop, and wait for what is on its way.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use gateway::memory::Cycles;
use hdrhistogram::Histogram;

use super::{LEAD, Run};
use crate::blast::board::Board;
use crate::blast::far_end::{self, FarEnd, Finished};
use crate::blast::line::Line;
use crate::blast::near::NearEnd;
use crate::blast::outcome::{ETHERNET, FLOWS_MAX, FlowFigures, WayFigures, Wire};
use crate::blast::phase::Phase;
use crate::blast::source::Source;
use crate::clock;
use crate::fleet::WireCount;
use crate::flow::Account;
use crate::scenario::{Direction, Rate};
use crate::sockets;
use crate::summary::Latency;

/// Silence after which no more packets are waited for.
const GRACE: Duration = Duration::from_secs(1);
/// Learning frames: how long, and how many a second for each group.
const LEARNING: Duration = Duration::from_millis(300);
const LEARNING_RATE: f64 = 100.0;

/// Part of its time in which the busiest worker worked between two looks.
fn busiest(before: &[Cycles], after: &[Cycles]) -> Option<f64> {
    let shares = before.iter().zip(after).map(|(before, after)| {
        let all = (after.all - before.all).max(1);
        (after.busy - before.busy) as f64 / all as f64
    });
    shares.reduce(f64::max)
}

/// What a run of traffic came to, way by way and group by group.
pub(crate) struct Moved {
    /// Of each group.
    pub(crate) ways: Vec<Vec<WayFigures>>,
    /// Of all groups, way by way.
    pub(crate) all: Vec<WayFigures>,
    /// All latencies, way by way.
    pub(crate) latencies: Vec<(String, Histogram<u64>)>,
    /// The flows that are told one by one.
    pub(crate) flows: Vec<FlowFigures>,
    /// On the wire of the subscribers.
    pub(crate) wire: Wire,
    /// Packets that our own side had no room for.
    pub(crate) overflowed: u64,
    /// Packets that were due and were not sent.
    pub(crate) withheld: u64,
    /// Part of its time in which the busiest worker of a gateway in this process worked.
    pub(crate) workers_busy: Option<f64>,
    /// Packets sent by both ends.
    pub(crate) sent: u64,
    /// Packets with a wrong checksum.
    pub(crate) damaged: u64,
}

impl Run {
    /// The traffic of the scenario for as long as it lasts. RFC 2544 §23: learning frames go
    /// first, once, and are not counted; whoever has to resolve an address drops what waits for it.
    pub(crate) fn measure(&mut self) -> Result<Moved> {
        if !std::mem::replace(&mut self.has_learned, true) {
            let (lasts, groups) = (self.scenario.duration, self.scenario.groups.clone());
            self.scenario.duration = LEARNING;
            for group in &mut self.scenario.groups {
                let most = LEARNING_RATE / group.subscribers as f64;
                if let Some(load) = &mut group.traffic {
                    load.rate = Rate::Packets(load.packets_per_second().min(most));
                }
            }
            let learned = self.move_packets();
            (self.scenario.duration, self.scenario.groups) = (lasts, groups);
            learned?;
        }
        self.move_packets()
    }

    fn move_packets(&mut self) -> Result<Moved> {
        let line = self.line()?;
        let begin = clock::now() + LEAD;
        let sizes: Vec<usize> = self.scenario.groups.iter().map(|g| g.subscribers).collect();
        let board = Arc::new(Board::new(&sizes));
        self.board = Arc::clone(&board);
        self.runs += 1;
        // Before it is under way in its thread, so that what it loses is counted from here.
        let overflowed = self.overflowed()? + line.as_ref().map_or(Ok(0), Line::overflowed)?;
        let far = self.begin_far_end(begin, line)?;
        let is_echo = self.scenario.network.is_none();
        let source = self.source(begin, |direction| is_echo || direction.has_up());
        self.load.begin(begin, source, self.accounts(), board);
        let waited = self.turn_until(begin);
        let (phase, wire, cycles) = (Phase::begin(), self.driver.fleet.wire(), self.cycles());
        let end = begin + self.scenario.duration;
        let flowed = waited.and_then(|()| self.turn_until(end));
        let worked = phase.end();
        let workers_busy = busiest(&cycles, &self.cycles());
        let wire = self.driver.fleet.wire().since(&wire);
        self.board.is_stopped.store(true, Ordering::Relaxed);
        let drained = flowed.and_then(|()| self.drain());
        self.board.is_over.store(true, Ordering::Relaxed);
        let far = far.map(|far| far.join().map_err(|_| anyhow!("the far end panicked")));
        let far = far.transpose()?.transpose()?;
        let near = self.near.take();
        drained?;
        let far_time = far.as_ref().map_or(Duration::ZERO, |far| far.busy);
        self.busy = self.busy.max(worked.busy(far_time));
        self.far_busy = far.as_ref().map_or(0.0, |far| {
            far.busy.as_secs_f64() / far.lasted.as_secs_f64().max(f64::EPSILON)
        });
        let line = far.as_ref().map(|far| &far.line);
        let lost = self.overflowed()? + line.map_or(Ok(0), Line::overflowed)?;
        let overflowed = lost.saturating_sub(overflowed);
        let seconds = (clock::now().min(end) - begin).as_secs_f64();
        let wire = in_bits(&wire, seconds);
        let end = far.as_ref().map(|far| &far.end);
        let end = end.or_else(|| near.as_ref().map(|near| &near.end));
        let overflowed = overflowed + near.as_ref().map_or(0, |near| near.refused);
        let moved = self.account_for(end, overflowed, wire, workers_busy);
        self.line = far.map(|far| far.line);
        self.network = near.map(|near| near.network);
        Ok(moved)
    }

    fn begin_far_end(
        &mut self,
        begin: Instant,
        line: Option<Line>,
    ) -> Result<Option<JoinHandle<io::Result<Finished>>>> {
        let Some(port) = self.scenario.network.clone() else {
            return Ok(None);
        };
        let source = self.source(begin, Direction::has_down);
        let end = FarEnd::new(source, self.accounts(), Arc::clone(&self.board), self.epoch);
        if let Some(network) = self.network.take() {
            self.near = Some(NearEnd {
                end,
                network,
                place: far_end::place(port.address),
                refused: 0,
            });
            return Ok(None);
        }
        let far = line.map(|line| far_end::serve(line, end));
        Ok(far.transpose()?)
    }

    /// What carries the packets of a far end that is not in this process, opened once.
    fn line(&mut self) -> Result<Option<Line>> {
        let outside = self.scenario.network.as_ref();
        let Some(port) = outside.filter(|_| self.network.is_none()) else {
            return Ok(None);
        };
        if let Some(line) = self.line.take() {
            return Ok(Some(line));
        }
        let subscriber = self.load.an_address().unwrap_or(port.address);
        Line::open(self.scenario.io, port, subscriber).map(Some)
    }

    fn source(&mut self, begin: Instant, does_send: impl Fn(Direction) -> bool) -> Source {
        let mut source = Source::new(begin + self.scenario.duration);
        for (index, group) in self.scenario.groups.iter().enumerate() {
            let load = group.traffic.as_ref();
            let load = load.filter(|load| does_send(load.direction));
            let run = self.runs << 16 | index as u32;
            source.add(run, group.subscribers, load, begin, self.random.fork());
        }
        source
    }

    fn accounts(&self) -> Vec<Account> {
        let mut named = FLOWS_MAX;
        let groups = self.scenario.groups.iter().zip(0..);
        let accounts = groups.map(|(group, index)| {
            let own = group.subscribers.min(named);
            named -= own;
            Account::new(self.runs << 16 | index, group.subscribers).with_named(own)
        });
        accounts.collect()
    }

    /// Packets for which the sockets on both our sides have had no room.
    fn overflowed(&self) -> Result<u64> {
        let far = far_end::overflowed(self.scenario.network.as_ref())?;
        Ok(sockets::overflowed() + self.driver.overflowed()? + far)
    }

    /// Until everything that was sent is there, or nothing more comes.
    fn drain(&mut self) -> Result<()> {
        let mut changed = clock::now();
        let mut known = self.received();
        while clock::now() < changed + GRACE && known < self.sent() {
            self.turn()?;
            if self.received() != known {
                (known, changed) = (self.received(), clock::now());
            }
        }
        Ok(())
    }

    fn account_for(
        &self,
        far: Option<&FarEnd>,
        overflowed: u64,
        wire: Wire,
        workers_busy: Option<f64>,
    ) -> Moved {
        let own = &self.load;
        let mut moved = Moved {
            ways: vec![Vec::new(); self.scenario.groups.len()],
            all: Vec::new(),
            latencies: Vec::new(),
            flows: Vec::new(),
            wire,
            overflowed,
            withheld: own.source().withheld() + far.map_or(0, |far| far.source().withheld()),
            workers_busy,
            sent: self.sent(),
            damaged: own.damaged(),
        };
        match far {
            Some(far) => {
                self.add_way(&mut moved, "up", own.source(), far.accounts());
                self.add_way(&mut moved, "down", far.source(), own.accounts());
            }
            None => self.add_way(&mut moved, "echo", own.source(), own.accounts()),
        }
        moved
    }

    fn add_way(&self, moved: &mut Moved, way: &'static str, source: &Source, accounts: &[Account]) {
        let mut total: Option<Histogram<u64>> = None;
        let mut figures = Vec::new();
        for (index, account) in accounts.iter().enumerate() {
            let sent = source.sent(index);
            if sent.iter().all(|sent| *sent == 0) {
                continue;
            }
            match &mut total {
                Some(total) => total
                    .add(account.latency())
                    .expect("all accounts have the same bounds"),
                None => total = Some(account.latency().clone()),
            }
            let name = &self.scenario.groups[index].name;
            moved.flows.extend(flows(name, way, sent, account));
            let figure = WayFigures::new(way, sent, account, moved.wire.seconds);
            moved.ways[index].push(figure.clone());
            figures.push(figure);
        }
        let Some(total) = total else { return };
        let sum = WayFigures::sum(&figures, Latency::of(&total));
        moved.all.extend(sum);
        moved.latencies.push((way.to_owned(), total));
    }
}

/// The flows of a group that are told one by one.
fn flows<'a>(
    group: &'a str,
    way: &'static str,
    sent: &'a [u64],
    account: &'a Account,
) -> impl Iterator<Item = FlowFigures> + 'a {
    sent.iter().enumerate().map_while(move |(flow, sent)| {
        let arrived = account.flow(flow)?;
        arrived.latency?;
        Some(FlowFigures::new(group, flow + 1, way, *sent, &arrived))
    })
}

fn in_bits(wire: &WireCount, seconds: f64) -> Wire {
    let seconds = seconds.max(f64::EPSILON);
    let bits = |packets: u64, octets: u64| (octets + packets * ETHERNET) as f64 * 8.0 / seconds;
    Wire {
        seconds,
        up_packets: wire.up_packets,
        up_bits_per_second: bits(wire.up_packets, wire.up_octets),
        down_packets: wire.down_packets,
        down_bits_per_second: bits(wire.down_packets, wire.down_octets),
    }
}
