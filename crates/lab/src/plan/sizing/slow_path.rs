//! Set-ups, one by one and all at once, and the RADIUS servers behind them.

use anyhow::Result;

use super::{Sizing, constant, nanoseconds, sum};
use crate::plan::chance::Chance;
use crate::plan::quantity::{Quantity, Source, Unit};
use crate::plan::storm::{self, Recovery, Storm, Work};

/// More compute threads than this are not tried: a gateway takes no more.
const THREADS_MAX: usize = 64;

/// What set-ups take.
pub(super) struct Setups {
    pub(super) rate: Quantity,
    /// Of the protocol thread, each.
    protocol: Quantity,
    /// Of a compute thread, for each way to come in.
    compute: Vec<Quantity>,
    /// Cores that compute keeps busy.
    busy: Quantity,
}

impl Sizing<'_> {
    /// Set-ups in the busy hour, and what they keep busy.
    pub(super) fn setups(&mut self, sessions: &Quantity) -> Result<Setups> {
        let rate = match self.model.value("sessions.setups_every") > 0.0 {
            true => constant(1.0, "set-up", "each is one")
                .over(&self.model.quantity("sessions.setups_every")),
            false => sessions.over(&self.model.quantity("sessions.length")),
        };
        let rate = self.note("setups", "set-ups a second", Unit::PerSecond, rate);
        let title = "what a set-up costs the protocol thread";
        let protocol = self.costs.session()?;
        let protocol = self.note("protocol_ns", title, Unit::Nanoseconds, protocol);
        let idle = self.costs.idle().times(sessions);
        let title = "core that idle sessions keep busy";
        let idle = self.note("idle_busy", title, Unit::Amount, idle);
        let used = rate.times(&protocol).over(&nanoseconds()).plus(&idle);
        self.limit("protocol_use", "the protocol thread", used);
        let compute = self.compute()?;
        let terms = self.accesses().zip(&compute);
        let mean = sum(terms.map(|((_, share), cost)| share.times(cost)));
        let title = "what a set-up costs compute threads, on average";
        let mean = self.note("compute_ns", title, Unit::Nanoseconds, mean);
        let title = "cores that public-key work keeps busy";
        let busy = rate.times(&mean).over(&nanoseconds());
        let busy = self.note("compute_busy", title, Unit::Amount, busy);
        Ok(Setups {
            rate,
            protocol,
            compute,
            busy,
        })
    }

    /// What public-key work costs, for each way to come in. All of IKE is counted as such.
    fn compute(&mut self) -> Result<Vec<Quantity>> {
        let mut costs = Vec::new();
        for (access, _) in self.accesses() {
            if access.is_plain() {
                costs.push(constant(0.0, "ns", "RFC 2661 has no public keys"));
                continue;
            }
            let cost = self.costs.ike(&access.group)?;
            let name = format!("ike_ns.{}", access.name);
            let title = format!("IKE of a set-up of {}, {}", access.name, access.group);
            costs.push(self.note(&name, &title, Unit::Nanoseconds, cost));
        }
        Ok(costs)
    }

    /// Compute threads: the fewest with which a storm is over in time, or more do not help.
    pub(super) fn storm(&mut self, sessions: &Quantity, setups: &Setups) -> Recovery {
        let clients = sessions.times(&self.model.quantity("storm.share")).ceil();
        let clients = self.note("storm_clients", "sessions of a storm", Unit::Count, clients);
        let mut storm = self.storm_of(clients.value() as usize, setups);
        let goal = self.model.value("storm.recovered");
        let mut recovery = self.run_storm(&storm);
        // More threads help only while they are what everybody waits for.
        while recovery.seconds.is_none_or(|seconds| seconds > goal)
            && storm.compute_threads < THREADS_MAX
            && recovery.busy[0] > recovery.busy[1].max(recovery.busy[2])
        {
            storm.compute_threads += 1;
            recovery = self.run_storm(&storm);
        }
        self.note_storm(&storm, &recovery, setups);
        recovery
    }

    fn storm_of(&self, clients: usize, setups: &Setups) -> Storm {
        let model = self.model;
        let kinds = self.accesses().zip(&setups.compute);
        Storm {
            clients,
            within: model.value("storm.within"),
            patience: model.value("storm.patience"),
            redial: model.value("storm.redial"),
            kinds: kinds
                .map(|((_, share), compute)| Work {
                    share: share.value(),
                    compute: compute.value() / 1e9,
                    protocol: setups.protocol.value() / 1e9,
                })
                .collect(),
            compute_threads: (setups.busy.value().ceil() as usize).max(1),
            half_open: model.value("gateway.half_open") as usize,
            radius_latency: model.value("radius.latency"),
            radius_window: model.value("radius.window") as usize,
        }
    }

    fn run_storm(&self, storm: &Storm) -> Recovery {
        storm::simulate(storm, &mut Chance::new(self.model.seed()))
    }

    fn note_storm(&mut self, storm: &Storm, recovery: &Recovery, setups: &Setups) {
        let source = self.source_of(storm);
        let label = "threads, which the simulation found enough, or more of which do not help";
        let threads = Quantity::of(storm.compute_threads as f64, label, source.clone())
            .because(self.model.source("storm.recovered"));
        let title = "compute threads: the fewest with which a storm is over in time";
        let threads = self.note("compute_threads", title, Unit::Count, threads);
        let used = setups.busy.over(&threads);
        self.limit("compute_use", "the compute threads", used);
        let seconds = recovery.seconds.unwrap_or(storm::HOPELESS);
        let title = match recovery.seconds {
            Some(_) => "until everybody is up again",
            None => "until everybody is up again: longer than this",
        };
        let seconds = Quantity::of(seconds, "s", source.clone());
        let seconds = self.note("recovery", title, Unit::Seconds, seconds);
        let goal = self.model.quantity("storm.recovered");
        self.limit("storm_use", "the time for a storm", seconds.over(&goal));
        self.note_course(recovery, &source);
    }

    /// What clients and RADIUS servers see of a storm.
    fn note_course(&mut self, recovery: &Recovery, source: &Source) {
        let found = |value: f64, label: &str| Quantity::of(value, label, source.clone());
        for (name, percent) in [("storm_setup_p50", 50.0), ("storm_setup_p99", 99.0)] {
            let time = recovery.setup_ms.value_at_percentile(percent) as f64 / 1000.0;
            let title = format!("set-up during a storm, {percent} % of clients");
            self.note(name, &title, Unit::Seconds, found(time, "s"));
        }
        let wasted = recovery.given_up as f64 / recovery.attempts.max(1) as f64;
        let wasted = found(wasted, "of the attempts");
        let title = "attempts of a storm that came to nothing";
        self.note("storm_wasted", title, Unit::Share, wasted);
        let title = "RADIUS requests a second, the peak of a storm";
        let peak = found(recovery.radius_peak(), "a second");
        self.note("storm_radius", title, Unit::PerSecond, peak);
        let title = "use of the RADIUS window during a storm";
        let busy = found(recovery.busy[2], "of the window, on average");
        self.note("storm_radius_use", title, Unit::Share, busy);
    }

    /// What was simulated.
    fn source_of(&self, storm: &Storm) -> Source {
        Source::Simulated(format!(
            "{} clients dial within {} s, patience {} s; RADIUS answers after {} s, {} requests at a \
             time; {} may be half-open; seed {}",
            storm.clients,
            storm.within,
            storm.patience,
            storm.radius_latency,
            storm.radius_window,
            storm.half_open,
            self.model.seed(),
        ))
    }

    pub(super) fn radius(&mut self, sessions: &Quantity, setups: &Setups) {
        let laid_down = "RFC 2865 §4.1 Access-Request; RFC 2866 §4.1 Start and Stop";
        let requests = constant(3.0, "requests a session", laid_down);
        let interim = sessions.over(&self.model.quantity("radius.interim"));
        let rate = setups.rate.times(&requests).plus(&interim);
        let title = "RADIUS requests a second in the busy hour";
        let rate = self.note("radius", title, Unit::PerSecond, rate);
        let outstanding = rate.times(&self.model.quantity("radius.latency"));
        let title = "RADIUS requests under way at a time (Little's law)";
        let outstanding = self.note("radius_outstanding", title, Unit::Amount, outstanding);
        let window = self.model.quantity("radius.window");
        self.limit("radius_use", "the RADIUS window", outstanding.over(&window));
    }
}
