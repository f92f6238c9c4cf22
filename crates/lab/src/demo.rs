//! `adit-lab demo`: clients of every kind dial in, a million packets go each way, all are counted
//! where they arrive.
//!
//! The stage is set by `scripts/demo`: a gateway, the namespace of the clients in which this runs,
//! and the namespace of the host that they talk to.

mod roster;

use std::io::{Write, stderr, stdout};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::cli::Demo;
use crate::clock;
use crate::datagrams;
use crate::driver::{Driver, Silence, Traffic};
use crate::fleet::{ClientId, Event};
use crate::flow::IMIX;
use crate::host;
use crate::setup;
use crate::sockets;
use crate::summary::{Summary, Trial, Way};
use crate::terminal;
use crate::traffic::{End, Plan, Progress, Subscribers};
use roster::{fleet, kind, kinds};

/// How long all set-ups together may take.
const SETUP_LIMIT: Duration = Duration::from_secs(40);
/// How long all clients together may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(8);
/// Rates that are tried, in packets a second each way.
const LADDER: [u64; 6] = [40_000, 28_000, 20_000, 14_000, 10_000, 7_000];
/// How long a rate is tried.
const TRIAL: Duration = Duration::from_secs(2);
/// Of the rate at which nothing was lost for a moment, the part that is used for a minute.
const SHARE: f64 = 0.7;
/// From the beginning until the packets are through: three minutes, less what is around them.
const TIME_LIMIT: Duration = Duration::from_secs(165);
/// Until both ends are ready.
const LEAD: Duration = Duration::from_millis(100);
/// Silence after which no more is waited for, and how late a packet may be.
const GRACE: Duration = Duration::from_secs(1);

/// Runs the command; whether everything came up and nothing was lost.
pub fn demo(arguments: &Demo) -> Result<bool> {
    let interrupted = crate::interrupt::watch()?;
    let driver = Driver::new(fleet(arguments)?)?;
    let mut story = Story {
        arguments,
        driver,
        interrupted,
        epoch: clock::now(),
        run: 0,
        summary: Summary::default(),
    };
    story.set_up()?;
    story.tell(&format!(
        "{} of {} sessions up after {:.1} s",
        story.summary.sessions_up, story.summary.sessions_asked, story.summary.setup_seconds
    ));
    story.move_packets()?;
    story.ask_gateway();
    story.hang_up()?;
    story.finish()
}

struct Story<'a> {
    arguments: &'a Demo,
    driver: Driver,
    interrupted: Arc<AtomicBool>,
    /// The time from which latencies are counted.
    epoch: Instant,
    run: u32,
    summary: Summary,
}

/// What came of one run.
struct Run {
    up: Way,
    down: Way,
    overflowed: u64,
}

/// What happens when a packet is missing for longer than it can be late.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    IsCounted,
    EndsIt,
}

impl Run {
    /// Packets a second that the slower of the two ends sent.
    fn rate(&self) -> u64 {
        let sent = |way: &Way| way.sent as f64 / way.seconds;
        sent(&self.up).min(sent(&self.down)) as u64
    }

    fn lost(&self) -> u64 {
        self.up.lost + self.down.lost
    }
}

impl Story<'_> {
    /// Until every client is up or has failed.
    fn set_up(&mut self) -> Result<()> {
        let asked = self.driver.fleet.clients().count();
        let bar = terminal::progress(asked as u64, "sessions up", false);
        let begin = clock::now();
        let mut settled = 0;
        while settled < asked && clock::now() < begin + SETUP_LIMIT {
            self.turn(&mut Silence)?;
            for event in self.driver.fleet.take_events() {
                settled += 1;
                self.note(event);
            }
            bar.set_position(settled as u64);
        }
        bar.finish_and_clear();
        let clients = || self.driver.fleet.clients().map(|(_, client, _)| client);
        self.summary.sessions_asked = asked;
        self.summary.sessions_up = clients().filter(|client| client.lease().is_some()).count();
        self.summary.setup_seconds = (clock::now() - begin).as_secs_f64();
        self.summary.setup = setup::times(clients());
        self.summary.kinds = kinds(clients());
        Ok(())
    }

    fn note(&mut self, event: Event) {
        if let Event::Down(id, Some(failure)) = event {
            self.summary.problem(format!(
                "client {} ({}): {failure}",
                id.0 + 1,
                kind(id).name
            ));
        }
    }

    /// At the rate that was asked for, or at one at which nothing is lost: a run that loses
    /// something ends early, and another begins that is slower, as long as there is time.
    fn move_packets(&mut self) -> Result<()> {
        let count = self.arguments.packets;
        if let Some(rate) = self.arguments.rate {
            let run = self.measure(rate, count, Loss::IsCounted)?;
            self.note_run(rate, run);
            return Ok(());
        }
        let mut rate = self.search()?;
        loop {
            let run = self.measure(rate, count, Loss::EndsIt)?;
            let lost = run.lost();
            self.note_run(rate, run);
            let slower = self.affordable((rate as f64 * SHARE) as u64);
            if lost == 0 || slower >= rate {
                return Ok(());
            }
            self.tell(&format!("{lost} were lost"));
            self.summary.trials.push(Trial { rate, lost });
            rate = slower;
        }
    }

    fn measure(&mut self, rate: u64, count: u64, loss: Loss) -> Result<Run> {
        self.tell(&format!("{count} packets each way, {rate} a second"));
        self.move_some(rate, count, loss, "packets")
    }

    fn note_run(&mut self, rate: u64, run: Run) {
        self.summary.rate = rate;
        (self.summary.up, self.summary.down) = (Some(run.up), Some(run.down));
        self.summary.overflowed = run.overflowed;
    }

    /// A rate at which nothing was lost for a moment, less some distance.
    fn search(&mut self) -> Result<u64> {
        let mut found = 0;
        for rate in LADDER {
            let count = (rate as f64 * TRIAL.as_secs_f64()) as u64;
            let run = self.move_some(rate, count, Loss::EndsIt, "looking for rate")?;
            let (lost, reached) = (run.lost(), run.rate());
            self.tell(&format!(
                "tried {rate} packets/s each way: reached {reached}, lost {lost}"
            ));
            self.summary.trials.push(Trial { rate, lost });
            // What the senders reached, not what they were asked for: they share the machine.
            found = reached.min(rate);
            if lost == 0 {
                break;
            }
        }
        Ok(self.affordable((found as f64 * SHARE) as u64))
    }

    /// At least as many packets a second as it takes to be through in time.
    fn affordable(&self, rate: u64) -> u64 {
        let left = (self.epoch + TIME_LIMIT).saturating_duration_since(clock::now());
        rate.max(self.arguments.packets / left.as_secs().max(1))
    }

    fn move_some(&mut self, rate: u64, count: u64, loss: Loss, what: &'static str) -> Result<Run> {
        let plan = self.plan(rate, count);
        let flows = self.flows()?;
        let addresses: Vec<Ipv4Addr> = flows.iter().map(|(_, address)| *address).collect();
        let progress = Arc::new(Progress::default());
        let socket = datagrams::open(&self.arguments.internet, self.arguments.host)?;
        let host = host::serve(socket, plan, &addresses, Arc::clone(&progress))?;
        let mut own = Subscribers::new(plan, self.arguments.host, flows, Arc::clone(&progress));
        let before = self.overflowed()?;
        let driven = self.drive(&mut own, count, loss, &progress, what);
        let overflowed = self.overflowed()?.saturating_sub(before);
        progress.is_over.store(true, Ordering::Relaxed);
        let host = host
            .join()
            .map_err(|_| anyhow!("the host's thread panicked"))??;
        driven?;
        if own.damaged() > 0 {
            let damaged = own.damaged();
            self.summary
                .problem(format!("{damaged} packets came damaged"));
        }
        let own = own.finish();
        Ok(Run {
            up: way(&plan, &own, &host),
            down: way(&plan, &host, &own),
            overflowed,
        })
    }

    /// Packets for which our own sockets had no room: none of the gateway's business.
    fn overflowed(&self) -> Result<u64> {
        Ok(sockets::overflowed() + datagrams::overflowed(&self.arguments.internet)?)
    }

    fn plan(&mut self, rate: u64, count: u64) -> Plan {
        self.run += 1;
        Plan {
            run: self.run,
            count,
            rate,
            sizes: IMIX,
            epoch: self.epoch,
            begin: clock::now() + LEAD,
        }
    }

    /// One flow for each client that is up.
    fn flows(&self) -> Result<Vec<(ClientId, Ipv4Addr)>> {
        let clients = self.driver.fleet.clients();
        let flows: Vec<_> = clients
            .filter_map(|(id, client, _)| Some((id, client.lease()?.address)))
            .collect();
        if flows.is_empty() {
            bail!("no session is up, so there is nothing to measure");
        }
        Ok(flows)
    }

    /// Until everything was sent and has arrived, or nothing more comes.
    fn drive(
        &mut self,
        own: &mut Subscribers,
        count: u64,
        loss: Loss,
        progress: &Progress,
        what: &'static str,
    ) -> Result<()> {
        let bar = terminal::progress(2 * count, what, false);
        let (mut known, mut changed_at) = ((0, 0), clock::now());
        let mut whole_at = changed_at;
        while known != (2 * count, 2 * count) && clock::now() <= changed_at + GRACE {
            self.turn(own)?;
            let state = (progress.sent(), progress.received());
            if state != known {
                (known, changed_at) = (state, clock::now());
                bar.set_position(state.1);
            }
            if progress.overdue() == 0 || loss == Loss::IsCounted {
                whole_at = clock::now();
            }
            if clock::now() > whole_at + GRACE {
                progress.is_stopped.store(true, Ordering::Relaxed);
            }
        }
        bar.finish_and_clear();
        for event in self.driver.fleet.take_events() {
            self.note(event);
        }
        Ok(())
    }

    fn turn(&mut self, traffic: &mut dyn Traffic) -> Result<()> {
        self.driver
            .turn(traffic, clock::now() + Duration::from_millis(50))?;
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// What the gateway has to say about itself.
    fn ask_gateway(&mut self) {
        let (Some(adit), Some(control)) = (&self.arguments.adit, &self.arguments.control) else {
            return;
        };
        let mut problems = Vec::new();
        let mut show = |what| {
            ask(adit, control, what).unwrap_or_else(|error| {
                problems.push(format!("adit show {what}: {error:#}"));
                Value::Null
            })
        };
        let (status, discards, workers) = (show("status"), show("discards"), show("workers"));
        self.summary.status = status;
        self.summary.discards = discards;
        self.summary.workers = workers;
        for problem in problems {
            self.summary.problem(problem);
        }
    }

    fn hang_up(&mut self) -> Result<()> {
        self.driver.fleet.hang_up_all(clock::now());
        let end = clock::now() + GOODBYE;
        while !self.driver.fleet.is_over() && clock::now() < end {
            self.turn(&mut Silence)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<bool> {
        self.summary.lab_crypto = self.driver.fleet.backend().to_string();
        let own = self.driver.fleet.discards().occurred();
        self.summary.lab_discards = own
            .map(|(reason, count)| (reason.text().to_owned(), count))
            .collect();
        if let Some(refused) = self.driver.refused() {
            self.summary
                .problem(format!("the kernel refused to send: {refused}"));
        }
        let is_good = self.summary.judge(self.arguments.packets);
        let mut out = stdout().lock();
        match self.arguments.json {
            true => writeln!(out, "{}", serde_json::to_string_pretty(&self.summary)?)?,
            false => write!(out, "{}", self.summary.text())?,
        }
        Ok(is_good)
    }

    /// A line for whoever waits.
    fn tell(&self, text: &str) {
        let _nobody_reads = writeln!(stderr(), "{text}");
    }
}

fn way(plan: &Plan, from: &End, to: &End) -> Way {
    let (flows_short, lost) = to.account.missing(&from.sent);
    Way::new(
        from,
        &to.account,
        from.finished - plan.begin,
        lost,
        flows_short,
    )
}

fn ask(adit: &Path, control: &Path, what: &str) -> Result<Value> {
    let done = Command::new(adit)
        .args(["show", what, "--json", "--socket"])
        .arg(control)
        .output()
        .with_context(|| format!("cannot run {}", adit.display()))?;
    if !done.status.success() {
        bail!("{}", String::from_utf8_lossy(&done.stderr).trim());
    }
    let mut told: Value = serde_json::from_slice(&done.stdout)?;
    // What was asked for lies under its own name.
    Ok(told.get_mut(what).map(Value::take).unwrap_or(told))
}
