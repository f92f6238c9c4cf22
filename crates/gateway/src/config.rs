//! From the file as written to settings that hold: all faults at once, or none.
//!
//! | table | what it says | read in |
//! |---|---|---|
//! | `[gateway]`, `[workers]`, `[memory]`, `[crypto]`, `[[port]]`, `[log]` | the machine | this file |
//! | `[[listener]]` | where peers are served and how | [`listener`] |
//! | `[[pool]]`, `[[profile]]`, `[[user]]` | who comes in and what they get | [`subscriber`] |
//! | `[limits]`, `[rekey]` | how much of everything | [`limit`] |
//! | `secrets = "FILE"` | where secrets are that are only named here | [`document`] |

mod limit;
mod listener;
mod subscriber;

use std::path::{Path, PathBuf};
use std::time::Duration;

use control::Settings;
use crypto::esp::Backend;

pub(crate) use document::Fault;
use document::{Document, Section};

/// Where the running gateway is asked, unless the configuration says otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "/run/adit/adit.sock";

/// What a configuration says, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// What the slow path needs to know.
    pub(crate) control: Settings,
    pub(crate) io: Io,
    /// Unix socket of `adit show` and `adit clear`.
    pub(crate) socket: PathBuf,
    /// Name of the TUN device.
    pub(crate) tun: String,
    pub(crate) workers: Workers,
    pub(crate) memory: Memory,
    pub(crate) rates: Rates,
    /// Who opens and seals ESP packets.
    pub(crate) ciphers: Backend,
    /// Interfaces for XDP.
    pub(crate) ports: Vec<PortSettings>,
    pub(crate) log: Log,
    /// Threads for public-key work.
    pub(crate) compute_threads: usize,
    /// What should be mended, but keeps nothing from starting.
    pub(crate) warnings: Vec<Fault>,
}

/// How packets come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Io {
    /// The first that works of `xdp` and `sockets`.
    Auto,
    /// AF_XDP, native.
    Xdp,
    /// AF_XDP on generic XDP.
    XdpSkb,
    /// UDP and raw ESP sockets and a TUN device.
    Sockets,
}

impl Io {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Xdp => "xdp",
            Self::XdpSkb => "xdp-skb",
            Self::Sockets => "sockets",
        }
    }
}

/// The poll-mode threads.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    pub(crate) count: u8,
    pub(crate) idle: Idle,
    /// Cores to pin them to; empty chooses.
    pub(crate) cores: Vec<usize>,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Looks again at once: for isolated cores.
    Spin,
    /// Waits in poll(2) for a frame or a ring.
    Park,
}

/// Packet memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Chunks of each worker.
    pub(crate) chunks: usize,
    /// Octets of a chunk.
    pub(crate) chunk_size: usize,
}

/// What each worker lets through in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    /// ICMP errors and answers of ours.
    pub(crate) icmp: u32,
    /// Messages of all strangers.
    pub(crate) strangers: u32,
    /// Messages of one strange address.
    pub(crate) stranger: u32,
    /// Cycles for 3DES, percent.
    pub(crate) compat: u8,
}

/// An interface for XDP.
#[derive(Clone, Debug)]
pub(crate) struct PortSettings {
    pub(crate) interface: String,
    pub(crate) mode: CopyMode,
}

/// Whether the driver writes into packet memory itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyMode {
    Auto,
    Copy,
    ZeroCopy,
}

/// What is logged and how.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) level: tracing::Level,
    pub(crate) json: bool,
}

impl Config {
    /// Reads a configuration, or tells everything that is wrong with it.
    pub(crate) fn load(file: &Path) -> Result<Self, Vec<Fault>> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let what = format!("cannot be read: {error}");
            vec![Fault {
                file: file.to_owned(),
                line: 1,
                key: String::new(),
                what,
            }]
        })?;
        Self::read(file, text)
    }

    /// Reads the text of a configuration.
    pub(crate) fn read(file: &Path, text: String) -> Result<Self, Vec<Fault>> {
        let document = Document::new(file, text);
        let mut config = document.read(Self::from_root);
        config.warnings = document.warnings();
        match document.into_faults() {
            faults if faults.is_empty() => Ok(config),
            faults => Err(faults),
        }
    }

    /// What it is about, in one line.
    pub(crate) fn summary(&self) -> String {
        let control = &self.control;
        [
            counted(control.listeners.len(), "listener"),
            counted(control.pools.len(), "pool"),
            counted(control.users.len(), "user"),
            counted(self.workers.count.into(), "worker"),
            format!("io {}", self.io.name()),
        ]
        .join(", ")
    }

    fn from_root(root: &mut Section<'_>) -> Self {
        root.secrets("secrets");
        let mut control = Settings::default();
        let machine = root.section("gateway", |gateway| Machine::read(gateway, &mut control));
        control.pools = root.sections("pool", subscriber::pool);
        control.profiles = root.sections("profile", subscriber::profile);
        control.users = root.sections("user", subscriber::user);
        let host_name = &machine.host_name;
        let mut index = 0;
        let listeners = root.sections("listener", |section| {
            index += 1;
            listener::read(section, index - 1, host_name)
        });
        for (listener, profile) in listeners {
            control.listeners.push(listener);
            control.profiles.extend(profile);
        }
        let rates = root.section("limits", |limits| {
            limit::limits(limits, &mut control.limits);
            limit::rates(limits)
        });
        let compat = root.section("compat", |compat| compat.number("max_share", 1..=100, 25));
        let rates = Rates { compat, ..rates };
        root.section("rekey", |rekey| limit::rekey(rekey, &mut control.rekey));
        let log = root.section("log", |log| {
            control.redact = log.flag("redact", false);
            Log::read(log)
        });
        subscriber::check(root, &control);
        listener::check(root, &control.listeners);
        let workers = root.section("workers", Workers::read);
        for (shard, owner) in control.owners.iter_mut().enumerate() {
            owner.0 = shard as u8 % workers.count;
        }
        let memory = root.section("memory", Memory::read);
        let ciphers = root.section("crypto", ciphers);
        let ports = root.sections("port", PortSettings::read);
        if matches!(machine.io, Io::Xdp | Io::XdpSkb) && ports.is_empty() {
            root.fault(
                "port",
                "io = \"xdp\" needs at least one [[port]] with an interface",
            );
        }
        let Machine {
            io,
            socket,
            tun,
            compute_threads,
            ..
        } = machine;
        Self {
            control,
            io,
            socket,
            tun,
            workers,
            memory,
            rates,
            ciphers,
            ports,
            log,
            compute_threads,
            warnings: Vec::new(),
        }
    }
}

/// The back end that is asked for, which this processor has to be able to run.
fn ciphers(section: &mut Section<'_>) -> Backend {
    const NAMES: [(&str, Option<Backend>); 4] = [
        ("auto", None),
        ("avx512", Some(Backend::Avx512)),
        ("aesni", Some(Backend::AesNi)),
        ("rustcrypto", Some(Backend::RustCrypto)),
    ];
    let backend = section.choice("backend", &NAMES, None);
    let backend = backend.unwrap_or_else(Backend::auto);
    if !backend.available() {
        section.fault("backend", format!("{}; say \"auto\"", backend.why()));
    }
    backend
}

/// `1 pool`, `2 pools`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// `[gateway]`.
struct Machine {
    io: Io,
    socket: PathBuf,
    tun: String,
    host_name: String,
    compute_threads: usize,
}

impl Machine {
    fn read(section: &mut Section<'_>, control: &mut Settings) -> Self {
        const IO: [(&str, Io); 4] = [
            ("auto", Io::Auto),
            ("xdp", Io::Xdp),
            ("xdp-skb", Io::XdpSkb),
            ("sockets", Io::Sockets),
        ];
        control.path_mtu = section.number("path_mtu", 576..=9000, 1500);
        control.peer_grace = section.duration("peer_grace", SECOND..=HOUR, control.peer_grace);
        control.peer_idle = section.duration("peer_idle", SECOND..=DAY, control.peer_idle);
        control.replay_window = section.number("replay_window", 64..=65_536, control.replay_window);
        let tun = section.text("tun").unwrap_or_else(|| "adit0".into());
        if tun.is_empty() || tun.len() > 15 || tun.contains(['/', ' ']) {
            section.fault(
                "tun",
                "an interface name has 1 to 15 characters, no blank and no slash",
            );
        }
        Self {
            io: section.choice("io", &IO, Io::Auto),
            socket: section
                .text("control")
                .unwrap_or_else(|| DEFAULT_SOCKET.into())
                .into(),
            tun,
            host_name: host_name(section, "adit"),
            compute_threads: section.number("compute_threads", 1..=64, 1),
        }
    }
}

/// What the gateway calls itself: L2TP's Host Name and CHAP's Name.
fn host_name(section: &Section<'_>, default: &str) -> String {
    let Some(name) = section.text("host_name") else {
        return default.to_owned();
    };
    let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > 255 || !is_plain {
        section.fault(
            "host_name",
            "a host name has 1 to 255 visible ASCII characters",
        );
    }
    name
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Workers {
    fn read(section: &mut Section<'_>) -> Self {
        let count = section.number("count", 1..=64, 1);
        let cores = section.numbers("cores", "the number of a core");
        if !cores.is_empty() && cores.len() != usize::from(count) {
            section.fault("cores", format!("{count} workers need {count} cores"));
        }
        let idle = [("park", Idle::Park), ("spin", Idle::Spin)];
        Self {
            count,
            idle: section.choice("idle", &idle, Idle::Park),
            cores,
        }
    }
}

impl Memory {
    fn read(section: &mut Section<'_>) -> Self {
        let chunk_size: usize = section.number("chunk_size", 2048..=4096, 2048);
        if !chunk_size.is_power_of_two() {
            section.fault("chunk_size", "the kernel takes 2048 or 4096");
        }
        Self {
            chunks: section.number("chunks", 1024..=4_194_304, 16384),
            chunk_size,
        }
    }
}

impl PortSettings {
    fn read(section: &mut Section<'_>) -> Self {
        let modes = [
            ("auto", CopyMode::Auto),
            ("copy", CopyMode::Copy),
            ("zero-copy", CopyMode::ZeroCopy),
        ];
        Self {
            interface: section.required_text("interface").unwrap_or_default(),
            mode: section.choice("mode", &modes, CopyMode::Auto),
        }
    }
}

impl Log {
    fn read(section: &mut Section<'_>) -> Self {
        use tracing::Level;
        let levels = [
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ];
        Self {
            level: section.choice("level", &levels, Level::INFO),
            json: section.choice("format", &[("text", false), ("json", true)], false),
        }
    }
}

#[cfg(test)]
mod tests;
