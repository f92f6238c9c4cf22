//! What the generator itself could not do, so that its limit is never printed as the gateway's.

use std::time::Duration;

use serde::Serialize;

/// A thread that worked this part of the time had no more to give.
const BUSY: f64 = 0.95;
/// Of a thousand packets, so many may be withheld.
const WITHHELD_PER_MILLE: f64 = 1.0;
/// So late a dial is no longer at the rate that was asked for.
const LATE: Duration = Duration::from_millis(250);

/// What the generator was short of.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Generator {
    /// Part of its time in which the thread of the clients worked.
    pub clients_busy: f64,
    /// The same of the threads that do public-key work; not known apart from those of a gateway in
    /// the same process.
    pub compute_busy: Option<f64>,
    /// The same of the far end, if there is one.
    pub far_end_busy: f64,
    /// The same of the busiest worker of a gateway in this process, while packets flowed.
    pub workers_busy: Option<f64>,
    /// 99 of a hundred clients dialled no later than this after they should have.
    pub dial_late_p99_ms: f64,
    /// Packets that were due, and were not sent because nobody had the time.
    pub withheld: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets for which our own sockets had no room: they count as lost, and are ours.
    pub overflowed: u64,
    /// Packets that the kernel refused to send: likewise.
    pub refused: u64,
    /// Packets that the path lost as it was asked to: likewise.
    pub impaired: u64,
}

/// Who was the limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "side", content = "because", rename_all = "lowercase")]
pub enum Side {
    /// We were: the gateway may do better than what is told here.
    Generator(Vec<String>),
    /// It was: what it did not do, though we asked in time.
    Gateway(Vec<String>),
    /// Everything that was asked for was done.
    Neither,
}

impl Side {
    /// One line.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Generator(why) => format!(
                "the generator: {}; the gateway may do better than this",
                why.join(", ")
            ),
            Self::Gateway(why) => format!("the gateway: {}", why.join(", ")),
            Self::Neither => "neither: everything that was asked for was done".to_owned(),
        }
    }
}

impl Generator {
    /// Who was the limit, when so many packets were lost and so many set-ups failed, and set-ups
    /// came `slower` than they were asked for.
    #[must_use]
    pub fn judge(&self, lost: u64, failed: u64, slower: Option<String>) -> Side {
        let own = self.own();
        if !own.is_empty() {
            return Side::Generator(own);
        }
        let parts = [
            self.held_up(),
            (lost > 0).then(|| format!("{lost} packets lost")),
            (failed > 0).then(|| format!("{failed} set-ups failed")),
            slower,
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.is_empty() {
            true => Side::Neither,
            false => Side::Gateway(parts),
        }
    }

    /// Our threads that had no more to give.
    fn busy_threads(&self) -> impl Iterator<Item = String> {
        let threads = [
            ("the clients' thread", self.clients_busy),
            ("public-key work", self.compute_busy.unwrap_or_default()),
            ("the far end's thread", self.far_end_busy),
        ];
        let busy = threads.into_iter().filter(|(_, share)| *share >= BUSY);
        busy.map(|(who, share)| format!("{who} busy {:.0} %", share * 100.0))
    }

    fn is_withheld(&self) -> bool {
        let due = (self.withheld + self.sent) as f64;
        self.withheld as f64 * 1000.0 > WITHHELD_PER_MILLE * due
    }

    /// Whether the gateway took no more: a worker of it never rested while our threads did.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        self.is_withheld()
            && self.workers_busy.is_some_and(|share| share >= BUSY)
            && self.busy_threads().next().is_none()
    }

    fn held_up(&self) -> Option<String> {
        let share = self.workers_busy.filter(|_| self.is_held_up())? * 100.0;
        let kept = self.withheld + self.overflowed;
        Some(format!(
            "its busiest worker busy {share:.0} %, no room for {kept} packets"
        ))
    }

    fn own(&self) -> Vec<String> {
        let is_held_up = self.is_held_up();
        let rest = [
            (self.is_withheld() && !is_held_up)
                .then(|| format!("{} packets were due and not sent", self.withheld)),
            (self.dial_late_p99_ms > LATE.as_secs_f64() * 1000.0)
                .then(|| format!("dialled {:.0} ms late", self.dial_late_p99_ms)),
            (self.overflowed > 0 && !is_held_up)
                .then(|| format!("its sockets had no room for {} packets", self.overflowed)),
            (self.impaired > 0)
                .then(|| format!("the path lost {} packets as it was asked to", self.impaired)),
            (self.refused > 0).then(|| format!("the kernel did not send {} packets", self.refused)),
        ];
        self.busy_threads()
            .chain(rest.into_iter().flatten())
            .collect()
    }

    /// For people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let own = format!(
            "generator         clients {:.0} %, public keys {:.0} %, far end {:.0} % busy; dialled {:.1} ms late; {} packets withheld",
            self.clients_busy * 100.0,
            self.compute_busy.unwrap_or_default() * 100.0,
            self.far_end_busy * 100.0,
            self.dial_late_p99_ms,
            self.withheld
        );
        let workers = self.workers_busy.map(|share| {
            format!(
                "gateway           busiest worker {:.0} % busy",
                share * 100.0
            )
        });
        std::iter::once(own).chain(workers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_at_its_limit_does_not_blame_the_gateway() {
        let idle = Generator {
            sent: 100_000,
            ..Generator::default()
        };
        assert_eq!(idle.judge(0, 0, None), Side::Neither);
        assert!(matches!(idle.judge(1, 0, None), Side::Gateway(_)));
        assert!(matches!(idle.judge(0, 1, None), Side::Gateway(_)));
        let slower = Some("slow".to_owned());
        assert_eq!(idle.judge(0, 0, slower), Side::Gateway(vec!["slow".into()]));
        let limits: [fn(&mut Generator); 6] = [
            |generator| generator.clients_busy = 0.95,
            |generator| generator.withheld = 101,
            |generator| generator.dial_late_p99_ms = 251.0,
            |generator| generator.overflowed = 1,
            |generator| generator.refused = 1,
            |generator| generator.impaired = 1,
        ];
        for limit in limits {
            let mut generator = idle.clone();
            limit(&mut generator);
            assert!(
                matches!(generator.judge(9, 9, None), Side::Generator(_)),
                "{generator:?}"
            );
        }
        let mut held_up = idle.clone();
        (held_up.withheld, held_up.overflowed) = (9000, 1);
        held_up.workers_busy = Some(0.94);
        assert!(matches!(held_up.judge(9, 0, None), Side::Generator(_)));
        held_up.workers_busy = Some(0.99);
        let Side::Gateway(why) = held_up.judge(9, 0, None) else {
            panic!("its worker never rested, and we did");
        };
        assert_eq!(
            why,
            [
                "its busiest worker busy 99 %, no room for 9001 packets",
                "9 packets lost"
            ]
        );
        held_up.clients_busy = 0.95;
        assert!(
            matches!(held_up.judge(9, 0, None), Side::Generator(_)),
            "both"
        );
        let mut close = idle;
        (close.clients_busy, close.withheld, close.dial_late_p99_ms) = (0.94, 100, 250.0);
        assert_eq!(close.judge(0, 0, None), Side::Neither);
    }
}
