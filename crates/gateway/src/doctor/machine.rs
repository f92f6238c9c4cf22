//! The machine, whatever the configuration: kernel, rights, memory, ciphers.

use std::fs;
use std::io;
use std::path::PathBuf;

use af_xdp::probe::{Capability, Probe};
use crypto::cpu;
use crypto::esp::Backend;

use super::{Finding, Weight};
use crate::config::Config;

/// Capabilities that `adit run` needs, and nothing else.
const CAPABILITIES: [(Capability, &str, &str); 4] = [
    (
        Capability::NetAdmin,
        "CAP_NET_ADMIN",
        "interfaces, routes and XDP",
    ),
    (
        Capability::NetRaw,
        "CAP_NET_RAW",
        "raw ESP and AF_XDP sockets",
    ),
    (Capability::Bpf, "CAP_BPF", "the XDP classifier"),
    (Capability::IpcLock, "CAP_IPC_LOCK", "packet memory"),
];
/// Octets of a huge page.
const HUGE_PAGE: usize = 2 << 20;
/// Packet memory unless the configuration says otherwise.
const PACKET_MEMORY: usize = 32 << 20;

pub(super) fn examine(probe: &Probe, config: Option<&Config>) -> Vec<Finding> {
    let memory = config.map_or(PACKET_MEMORY, packet_memory);
    let mut findings = vec![kernel(probe)];
    findings.extend(capabilities(probe, &program()));
    findings.extend([
        locked_memory(probe, memory),
        ability("AF_XDP", &probe.af_xdp),
        ability("bpf(2)", &probe.bpf),
        tun(),
        forwarding(),
        huge_pages(memory),
        ciphers(config),
    ]);
    findings
}

fn packet_memory(config: &Config) -> usize {
    config.memory.chunks * config.memory.chunk_size * usize::from(config.workers.count)
}

/// What the remedies are about.
fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/adit".into())
}

fn kernel(probe: &Probe) -> Finding {
    let (major, minor) = Probe::OLDEST_KERNEL;
    if probe.kernel_version >= Probe::OLDEST_KERNEL {
        return Finding::good("kernel", &*probe.kernel);
    }
    let found = format!("{} is older than {major}.{minor}", probe.kernel);
    let mend = "use io = \"sockets\", or a newer kernel";
    Finding::of(Weight::Worse, "kernel", found, mend)
}

/// `setcap` replaces what a program had: each remedy grants all four.
fn capabilities(probe: &Probe, program: &std::path::Path) -> Vec<Finding> {
    let names = CAPABILITIES.map(|(_, name, _)| name);
    let remedy = format!(
        "setcap {}+ep {}, or AmbientCapabilities={} in the unit",
        names.join(",").to_lowercase(),
        program.display(),
        names.join(" ")
    );
    let finding = |&(capability, name, what): &(Capability, &str, &str)| {
        if probe.has(capability) {
            return Finding::good(name, format!("held: {what}"));
        }
        Finding::of(Weight::Bad, name, format!("not held: {what}"), &*remedy)
    };
    CAPABILITIES.iter().map(finding).collect()
}

fn locked_memory(probe: &Probe, needed: usize) -> Finding {
    let subject = "locked memory";
    if probe.can_lock(needed as u64) {
        return Finding::good(subject, "enough for packet memory");
    }
    let limit = probe.memlock.unwrap_or(0) >> 10;
    Finding::of(
        Weight::Worse,
        subject,
        format!(
            "limited to {limit} KiB, and packet memory has {} KiB",
            needed >> 10
        ),
        "grant CAP_IPC_LOCK, or LimitMEMLOCK=infinity in the unit",
    )
}

fn ability(subject: &str, tried: &io::Result<()>) -> Finding {
    match tried {
        Ok(()) => Finding::good(subject, "works"),
        Err(error) => Finding::of(
            Weight::Worse,
            subject,
            format!("does not work here: {error}"),
            "grant the capabilities above (to the container too), or io = \"sockets\", which does \
             without",
        ),
    }
}

fn tun() -> Finding {
    const DEVICE: &str = "/dev/net/tun";
    let subject = "adit0";
    let opened = fs::OpenOptions::new().read(true).write(true).open(DEVICE);
    let Err(error) = opened else {
        return Finding::good(subject, format!("{DEVICE} can be opened"));
    };
    let remedy = if error.kind() == io::ErrorKind::PermissionDenied {
        format!("chmod 0666 {DEVICE}, as distributions have it")
    } else {
        "modprobe tun".into()
    };
    let found = format!("{DEVICE} cannot be opened: {error}");
    Finding::of(Weight::Bad, subject, found, remedy)
}

/// With `sockets` the kernel routes between `adit0` and the rest; with XDP the workers do.
fn forwarding() -> Finding {
    const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
    let subject = "IP forwarding";
    match fs::read_to_string(SWITCH) {
        Ok(text) if text.trim() == "0" => Finding::of(
            Weight::Worse,
            subject,
            "off: io = \"sockets\" reaches nothing but this host; io = \"xdp\" does not need it",
            "sysctl -w net.ipv4.ip_forward=1",
        ),
        Ok(_) => Finding::good(subject, "on"),
        Err(error) => {
            let look = format!("cat {SWITCH}");
            Finding::of(Weight::Worse, subject, error.to_string(), look)
        }
    }
}

fn huge_pages(memory: usize) -> Finding {
    const FREE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    let free = fs::read_to_string(FREE).ok();
    let free = free.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let needed = memory.div_ceil(HUGE_PAGE);
    let subject = "huge pages";
    if free >= needed {
        return Finding::good(subject, format!("{free} free, {needed} needed"));
    }
    let found = format!("{free} of 2 MiB are free, {needed} needed; transparent ones are tried");
    let remedy = format!("sysctl -w vm.nr_hugepages={needed}");
    Finding::of(Weight::Worse, subject, found, remedy)
}

fn ciphers(config: Option<&Config>) -> Finding {
    let backend = config.map_or_else(Backend::auto, |config| config.ciphers);
    let found = format!("{backend}: {}; it has {}", backend.why(), cpu::features());
    Finding::good("ciphers", found)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn probe(capabilities: u64, memlock: Option<u64>) -> Probe {
        Probe {
            kernel: "6.1.0".into(),
            kernel_version: (6, 1),
            memlock,
            capabilities,
            af_xdp: Ok(()),
            bpf: Ok(()),
        }
    }

    #[test]
    fn every_remedy_for_a_missing_right_grants_all_rights_to_the_program() {
        let only_raw = probe(1 << 13, None);
        let findings = capabilities(&only_raw, Path::new("/opt/adit"));
        let bad: Vec<&Finding> = findings.iter().filter(|f| f.remedy.is_some()).collect();
        assert_eq!(bad.len(), 3);
        for finding in bad {
            let remedy = finding.remedy.as_deref().unwrap();
            assert!(
                remedy.starts_with(
                    "setcap cap_net_admin,cap_net_raw,cap_bpf,cap_ipc_lock+ep /opt/adit,"
                ),
                "{remedy}"
            );
        }
    }

    #[test]
    fn locked_memory_is_held_against_packet_memory() {
        let weight = |memlock| locked_memory(&probe(0, memlock), 1 << 20).weight;
        assert_eq!(weight(Some(1 << 20)), Weight::Good);
        assert_eq!(weight(Some((1 << 20) - 1)), Weight::Worse);
        assert_eq!(weight(None), Weight::Good);
    }
}
