//! `adit-lab dial`: clients dial, ping, stay, hang up.

use std::io::{Write, stdout};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::cli::{Addresses, Dial, Encapsulation, Ports};
use crate::client::{Client, Failure};
use crate::clock;
use crate::driver::{Driver, Silence, Traffic};
use crate::fleet::{ClientId, Event, Fleet, Outside};
use crate::key_log::KeyLogFile;
use crate::memory::{self, Stage};
use crate::ping::{Ping, Tally};
use crate::seed::seed;
use crate::setup::{self, StageTimes};
use crate::sockets::free_ports;
use crate::terminal::{progress, stage_lines};

/// How long all clients together may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(8);
/// Failures that are told one by one.
const FAILURES_MAX: usize = 10;

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Report {
    clients: usize,
    up: usize,
    setup: Vec<StageTimes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ping: Option<PingReport>,
    failed: usize,
    failures: Vec<String>,
    discards: Vec<(String, u64)>,
    /// Of the gateway, if it is in this process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateway_discards: Vec<(&'static str, u64)>,
    /// Of the first client that came up.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<First>,
}

#[derive(Debug, Serialize)]
struct PingReport {
    target: Ipv4Addr,
    sent: u64,
    answered: u64,
    unasked: u64,
    /// Until every client had had an answer.
    open_after_ms: Option<f64>,
    median_ms: f64,
    longest_ms: f64,
}

#[derive(Debug, Serialize)]
struct First {
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    dns: Vec<Ipv4Addr>,
    phase1: String,
    suite: String,
    encapsulation: &'static str,
    auth: String,
    peer_mru: u16,
    host_name: String,
}

/// Runs the command; whether all went well.
pub fn dial(arguments: &Dial) -> Result<bool> {
    let interrupted = crate::interrupt::watch()?;
    let (address, mut stage) = memory::reach(&arguments.target)?;
    let mut fleet = fleet(arguments, address, stage.is_some())?;
    if let Some(file) = &arguments.key_log {
        fleet.log_keys(KeyLogFile::open(file)?);
    }
    let mut call = Call {
        driver: match &mut stage {
            Some(stage) => stage.driver(fleet)?,
            None => Driver::on(arguments.io, fleet)?,
        },
        interrupted,
        report: Report::default(),
    };
    call.set_up(arguments.json)?;
    call.note_set_up();
    call.ping(arguments)?;
    call.hold(arguments.hold)?;
    call.hang_up()?;
    let is_good = call.finish(arguments.json, stage.as_ref())?;
    stage.map_or(Ok(()), Stage::close)?;
    Ok(is_good)
}

/// One run.
struct Call {
    driver: Driver,
    interrupted: Arc<AtomicBool>,
    report: Report,
}

impl Call {
    /// Until every client is up or has failed.
    fn set_up(&mut self, is_quiet: bool) -> Result<()> {
        let count = self.driver.fleet.clients().count();
        self.report.clients = count;
        let bar = progress(count as u64, "set up", is_quiet || count == 1);
        let mut settled = 0;
        while settled < count && !self.is_interrupted() {
            self.driver
                .turn(&mut Silence, later(Duration::from_secs(1)))?;
            for event in self.driver.fleet.take_events() {
                settled += 1;
                self.note(event);
            }
            bar.set_position(settled as u64);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Up(..) => self.report.up += 1,
            Event::Down(_, None) => {}
            Event::Down(id, Some(failure)) => self.note_failure(id, &failure),
        }
    }

    fn note_failure(&mut self, id: ClientId, failure: &Failure) {
        self.report.failed += 1;
        if self.report.failures.len() < FAILURES_MAX {
            self.report
                .failures
                .push(format!("client {}: {failure}", id.0 + 1));
        }
    }

    fn note_set_up(&mut self) {
        let fleet = &self.driver.fleet;
        self.report.setup = setup::times(fleet.clients().map(|(_, client, _)| client));
        self.report.first = fleet.clients().find_map(|(_, client, _)| First::of(client));
    }

    fn ping(&mut self, arguments: &Dial) -> Result<()> {
        let Some(target) = arguments.ping else {
            return Ok(());
        };
        let up = self
            .driver
            .fleet
            .clients()
            .filter_map(|(id, client, _)| client.lease().map(|lease| (id, lease.address)));
        let mut ping = Ping::new(
            target,
            up.collect(),
            arguments.count,
            arguments.interval,
            clock::now(),
        );
        while !ping.is_done(clock::now()) && !self.is_interrupted() {
            self.turn(&mut ping, later(Duration::from_secs(1)))?;
        }
        self.report.ping = Some(PingReport::new(target, ping.tally()));
        Ok(())
    }

    fn hold(&mut self, time: Duration) -> Result<()> {
        let end = later(time);
        while clock::now() < end && !self.is_interrupted() {
            self.turn(&mut Silence, end)?;
        }
        Ok(())
    }

    fn hang_up(&mut self) -> Result<()> {
        self.driver.fleet.hang_up_all(clock::now());
        let end = later(GOODBYE);
        while !self.driver.fleet.is_over() && clock::now() < end {
            self.turn(&mut Silence, end)?;
        }
        Ok(())
    }

    fn turn(&mut self, traffic: &mut dyn Traffic, until: Instant) -> Result<()> {
        self.driver.turn(traffic, until)?;
        for event in self.driver.fleet.take_events() {
            self.note(event);
        }
        Ok(())
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn finish(mut self, json: bool, stage: Option<&Stage>) -> Result<bool> {
        self.report.gateway_discards = stage.map(Stage::discards).unwrap_or_default();
        let discards = self.driver.fleet.discards().occurred();
        self.report.discards = discards
            .map(|(reason, count)| (reason.text().to_owned(), count))
            .collect();
        if let Some(refused) = self.driver.refused() {
            self.report
                .failures
                .push(format!("the kernel refused to send: {refused}"));
        }
        let report = &self.report;
        let mut out = stdout().lock();
        match json {
            true => writeln!(out, "{}", serde_json::to_string_pretty(report)?)?,
            false => write!(out, "{}", text(report))?,
        }
        let is_answered = report
            .ping
            .as_ref()
            .is_none_or(|ping| ping.answered == ping.sent);
        Ok(report.up == report.clients && report.failed == 0 && is_answered)
    }
}

impl PingReport {
    fn new(target: Ipv4Addr, tally: &Tally) -> Self {
        let mut took = tally.took.clone();
        took.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let at = |index: usize| took.get(index).copied().map_or(0.0, ms);
        Self {
            target,
            sent: tally.sent,
            answered: tally.answered,
            unasked: tally.unasked,
            open_after_ms: tally.open_after.map(ms),
            median_ms: at(took.len() / 2),
            longest_ms: at(took.len().saturating_sub(1)),
        }
    }
}

impl First {
    fn of(client: &Client) -> Option<Self> {
        let (lease, agreed) = (client.lease()?.clone(), client.agreed());
        Some(Self {
            address: lease.address,
            gateway: lease.gateway,
            dns: lease.dns,
            phase1: agreed.phase1.clone(),
            suite: agreed
                .suite
                .map_or_else(String::new, |suite| suite.to_string()),
            encapsulation: match (agreed.suite, agreed.is_encapsulated) {
                (None, _) => "none",
                (Some(_), false) => "esp",
                (Some(_), true) => "esp-in-udp",
            },
            auth: agreed.auth.map_or("none", ppp::Method::name).to_owned(),
            peer_mru: agreed.peer_mru,
            host_name: agreed.host_name.clone(),
        })
    }
}

fn text(report: &Report) -> String {
    let mut lines = vec![format!("{} of {} clients up", report.up, report.clients)];
    if let Some(first) = &report.first {
        lines.push(format!(
            "  first      {} from {} ({}), DNS {:?}, MRU {}",
            first.address, first.gateway, first.host_name, first.dns, first.peer_mru
        ));
        lines.push(format!(
            "  agreed     {} {} {} auth {}",
            first.phase1, first.suite, first.encapsulation, first.auth
        ));
    }
    lines.extend(stage_lines(&report.setup));
    if let Some(ping) = &report.ping {
        lines.push(format!(
            "  ping {}: {} of {} answered, median {:.2} ms, longest {:.2} ms",
            ping.target, ping.answered, ping.sent, ping.median_ms, ping.longest_ms
        ));
    }
    lines.extend(
        report
            .failures
            .iter()
            .map(|failure| format!("  failed     {failure}")),
    );
    lines.extend(
        report
            .discards
            .iter()
            .map(|(why, count)| format!("  discarded  {count} {why}")),
    );
    lines.extend(
        report
            .gateway_discards
            .iter()
            .map(|(why, count)| format!("  gateway discarded  {count} {why}")),
    );
    lines.join("\n") + "\n"
}

fn later(time: Duration) -> Instant {
    clock::now() + time
}

/// The clients that were asked for. In memory they have all addresses and ports for themselves.
fn fleet(arguments: &Dial, target: Ipv4Addr, is_in_memory: bool) -> Result<Fleet> {
    let mut locals: Vec<Ipv4Addr> = arguments
        .local
        .iter()
        .flat_map(|Addresses(list)| list.clone())
        .collect();
    match is_in_memory {
        _ if !locals.is_empty() => {}
        true => locals = memory::addresses(arguments.clients.unwrap_or(1)),
        false => locals.push(own_address(target)?),
    }
    let encapsulation = match (arguments.plain, arguments.natt) {
        (true, _) => Encapsulation::Plain,
        (_, true) => Encapsulation::Natt,
        (false, false) => arguments.encapsulation,
    };
    if encapsulation != Encapsulation::Plain && arguments.client.psk.is_empty() {
        bail!("IPsec needs a key: --psk SECRET, or --plain");
    }
    let count = arguments.clients.unwrap_or(locals.len());
    let needs_free = encapsulation == Encapsulation::Natt || count > locals.len();
    let is_free = arguments
        .ports
        .map_or(needs_free, |ports| ports == Ports::Ephemeral);
    let wanted = if is_free { 3 * count } else { 0 };
    let free = match is_in_memory {
        true => memory::ports(wanted),
        false => free_ports(wanted)?,
    };
    let mut free = free.into_iter();
    let mut fleet = Fleet::new(target, seed()?);
    let (start, pace) = (
        clock::now(),
        Duration::from_secs_f64(1.0 / arguments.rate.max(0.001)),
    );
    for number in 0..count {
        let address = locals[number % locals.len()];
        let outside = match (free.next(), free.next(), free.next()) {
            (Some(ike), Some(natt), Some(l2tp)) => Outside {
                address,
                ike,
                natt,
                l2tp,
            },
            _ => Outside::host(address),
        };
        let settings = Arc::new(arguments.client.settings(number + 1, encapsulation));
        let begin = start + pace * number as u32;
        if fleet.add(settings, address, outside, begin).is_none() {
            bail!(
                "{count} clients on {} addresses need --ports ephemeral",
                locals.len()
            );
        }
    }
    Ok(fleet)
}

/// The address from which the host would reach the target.
pub(crate) fn own_address(target: Ipv4Addr) -> Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket
        .connect((target, 1701))
        .with_context(|| format!("there is no route to {target}"))?;
    match socket.local_addr()?.ip() {
        std::net::IpAddr::V4(address) => Ok(address),
        std::net::IpAddr::V6(_) => bail!("--local has to name an IPv4 address"),
    }
}
