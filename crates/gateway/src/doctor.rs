//! `adit doctor`: what is wrong with this machine, and the command that mends it.

use std::io::{Write, stdout};
use std::path::Path;

use af_xdp::interface::Interface;
use af_xdp::probe::{Probe, probe};
use anyhow::Result;
use crypto::cpu;
use serde::Serialize;

use crate::config::{Config, PortSettings};

/// IO §7: what AF_XDP needs and was tested with.
const OLDEST_KERNEL: (u32, u32) = (5, 15);
/// Octets in front of a frame in its chunk (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
/// Ethernet header and two VLAN tags.
const LINK_HEADER: usize = 22;
/// Capabilities that `adit run` needs, by number and name.
const CAPABILITIES: [(u32, &str, &str); 4] = [
    (12, "CAP_NET_ADMIN", "interfaces, routes and XDP"),
    (13, "CAP_NET_RAW", "raw ESP and AF_XDP sockets"),
    (39, "CAP_BPF", "the XDP classifier"),
    (14, "CAP_IPC_LOCK", "packet memory"),
];

/// How a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Weight {
    Good,
    /// It will run, with less than it could have.
    Worse,
    /// It will not run.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    weight: Weight,
    subject: String,
    found: String,
    /// The command that mends it, or what to do.
    remedy: Option<String>,
}

impl Finding {
    fn good(subject: &str, found: impl Into<String>) -> Self {
        Self {
            weight: Weight::Good,
            subject: subject.into(),
            found: found.into(),
            remedy: None,
        }
    }

    fn of(
        weight: Weight,
        subject: &str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            weight,
            subject: subject.into(),
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// Looks at the machine, and at the interfaces of `config`; 1 if something keeps Adit from running.
pub(crate) fn examine(config: Option<&Path>, json: bool) -> Result<u8> {
    let mut findings = machine(&probe()?);
    match config.map(Config::load) {
        Some(Ok(config)) => {
            for port in &config.ports {
                findings.extend(interface(port, &config));
            }
        }
        Some(Err(faults)) => findings.extend(faults.iter().map(|fault| {
            Finding::of(
                Weight::Bad,
                "configuration",
                fault.to_string(),
                "adit check CONFIG",
            )
        })),
        None => {}
    }
    let worst = findings
        .iter()
        .map(|finding| finding.weight)
        .max()
        .unwrap_or(Weight::Good);
    if json {
        writeln!(stdout(), "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        print(&findings, worst)?;
    }
    Ok(u8::from(worst == Weight::Bad))
}

fn print(findings: &[Finding], worst: Weight) -> Result<()> {
    let mut out = stdout().lock();
    let width = findings
        .iter()
        .map(|finding| finding.subject.len())
        .max()
        .unwrap_or(0);
    for Finding {
        weight,
        subject,
        found,
        remedy,
    } in findings
    {
        let mark = match weight {
            Weight::Good => "ok  ",
            Weight::Worse => "warn",
            Weight::Bad => "BAD ",
        };
        writeln!(out, "{mark}  {subject:<width$}  {found}")?;
        if let Some(remedy) = remedy {
            writeln!(out, "      {:<width$}  -> {remedy}", "")?;
        }
    }
    let verdict = match worst {
        Weight::Good => "nothing stands in the way",
        Weight::Worse => "it will run; the warnings say what it lacks",
        Weight::Bad => "it will not run as it is",
    };
    writeln!(out, "\n{verdict}")?;
    Ok(())
}

fn machine(probe: &Probe) -> Vec<Finding> {
    let mut findings = vec![kernel(probe)];
    findings.extend(
        CAPABILITIES
            .iter()
            .map(|(bit, name, what)| capability(probe, *bit, name, what)),
    );
    findings.push(match probe.memlock {
        _ if probe.capabilities >> 14 & 1 == 1 => Finding::good("locked memory", "not limited"),
        None => Finding::good("locked memory", "not limited"),
        Some(limit) => Finding::of(
            Weight::Worse,
            "locked memory",
            format!("limited to {} KiB, packet memory is larger", limit / 1024),
            "LimitMEMLOCK=infinity in the unit, or grant CAP_IPC_LOCK",
        ),
    });
    findings.push(ability("AF_XDP", &probe.af_xdp));
    findings.push(ability("bpf(2)", &probe.bpf));
    findings.push(tun());
    findings.push(forwarding());
    findings.push(huge_pages());
    findings.push(cipher());
    findings
}

fn kernel(probe: &Probe) -> Finding {
    let (major, minor) = OLDEST_KERNEL;
    if probe.kernel_version >= OLDEST_KERNEL {
        return Finding::good("kernel", &*probe.kernel);
    }
    let found = format!("{} is older than {major}.{minor}", probe.kernel);
    Finding::of(
        Weight::Worse,
        "kernel",
        found,
        "use io = \"sockets\", or a newer kernel",
    )
}

fn capability(probe: &Probe, bit: u32, name: &str, what: &str) -> Finding {
    if probe.capabilities >> bit & 1 == 1 {
        return Finding::good(name, format!("held: {what}"));
    }
    let remedy =
        format!("AmbientCapabilities={name} in the unit, or setcap {name}+ep on the program");
    Finding::of(
        Weight::Bad,
        name,
        format!("not held: {what}"),
        remedy.replace("setcap CAP", "setcap cap"),
    )
}

fn ability(subject: &str, tried: &std::io::Result<()>) -> Finding {
    match tried {
        Ok(()) => Finding::good(subject, "works"),
        Err(error) => Finding::of(
            Weight::Worse,
            subject,
            format!("does not work here: {error}"),
            "io = \"sockets\" needs neither; containers need the capabilities above",
        ),
    }
}

fn tun() -> Finding {
    const DEVICE: &str = "/dev/net/tun";
    match std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
    {
        Ok(_) => Finding::good("adit0", format!("{DEVICE} can be opened")),
        Err(error) => Finding::of(
            Weight::Bad,
            "adit0",
            format!("{DEVICE} cannot be opened: {error}"),
            format!("modprobe tun; chmod 0666 {DEVICE}"),
        ),
    }
}

/// With `sockets` the kernel routes between `adit0` and the rest; with XDP the workers do.
fn forwarding() -> Finding {
    const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
    let subject = "IP forwarding";
    match std::fs::read_to_string(SWITCH) {
        Ok(text) if text.trim() == "0" => Finding::of(
            Weight::Worse,
            subject,
            "off: io = \"sockets\" reaches nothing but this host; io = \"xdp\" does not need it",
            "sysctl -w net.ipv4.ip_forward=1",
        ),
        Ok(_) => Finding::good(subject, "on"),
        Err(error) => Finding::of(
            Weight::Worse,
            subject,
            error.to_string(),
            format!("cat {SWITCH}"),
        ),
    }
}

fn huge_pages() -> Finding {
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    let free: u64 = free
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    if free > 0 {
        return Finding::good("huge pages", format!("{free} free pages of 2 MiB"));
    }
    let found = "none reserved; transparent ones are tried";
    Finding::of(
        Weight::Worse,
        "huge pages",
        found,
        "sysctl -w vm.nr_hugepages=64",
    )
}

fn cipher() -> Finding {
    let backend = crypto::esp::Backend::auto();
    Finding::good(
        "ciphers",
        format!("{backend}; this CPU has {}", cpu::features()),
    )
}

fn interface(port: &PortSettings, config: &Config) -> Vec<Finding> {
    let name = port.interface.as_str();
    let found = match Interface::by_name(name) {
        Ok(found) => found,
        Err(error) => {
            return vec![Finding::of(
                Weight::Bad,
                name,
                error.to_string(),
                "ip link show",
            )];
        }
    };
    let mut findings = Vec::new();
    let driver = found.driver.as_deref().unwrap_or("unknown driver");
    findings.push(if found.is_up {
        Finding::good(name, format!("up, {driver}"))
    } else {
        Finding::of(Weight::Bad, name, "down", format!("ip link set {name} up"))
    });
    let largest = config.memory.chunk_size - HEADROOM - LINK_HEADER;
    if found.mtu as usize > largest {
        let what = format!(
            "MTU {} does not fit into a chunk of {}",
            found.mtu, config.memory.chunk_size
        );
        let remedy = format!("ip link set {name} mtu {largest}, or memory.chunk_size = 4096");
        findings.push(Finding::of(Weight::Bad, name, what, remedy));
    }
    let workers = u32::from(config.workers.count);
    if found.receive_queues > workers {
        let what = format!("{} receive queues, {workers} workers", found.receive_queues);
        let remedy = found.command_for_queues(workers);
        findings.push(Finding::of(Weight::Bad, name, what, remedy));
    }
    if let Some(program) = found.xdp_program {
        let what = format!("another XDP program (id {program}) is attached");
        findings.push(Finding::of(
            Weight::Bad,
            name,
            what,
            format!("ip link set {name} xdp off"),
        ));
    }
    if found.offloads.lro == Some(true) {
        let remedy = format!("ethtool -K {name} lro off");
        findings.push(Finding::of(
            Weight::Bad,
            name,
            "LRO is on: XDP cannot run",
            remedy,
        ));
    }
    findings
}
