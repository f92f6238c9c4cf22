//! `adit show` and `adit clear`: asks the running gateway and prints what it says.

use std::io::{Write, stdout};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use control::admin::{
    Clear, Filter, PoolRow, Request, Response, SaRow, SessionRow, Table as Which, Totals, TunnelRow,
};

use crate::admin::{Answer, DiscardRow, Question, StageRow, Status, WorkerRow, ask};
use crate::table::{Table, age, count};

/// What `adit show` can show.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Show {
    /// Subscribers: user, addresses, suite, traffic
    Sessions(Conditions),
    /// L2TP tunnels and what is in them
    Tunnels(Conditions),
    /// IPsec SAs of every peer
    Sas(Conditions),
    /// Frames that were discarded, and why
    Discards {
        /// Also the reasons that never occurred
        #[arg(long)]
        all: bool,
    },
    /// The poll-mode threads: load, hand-over, burst times
    Workers,
    /// Cycles per packet in each stage of the fast path, sampled
    Stages,
    /// Addresses for subscribers
    Pools {
        /// Hold every lease against the sessions; exit status 1 if anything is wrong
        #[arg(long)]
        verify: bool,
    },
    /// How often each named thing happened on the slow path
    Counters,
    /// Version, back ends, uptime
    Status,
}

/// Which rows; every condition given must hold.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Conditions {
    /// User name
    #[arg(long)]
    user: Option<String>,
    /// Address inside the tunnel
    #[arg(long)]
    address: Option<IpAddr>,
    /// Address of the peer outside
    #[arg(long)]
    peer: Option<IpAddr>,
    /// Our L2TP tunnel id
    #[arg(long)]
    tunnel: Option<u16>,
    /// Our L2TP session id
    #[arg(long)]
    session: Option<u16>,
}

impl From<Conditions> for Filter {
    fn from(conditions: Conditions) -> Self {
        let Conditions {
            user,
            address,
            peer,
            tunnel,
            session,
        } = conditions;
        Self {
            user,
            address,
            peer,
            tunnel,
            session,
        }
    }
}

/// What `adit clear` can end.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum What {
    /// Sessions, with a CDN
    Session,
    /// Tunnels and their sessions, with a StopCCN
    Tunnel,
    /// Peers with all their tunnels, with IKE deletes
    Peer,
}

/// Shows; the exit status of the command.
pub(crate) fn show(socket: &Path, what: Show, json: bool) -> Result<u8> {
    let question = question(&what);
    let answers = ask(socket, &question)?;
    if json {
        return print_json(table_name(&what), &answers);
    }
    let mut status = 0;
    let mut out = stdout().lock();
    for text in render(&what, answers, &mut status) {
        write!(out, "{text}")?;
    }
    Ok(status)
}

/// Ends what the conditions match.
pub(crate) fn clear(socket: &Path, what: What, conditions: Conditions, json: bool) -> Result<u8> {
    let filter = Filter::from(conditions);
    if filter.is_empty() {
        bail!("say which: at least one of --user, --address, --peer, --tunnel, --session");
    }
    let what = match what {
        What::Session => Clear::Session,
        What::Tunnel => Clear::Tunnel,
        What::Peer => Clear::Peer,
    };
    let answers = ask(socket, &Question::Control(Request::Clear { what, filter }))?;
    if json {
        return print_json("", &answers);
    }
    let mut ended = 0;
    for answer in answers {
        if let Answer::Control(Response::Cleared(number)) = answer {
            ended += number;
        }
    }
    writeln!(stdout(), "{ended} ended")?;
    Ok(u8::from(ended == 0))
}

fn question(what: &Show) -> Question {
    let show = |table, conditions: &Conditions| {
        Question::Control(Request::Show {
            table,
            filter: conditions.clone().into(),
        })
    };
    match what {
        Show::Sessions(conditions) => show(Which::Sessions, conditions),
        Show::Tunnels(conditions) => show(Which::Tunnels, conditions),
        Show::Sas(conditions) => show(Which::Sas, conditions),
        Show::Pools { verify: false } => show(Which::Pools, &Conditions::default()),
        Show::Pools { verify: true } => Question::Control(Request::VerifyPools),
        Show::Counters => Question::Control(Request::Counters),
        Show::Discards { .. } => Question::Discards,
        Show::Workers => Question::Workers,
        Show::Stages => Question::Stages,
        Show::Status => Question::Status,
    }
}

/// Where `--json` puts the rows; empty if there are none.
fn table_name(what: &Show) -> &'static str {
    match what {
        Show::Sessions(_) => "sessions",
        Show::Tunnels(_) => "tunnels",
        Show::Sas(_) => "sas",
        Show::Discards { .. } => "discards",
        Show::Workers => "workers",
        Show::Stages => "stages",
        Show::Pools { verify: false } => "pools",
        Show::Pools { verify: true } => "verified",
        Show::Counters => "counters",
        Show::Status => "",
    }
}

/// One object: the rows of all pages under the table's name, the totals under theirs.
fn print_json(table: &str, answers: &[Answer]) -> Result<u8> {
    let mut object = serde_json::Map::new();
    let mut rows = Vec::new();
    let mut status = 0;
    for answer in answers {
        let value = if let Answer::Control(response) = answer {
            if matches!(response, Response::Refused(_)) {
                status = 1;
            }
            serde_json::to_value(response)?
        } else {
            serde_json::to_value(answer)?
        };
        let serde_json::Value::Object(parts) = value else {
            continue;
        };
        for (key, value) in parts {
            if let serde_json::Value::Array(page) = value {
                rows.extend(page);
            } else {
                object.insert(key, value);
            }
        }
    }
    if table == "verified" && !rows.is_empty() {
        status = 1;
    }
    if !table.is_empty() {
        object.insert(table.into(), rows.into());
    }
    writeln!(stdout(), "{}", serde_json::to_string_pretty(&object)?)?;
    Ok(status)
}

/// Rows of all pages in one table, then the totals.
fn render(what: &Show, answers: Vec<Answer>, status: &mut u8) -> Vec<String> {
    let mut rows = Rows::default();
    let mut after = Vec::new();
    for answer in answers {
        match answer {
            Answer::Control(Response::Totals(totals)) => after.push(render_totals(what, &totals)),
            Answer::Control(Response::Verified(faults)) => {
                *status = u8::from(!faults.is_empty());
                after.push(render_verified(&faults));
            }
            Answer::Control(Response::Refused(why)) => {
                *status = 1;
                after.push(format!("refused: {why}\n"));
            }
            Answer::Control(response) => rows.take(response),
            Answer::Discards(discards) => after.push(render_discards(what, &discards)),
            Answer::Workers(workers) => after.push(render_workers(&workers)),
            Answer::Stages(stages) => after.push(render_stages(&stages)),
            Answer::Status(status) => after.push(render_status(&status)),
            Answer::Refused(_) | Answer::End => {}
        }
    }
    let mut texts = vec![rows.render(what)];
    texts.extend(after);
    texts
}

/// The rows of an answer's pages, together.
#[derive(Default)]
struct Rows {
    sessions: Vec<SessionRow>,
    tunnels: Vec<TunnelRow>,
    sas: Vec<SaRow>,
    pools: Vec<PoolRow>,
    counters: Vec<(String, u64)>,
}

impl Rows {
    fn take(&mut self, response: Response) {
        match response {
            Response::Sessions(rows) => self.sessions.extend(rows),
            Response::Tunnels(rows) => self.tunnels.extend(rows),
            Response::Sas(rows) => self.sas.extend(rows),
            Response::Pools(rows) => self.pools.extend(rows),
            Response::Counters(rows) => self.counters.extend(rows),
            Response::Totals(_)
            | Response::Cleared(_)
            | Response::Verified(_)
            | Response::Refused(_) => {}
        }
    }

    fn render(&self, what: &Show) -> String {
        match what {
            Show::Sessions(_) => render_sessions(&self.sessions),
            Show::Tunnels(_) => render_tunnels(&self.tunnels),
            Show::Sas(_) => render_sas(&self.sas),
            Show::Pools { verify: false } => render_pools(&self.pools),
            Show::Counters => render_counters(&self.counters),
            Show::Pools { verify: true }
            | Show::Discards { .. }
            | Show::Workers
            | Show::Stages
            | Show::Status => String::new(),
        }
    }
}

fn render_sessions(rows: &[SessionRow]) -> String {
    let mut table = Table::new(&[
        "id", "user", "address", "peer", "state", "suite", "mru", "age", "up", "up B", "down",
        "down B", "tunnel", "session", "worker",
    ]);
    for row in rows {
        table.row(vec![
            row.id.clone(),
            row.user.clone(),
            row.address
                .map_or_else(|| "-".into(), |address| address.to_string()),
            row.peer.clone(),
            row.state.clone(),
            row.suite.clone(),
            row.mru.to_string(),
            age(row.seconds),
            count(row.up_packets),
            count(row.up_bytes),
            count(row.down_packets),
            count(row.down_bytes),
            row.tunnel.to_string(),
            row.session.to_string(),
            row.worker.to_string(),
        ]);
    }
    table.to_string()
}

fn render_tunnels(rows: &[TunnelRow]) -> String {
    let mut table = Table::new(&[
        "tunnel",
        "peer id",
        "host name",
        "peer",
        "listener",
        "state",
        "ipsec",
        "sessions",
        "age",
    ]);
    for row in rows {
        table.row(vec![
            row.tunnel.to_string(),
            row.peer_tunnel.to_string(),
            row.host_name.clone(),
            row.peer.clone(),
            row.listener.clone(),
            row.state.clone(),
            if row.secured { "yes" } else { "no" }.into(),
            row.sessions.to_string(),
            age(row.seconds),
        ]);
    }
    table.to_string()
}

fn render_sas(rows: &[SaRow]) -> String {
    let mut table = Table::new(&[
        "identity", "peer", "phase 1", "spi in", "spi out", "suite", "form", "state", "packets",
        "bytes", "age", "of",
    ]);
    for row in rows {
        table.row(vec![
            row.identity.clone(),
            row.peer.clone(),
            row.phase1.clone(),
            row.inbound_spi.clone(),
            row.outbound_spi.clone(),
            row.suite.clone(),
            row.encapsulation.clone(),
            row.state.clone(),
            count(row.packets),
            count(row.bytes),
            age(row.seconds),
            age(row.lifetime),
        ]);
    }
    table.to_string()
}

fn render_pools(rows: &[PoolRow]) -> String {
    let mut table = Table::new(&[
        "pool",
        "size",
        "leased",
        "resting",
        "reserved",
        "free",
        "exhausted",
    ]);
    for row in rows {
        table.row(vec![
            row.name.clone(),
            row.size.to_string(),
            row.leased.to_string(),
            row.quarantined.to_string(),
            row.reserved.to_string(),
            row.free.to_string(),
            row.exhausted.to_string(),
        ]);
    }
    table.to_string()
}

fn render_counters(rows: &[(String, u64)]) -> String {
    let mut table = Table::new(&["count", "what"]);
    for (name, number) in rows {
        table.row(vec![number.to_string(), name.clone()]);
    }
    table.to_string()
}

fn render_discards(what: &Show, rows: &[DiscardRow]) -> String {
    let all = matches!(what, Show::Discards { all: true });
    let mut table = Table::new(&["frames", "name", "meaning"]);
    for row in rows.iter().filter(|row| all || row.frames > 0) {
        table.row(vec![
            row.frames.to_string(),
            row.name.clone(),
            row.meaning.clone(),
        ]);
    }
    let total: u64 = rows.iter().map(|row| row.frames).sum();
    format!("{table}\n{total} frames discarded\n")
}

fn render_stages(rows: &[StageRow]) -> String {
    let mut table = Table::new(&["worker", "stage", "packets", "cycles", "%", "meaning"]);
    for row in rows {
        table.row(vec![
            row.worker.to_string(),
            row.stage.clone(),
            count(row.packets),
            format!("{:.1}", row.cycles_per_packet),
            format!("{:.1}", row.percent),
            row.meaning.clone(),
        ]);
    }
    format!("{table}\none busy turn of 64 is timed; cycles are those of the processor's counter\n")
}

fn render_workers(rows: &[WorkerRow]) -> String {
    let mut table = Table::new(&[
        "worker",
        "core",
        "shards",
        "busy %",
        "frames",
        "express",
        "given",
        "taken",
        "applied",
        "parks",
        "burst us p50",
        "p99",
        "max",
    ]);
    for row in rows {
        table.row(vec![
            row.worker.to_string(),
            row.core.map_or_else(|| "-".into(), |core| core.to_string()),
            row.shards.to_string(),
            format!("{:.1}", row.busy_percent),
            count(row.frames),
            count(row.express),
            count(row.handed_over),
            count(row.taken_over),
            count(row.applied),
            count(row.parks),
            format!("{:.1}", row.burst_us_p50),
            format!("{:.1}", row.burst_us_p99),
            format!("{:.1}", row.burst_us_max),
        ]);
    }
    table.to_string()
}

fn render_status(status: &Status) -> String {
    let Status {
        version,
        pid,
        uptime_seconds,
        io,
        crypto,
    } = status;
    let up = age(*uptime_seconds);
    format!("adit {version}, process {pid}, up {up}\ni/o     {io}\ncrypto  {crypto}\n")
}

fn render_verified(faults: &[String]) -> String {
    if faults.is_empty() {
        return "every address is accounted for\n".into();
    }
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

fn render_totals(what: &Show, totals: &Totals) -> String {
    let of = |usage: control::admin::Usage| format!("{} of {}", usage.now, usage.limit);
    let matched = totals.matched;
    match what {
        Show::Sessions(_) => format!(
            "\n{matched} shown, {} up, {} sessions, {} tunnels\n",
            totals.sessions_up,
            of(totals.sessions),
            of(totals.tunnels)
        ),
        Show::Tunnels(_) => format!(
            "\n{matched} shown, {} tunnels, {} being set up\n",
            of(totals.tunnels),
            of(totals.half_open_l2tp)
        ),
        Show::Sas(_) => format!(
            "\n{matched} shown, {} peers, {} main modes under way\n",
            of(totals.peers),
            of(totals.half_open_ike)
        ),
        Show::Pools { .. }
        | Show::Discards { .. }
        | Show::Workers
        | Show::Stages
        | Show::Counters
        | Show::Status => String::new(),
    }
}
