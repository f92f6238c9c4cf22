//! How many workers there have to be: what packets cost, and rings that are simulated.

use anyhow::Result;

use super::traffic::Traffic;
use super::{SHARDS, Sizing, nanoseconds, sum};
use crate::plan::chance::Chance;
use crate::plan::costs::{BATCH, Way};
use crate::plan::model::Access;
use crate::plan::quantity::{Quantity, Source, Unit};
use crate::plan::queue::{self, Arrivals, Outcome, Ring};

/// Packets of a simulated ring: a loss of a ten-thousandth is fifty of them.
const PACKETS: u64 = 500_000;
/// Sets the draw of the shards apart from that of the packets.
const SHARDS_SEED: u64 = 0x5a5a;

/// A number of workers that was tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Workers.
    pub workers: usize,
    /// The busiest one's share of all packets.
    pub share: f64,
    /// What its ring went through.
    pub outcome: Outcome,
}

/// Packets that cost the same, and how often there is one.
struct Class {
    weight: f64,
    ns: f64,
}

impl Sizing<'_> {
    /// Costs, busy cores, and how many workers a simulation finds enough.
    pub(super) fn workers(&mut self, sessions: &Quantity, traffic: &Traffic) -> Result<Vec<Trial>> {
        let (mut terms, mut classes) = (Vec::new(), Vec::new());
        for way in Way::ALL {
            for (access, share) in self.accesses() {
                let packets = traffic.packets[way as usize].times(&share);
                let cost =
                    self.packet_cost(access, way, sessions, packets.value(), &mut classes)?;
                terms.push(packets.times(&cost));
            }
        }
        let title = "cores that the data plane keeps busy";
        let busy = sum(terms).over(&nanoseconds());
        let busy = self.note("data_busy", title, Unit::Amount, busy);
        let trials = self.try_workers(traffic, &classes, sessions.value(), busy.value());
        if let Some(last) = trials.last() {
            self.note_workers(&trials, last, &busy);
        }
        Ok(trials)
    }

    fn packet_cost(
        &mut self,
        access: &Access,
        way: Way,
        sessions: &Quantity,
        weight: f64,
        classes: &mut Vec<Class>,
    ) -> Result<Quantity> {
        let io = self.io();
        let mut terms = Vec::new();
        for (octets, share) in self.sizes() {
            let alike = self.alike(&access.suite, octets);
            let cost = self
                .costs
                .packet(&access.suite, way, octets, sessions.value(), alike)?;
            classes.push(Class {
                weight: weight * share.value(),
                ns: cost.value() + io.value(),
            });
            terms.push(share.times(&cost));
        }
        let name = format!("packet_ns.{}.{}", access.name, way.name());
        let title = format!(
            "what a packet {} of {} costs a worker",
            way.name(),
            access.name
        );
        Ok(self.note(&name, &title, Unit::Nanoseconds, sum(terms).plus(&io)))
    }

    /// Packets of a full burst that have this suite and this size.
    fn alike(&self, suite: &str, octets: usize) -> f64 {
        let accesses = self.model.access.iter().zip(self.model.access_shares());
        let accesses = accesses.filter(|(access, _)| access.suite == suite);
        let sizes = self.model.sizes.iter().zip(self.model.size_shares());
        let sizes = sizes.filter(|(size, _)| size.octets == octets);
        let of_suite: f64 = accesses.map(|(_, share)| share).sum();
        let of_size: f64 = sizes.map(|(_, share)| share).sum();
        BATCH as f64 * of_suite * of_size
    }

    /// What the driver takes, of which a measurement in memory knows nothing.
    fn io(&self) -> Quantity {
        let io = self.model.quantity("gateway.io_ns");
        match self.model.is_default("gateway.io_ns") {
            true => {
                let why =
                    "80 to 120 cycles a packet in a zero-copy driver; costs are of memory ports";
                io.because(Source::Assumed(why.to_owned()))
            }
            false => io,
        }
    }

    /// One worker more each time, until the busiest one loses and delays little enough.
    fn try_workers(
        &self,
        traffic: &Traffic,
        classes: &[Class],
        sessions: f64,
        busy: f64,
    ) -> Vec<Trial> {
        let [down, up] = &traffic.packets;
        let least = (busy.ceil() as usize).clamp(1, SHARDS);
        let mut trials = Vec::new();
        for workers in least..=SHARDS {
            let share = self.busiest_share(workers, sessions as usize);
            let rate = (down.value() + up.value()) / 1e9 * share;
            let outcome = self.run_ring(rate, classes);
            let is_enough = self.is_enough(&outcome);
            trials.push(Trial {
                workers,
                share,
                outcome,
            });
            if is_enough {
                break;
            }
        }
        trials
    }

    /// Each session is in a shard that chance chose, each shard is some worker's.
    fn busiest_share(&self, workers: usize, sessions: usize) -> f64 {
        let mut chance = Chance::new(self.model.seed() ^ SHARDS_SEED);
        let mut of_worker = vec![0u32; workers];
        for _ in 0..sessions {
            of_worker[chance.below(SHARDS) % workers] += 1;
        }
        let most = of_worker.into_iter().max().unwrap_or(0);
        f64::from(most) / sessions.max(1) as f64
    }

    fn run_ring(&self, rate: f64, classes: &[Class]) -> Outcome {
        let model = self.model;
        let tunnel = self.named("tunnel_octets").value();
        let arrivals = Arrivals {
            rate,
            train: model.value("traffic.train"),
            gap: tunnel * 8.0 * 1000.0 / model.value("traffic.train_mbit"),
        };
        let ring = Ring {
            room: model.value("gateway.ring") as usize,
            batch: BATCH,
        };
        let weights: Vec<f64> = classes.iter().map(|class| class.weight).collect();
        let mut chance = Chance::new(model.seed());
        queue::simulate(arrivals, ring, PACKETS, &mut chance, |chance| {
            classes[chance.pick(&weights)].ns
        })
    }

    fn is_enough(&self, outcome: &Outcome) -> bool {
        let delay = outcome.delays.value_at_quantile(0.999) as f64 / 1e9;
        outcome.loss() <= self.model.value("targets.loss")
            && delay <= self.model.value("targets.delay")
    }

    fn note_workers(&mut self, trials: &[Trial], last: &Trial, busy: &Quantity) {
        let source = self.rings();
        let tried: Vec<_> = trials.iter().map(Trial::summary).collect();
        let label = format!("({})", tried.join("; "));
        let mut workers = Quantity::of(last.workers as f64, &label, source.clone());
        for key in [
            "targets.loss",
            "targets.delay",
            "traffic.train",
            "gateway.ring",
            "seed",
        ] {
            workers = workers.because(self.model.source(key));
        }
        let title = "workers: the fewest with loss and delay within the targets";
        let workers = self.note("workers", title, Unit::Count, workers);
        let title = "queues of each network card: one for each worker";
        self.note("nic_queues", title, Unit::Count, workers);
        let found = |value: f64, label: &str| Quantity::of(value, label, source.clone());
        let share = found(last.share, "of all packets at the busiest worker");
        self.limit("worker_use", "the busiest worker", busy.times(&share));
        let loss = found(last.outcome.loss(), "of the busiest worker's packets");
        self.note(
            "burst_loss",
            "packets lost to full rings",
            Unit::Share,
            loss,
        );
        for (name, percent) in [
            ("delay_p50", 50.0),
            ("delay_p99", 99.0),
            ("delay_p999", 99.9),
        ] {
            let delay = last.outcome.delays.value_at_percentile(percent) as f64;
            let title = format!("delay in ring and worker, {percent} % of packets");
            self.note(name, &title, Unit::Nanoseconds, found(delay, "ns"));
        }
    }

    /// What was simulated.
    fn rings(&self) -> Source {
        let model = self.model;
        Source::Simulated(format!(
            "{PACKETS} packets in trains of {} on average, into a ring of {} frames, at the worker \
             with the most of {SHARDS} shards; seed {}",
            model.value("traffic.train"),
            model.value("gateway.ring"),
            model.seed(),
        ))
    }
}

impl Trial {
    fn summary(&self) -> String {
        let delay = self.outcome.delays.value_at_quantile(0.999) as f64;
        format!(
            "with {} the busiest loses {} and delays one packet in 1000 by {}",
            self.workers,
            Unit::Share.show(self.outcome.loss()),
            Unit::Nanoseconds.show(delay),
        )
    }
}
