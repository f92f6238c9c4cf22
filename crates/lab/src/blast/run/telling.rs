//! What a run came to.

use std::sync::PoisonError;
use std::time::Duration;

use super::{Moved, Run};
use crate::blast::generator::Generator;
use crate::blast::outcome::{GroupOutcome, Outcome, SetUp, Wire, judge};
use crate::clock;
use crate::discard::Discard;
use crate::impair::Tally;
use crate::memory::Stage;

/// Set-ups that begin within a shorter time than this have no rate: the last of them is most of it.
const SHORT: Duration = Duration::from_secs(2);
/// Set-ups that come at this part of the rate that was asked for came in time.
const PROMPT: f64 = 0.9;

impl Run {
    pub(super) fn finish(&mut self, up: usize, missing: usize) -> Outcome {
        let moved = self.moved.take();
        let traffic = moved
            .as_ref()
            .map_or_else(Vec::new, |moved| moved.all.clone());
        let assertions = judge(
            &self.scenario.wants,
            self.setups.succeeded(),
            missing,
            &traffic,
        );
        let discards = self.driver.fleet.discards().occurred();
        let discards: Vec<(String, u64)> = discards
            .map(|(reason, count)| (reason.text().to_owned(), count))
            .collect();
        let generator = self.generator(moved.as_ref());
        let path = self.path_tally();
        let groups = self.groups(moved.as_ref());
        let wire = moved
            .as_ref()
            .map_or_else(Wire::default, |moved| moved.wire);
        let lost: u64 = traffic.iter().map(|way| way.lost).sum();
        let figures = self.setups.all();
        let busy_side = generator.judge(lost, figures.failed + figures.lost, self.slower());
        let problems = self.problems(moved.as_ref());
        let is_interrupted = self.is_interrupted();
        let (flows, latencies) =
            moved.map_or_else(Default::default, |moved| (moved.flows, moved.latencies));
        Outcome {
            ok: assertions.iter().all(|assertion| assertion.held) && !is_interrupted,
            version: env!("CARGO_PKG_VERSION"),
            scenario: self.scenario.written(),
            interrupted: is_interrupted,
            seconds: (clock::now() - self.epoch).as_secs_f64(),
            setup: SetUp {
                subscribers: self.seats.len(),
                up,
                missing,
                per_second: self.setups.per_second(),
                best_second: self.meter.best_setups_per_second(),
                failures: self.setups.failures(),
                figures,
            },
            groups,
            wire,
            latencies,
            flows,
            traffic,
            assertions,
            path,
            generator,
            busy_side,
            timeline: self.meter.samples().to_vec(),
            discards,
            gateway_discards: self.stage.as_ref().map(Stage::discards).unwrap_or_default(),
            problems,
        }
    }

    /// The rates of set-ups, if that which came about is well below that which was asked for.
    fn slower(&self) -> Option<String> {
        let ramps = self.scenario.groups.iter().map(|group| {
            let ramp = Duration::from_secs_f64(group.subscribers as f64 / group.rate);
            group.after + ramp
        });
        let ramp = ramps.max().filter(|ramp| *ramp >= SHORT)?.as_secs_f64();
        let asked = self.seats.len() as f64 / ramp;
        let came = self.setup_rate;
        (came < asked * PROMPT && !self.is_interrupted())
            .then(|| format!("{came:.0} set-ups a second, where {asked:.0} were asked for"))
    }

    fn groups(&self, moved: Option<&Moved>) -> Vec<GroupOutcome> {
        let groups = self.scenario.groups.iter().enumerate();
        let groups = groups.map(|(index, group)| GroupOutcome {
            name: group.name.clone(),
            subscribers: group.subscribers,
            setup: self.setups.group(index),
            traffic: moved.map_or_else(Vec::new, |moved| moved.ways[index].clone()),
        });
        groups.collect()
    }

    fn problems(&self, moved: Option<&Moved>) -> Vec<String> {
        let damaged = moved.map_or(0, |moved| moved.damaged);
        let parts = [
            (damaged > 0).then(|| format!("{damaged} packets came damaged, or from somebody else")),
            self.driver
                .refused()
                .map(|refused| format!("the kernel refused to send: {refused}")),
            (self.leaving > 0)
                .then(|| format!("{} clients were not done with their goodbye", self.leaving)),
        ];
        parts.into_iter().flatten().collect()
    }

    /// What we ourselves could not do, with the traffic if there was any.
    pub(crate) fn generator(&self, moved: Option<&Moved>) -> Generator {
        let path = self.path_tally().unwrap_or_default();
        let discards = self.driver.fleet.discards();
        Generator {
            clients_busy: self.busy.clients,
            compute_busy: self.stage.is_none().then_some(self.busy.compute),
            far_end_busy: self.far_busy,
            workers_busy: moved.and_then(|moved| moved.workers_busy),
            dial_late_p99_ms: self.setups.lateness().as_secs_f64() * 1000.0,
            withheld: moved.map_or(0, |moved| moved.withheld),
            sent: moved.map_or(0, |moved| moved.sent),
            overflowed: moved.map_or(0, |moved| moved.overflowed),
            refused: discards.of(Discard::NotSent),
            impaired: path.up.lost + path.down.lost + path.forgotten,
        }
    }

    fn path_tally(&self) -> Option<Tally> {
        let path = self.path.as_ref()?;
        Some(*path.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
