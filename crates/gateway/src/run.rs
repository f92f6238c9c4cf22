//! `adit run`: from a checked configuration to a gateway that serves, step by step; whatever fails
//! leaves nothing half-started.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use af_xdp::{Area, AreaSettings, Chunk, HugePages};
use anyhow::{Context, Result};
use control::Control;
use crypto::cpu;
use crypto::esp::Backend;
use dataplane::mesh::{Sizes, mesh};
use dataplane::{Settings as WorkerSettings, Shared, Worker};

use crate::admin::{self, Status};
use crate::clock;
use crate::compute::Compute;
use crate::config::{Config, Io};
use crate::host::Host;
use crate::icmp::Icmp;
use crate::interfaces::Interfaces;
use crate::key_log::KeyLogFile;
use crate::port::{AnyPort, FIRST_INTERFACE, LetterBox, SOCKETS, Share, Sockets, TUN, Tun};
use crate::routes::{self, Routes};
use crate::signals::Signals;
use crate::slow_path::{SlowPath, Stamps, Waiting};
use crate::wake::Alarm;
use crate::workers::{Crew, Recruit};

/// Runs until a signal ends it.
pub(crate) fn run(config: Config, key_log: Option<&Path>) -> Result<()> {
    let (started, started_cycles) = (clock::now(), cpu::cycles());
    let signals = Signals::catch()?;
    let alarm = Alarm::new()?;
    let (socket, questions) = admin::serve(&config.socket, alarm.waker())?;
    let key_log = open_key_log(key_log)?;

    let shared = Shared::new(shared_limits(&config), started);
    let (ends, rings) = mesh::<Chunk>(config.workers.count, Sizes::default());
    rings.bell.set_wake(Arc::clone(&alarm) as _);
    let (letter_box, letters) = LetterBox::new(alarm.waker());
    let inside = Inside::open(&config, &shared, &letter_box)?;
    let mut recruits = Vec::new();
    for ((end, ports), chunks) in ends.into_iter().zip(inside.ports).zip(inside.chunks) {
        let alarm = Alarm::new()?;
        end.bell.set_wake(Arc::clone(&alarm) as _);
        let settings = worker_settings(&config, chunks.len());
        let worker = Worker::new(Arc::clone(&shared), ports, chunks, end, settings);
        recruits.push(Recruit { worker, alarm });
    }

    let icmp = Icmp::listen()?;
    let control = start_control(&config, key_log.is_some(), &shared)?;
    let crew = Crew::start(recruits, &config.workers)?;
    if let Some(core) = crew.free_cores().first() {
        // The compute pool's threads are started below and inherit this.
        core_affinity::set_for_current(*core);
    }
    let jobs = config.control.limits.computations;
    let compute = Compute::start(config.compute_threads, jobs, alarm.waker())?;
    let status = status(&inside.io, config.ciphers);
    tracing::info!(io = %status.io, crypto = %status.crypto, workers = config.workers.count, "serving");
    let mut slow_path = SlowPath {
        control,
        shared,
        rings,
        compute,
        questions,
        letters,
        routes: inside.routes,
        icmp,
        host: inside.host,
        adit0: inside.adit0,
        signals,
        key_log,
        alarm,
        posts: crew.posts.clone(),
        status,
        started,
        started_cycles,
        waiting: Waiting::new(usize::from(config.workers.count)),
    };
    let outcome = slow_path.run();
    drop(socket);
    // The programs go before the sockets (IO §7), and those go with the workers.
    drop(inside.interfaces);
    count_chunks(crew.stop(), config.memory.chunks);
    outcome
}

/// Chunks are conserved: when everybody has gone, all of them are there.
fn count_chunks(workers: Vec<Worker<AnyPort>>, each: usize) {
    let given = each * workers.len();
    let mut found = 0;
    for worker in workers {
        let (ports, chunks) = worker.dismantle();
        let inside = ports.into_iter().map(|port| port.into_chunks().len());
        found += chunks.len() + inside.sum::<usize>();
    }
    if found == given {
        tracing::info!(chunks = given, "every chunk is back");
    } else {
        tracing::error!(given, found, "chunks are missing");
    }
}

fn open_key_log(path: Option<&Path>) -> Result<Option<KeyLogFile>> {
    let Some(path) = path else { return Ok(None) };
    tracing::warn!(
        file = %path.display(),
        "the keys of every tunnel are written to a file: whoever has it reads the traffic"
    );
    KeyLogFile::create(path).map(Some)
}

/// A worker's ports.
type Ports = Vec<AnyPort>;

/// Everything by which packets come in and leave.
struct Inside {
    /// Which back end really runs, and why not the one before it.
    io: String,
    ports: Vec<Ports>,
    chunks: Vec<Vec<Chunk>>,
    interfaces: Option<Interfaces>,
    routes: Option<Routes>,
    host: OwnedFd,
    adit0: u32,
}

impl Inside {
    /// What `[gateway] io` asked for. `auto` takes XDP where interfaces are named for it and it
    /// works.
    fn open(config: &Config, shared: &Arc<Shared>, letters: &LetterBox) -> Result<Self> {
        let (area, mut chunks) = packet_memory(config)?;
        let mtu = tun_mtu(config);
        // First what another gateway would have, so that it is not disturbed.
        let sockets = open_sockets(config, letters)?;
        let (workers, pools) = (config.workers.count, &config.control.pools);
        let host = Host::set_up(&config.tun, workers, mtu, pools)?;
        let (host_index, slow_queue) = (host.index, host.queues[0].try_clone()?);
        let tun = |queue| AnyPort::Tun(Tun::new(TUN, queue, usize::from(mtu)));
        let queues = host.queues.into_iter().map(tun);
        let mut ports: Vec<Ports> = sockets
            .into_iter()
            .zip(queues)
            .map(|(sockets, tun)| vec![sockets, tun])
            .collect();
        let because = match config.io {
            Io::Sockets => "as configured".to_owned(),
            Io::Auto if config.ports.is_empty() => "no [[port]] names an interface for XDP".into(),
            Io::Auto | Io::Xdp | Io::XdpSkb => {
                match Interfaces::open(config, &area, &mut chunks, shared, &mut ports) {
                    Ok(interfaces) => {
                        let outlets = interfaces.outlets.clone();
                        let routes = Routes::start(outlets, host.index, mtu, shared)?;
                        let name = if config.io == Io::XdpSkb {
                            "xdp-skb"
                        } else {
                            "xdp"
                        };
                        let io = format!("{name} ({})", interfaces.text);
                        let (interfaces, routes) = (Some(interfaces), Some(routes));
                        let host = slow_queue;
                        return Ok(Self {
                            io,
                            ports,
                            chunks,
                            interfaces,
                            routes,
                            host,
                            adit0: host_index,
                        });
                    }
                    Err(error) if config.io == Io::Auto => {
                        close_interfaces(&mut ports, &mut chunks);
                        tracing::warn!(
                            "packets go through sockets: XDP does not work here: {error:#}"
                        );
                        format!("xdp does not work here: {error:#}")
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        routes::leave_by_the_host(shared, mtu);
        let io = format!("sockets ({because})");
        Ok(Self {
            io,
            ports,
            chunks,
            interfaces: None,
            routes: None,
            host: slow_queue,
            adit0: host_index,
        })
    }
}

/// What was opened for XDP before something failed; its chunks are used otherwise.
fn close_interfaces(ports: &mut [Ports], chunks: &mut [Vec<Chunk>]) {
    for (ports, chunks) in ports.iter_mut().zip(chunks) {
        let opened = ports.drain(usize::from(FIRST_INTERFACE)..);
        chunks.extend(opened.flat_map(AnyPort::into_chunks));
    }
}

/// The sockets of each worker, which are there in every mode.
fn open_sockets(config: &Config, letters: &LetterBox) -> Result<Vec<AnyPort>> {
    let addresses: Vec<_> = config.control.listeners.iter().map(|l| l.address).collect();
    let workers = config.workers.count;
    let shares = (0..workers).map(|worker| Share { worker, workers });
    shares
        .map(|share| {
            Sockets::open(SOCKETS, &addresses, share, letters.clone()).map(AnyPort::Sockets)
        })
        .collect()
}

/// `adit0` carries what a subscriber may send: never less than the host expects of a link.
fn tun_mtu(config: &Config) -> u16 {
    config.control.path_mtu
}

/// Packet memory, and the chunks of each worker.
fn packet_memory(config: &Config) -> Result<(Arc<Area>, Vec<Vec<Chunk>>)> {
    let count = usize::from(config.workers.count);
    let settings = AreaSettings {
        chunks: u32::try_from(config.memory.chunks * count)
            .context("memory.chunks is too large")?,
        chunk_size: u32::try_from(config.memory.chunk_size)?,
        huge: HugePages::Prefer,
    };
    let (area, mut chunks) =
        Area::new(settings).context("no memory for packets (memory.chunks)")?;
    let share = config.memory.chunks;
    Ok((
        area,
        (0..count)
            .map(|_| chunks.split_off(chunks.len() - share))
            .collect(),
    ))
}

fn shared_limits(config: &Config) -> dataplane::Limits {
    dataplane::Limits {
        workers: config.workers.count,
        slots_per_shard: config.control.limits.slots_per_shard,
        ..dataplane::Limits::default()
    }
}

fn worker_settings(config: &Config, chunks: usize) -> WorkerSettings {
    let rates = &config.rates;
    WorkerSettings {
        backend: config.ciphers,
        tunnel_port: SOCKETS,
        icmp_per_second: rates.icmp,
        strangers_per_second: rates.strangers,
        stranger_per_second: rates.stranger,
        compat_max_share: rates.compat,
        chunks,
    }
}

fn start_control(config: &Config, key_log: bool, shared: &Arc<Shared>) -> Result<Control> {
    let mut seed = [0; 32];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .context("the kernel gives no random bytes")?;
    let settings = control::Settings {
        key_log,
        ..config.control.clone()
    };
    Ok(Control::new(
        settings,
        seed,
        clock::now(),
        Box::new(Stamps(Arc::clone(shared))),
    ))
}

fn status(io: &str, ciphers: Backend) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_seconds: 0,
        io: io.into(),
        crypto: ciphers.to_string(),
    }
}
