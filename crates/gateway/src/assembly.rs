//! A gateway put together over whatever ports it is given: rings, workers, compute pool and slow
//! path, each on its thread, and in the end every chunk counted.

use std::sync::Arc;
use std::time::Instant;

use af_xdp::{Area, AreaSettings, Chunk, HugePages};
use anyhow::{Context, Result};
use control::{Control, Output};
use crossbeam::channel::Receiver;
use crypto::cpu;
use crypto::esp::Backend;
use dataplane::mesh::{Sizes, mesh};
use dataplane::ring::Bell;
use dataplane::{Settings as WorkerSettings, Shared, Worker};

use crate::admin::{Asked, Socket, Status};
use crate::clock;
use crate::compute::Compute;
use crate::config::Config;
use crate::icmp::Icmp;
use crate::interfaces::Interfaces;
use crate::key_log::KeyLogFile;
use crate::port::{AnyPort, LetterBox, SOCKETS};
use crate::routes::Routes;
use crate::signals::Signals;
use crate::slow_path::{Adit0, SlowPath, Waiting};
use crate::wake::Alarm;
use crate::workers::{Crew, Recruit};

/// Who may ask the slow path for something, and what wakes it for that.
pub(crate) struct Orders {
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) signals: Signals,
    /// Where the questions come from, if it is a socket.
    pub(crate) socket: Option<Socket>,
    pub(crate) questions: Receiver<Asked>,
    pub(crate) key_log: Option<KeyLogFile>,
}

/// What is there when the ports are opened.
pub(crate) struct Around<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    /// For messages that are longer than a chunk.
    pub(crate) letters: &'a LetterBox,
    /// What wakes each worker.
    pub(crate) bells: Vec<Arc<Bell>>,
}

/// A worker's ports.
pub(crate) type Ports = Vec<AnyPort>;

/// Everything by which packets come in and leave.
pub(crate) struct Inside {
    /// Which back end really runs, and why not the one before it.
    pub(crate) io: String,
    pub(crate) ports: Vec<Ports>,
    pub(crate) chunks: Vec<Vec<Chunk>>,
    pub(crate) interfaces: Option<Interfaces>,
    pub(crate) routes: Option<Routes>,
    pub(crate) icmp: Option<Icmp>,
    pub(crate) adit0: Option<Adit0>,
}

/// A gateway whose workers run and whose slow path is about to.
pub(crate) struct Gateway {
    slow_path: SlowPath,
    crew: Crew,
    socket: Option<Socket>,
    interfaces: Option<Interfaces>,
    /// Chunks of all workers.
    chunks: usize,
}

impl Gateway {
    /// Starts everything but the slow path, which is the caller's thread: see [`Self::serve`].
    pub(crate) fn assemble(
        config: &Config,
        orders: Orders,
        open: impl FnOnce(&Around<'_>) -> Result<Inside>,
    ) -> Result<Self> {
        let (started, started_cycles) = (clock::now(), cpu::cycles());
        let alarm = orders.alarm;
        let shared = Shared::new(shared_limits(config), started);
        let (ends, rings) = mesh::<Chunk>(config.workers.count, Sizes::default());
        rings.bell.set_wake(Arc::clone(&alarm) as _);
        let (letter_box, letters) = LetterBox::new(alarm.waker());
        let inside = open(&Around {
            shared: &shared,
            letters: &letter_box,
            bells: ends.iter().map(|end| Arc::clone(&end.bell)).collect(),
        })?;
        let salt = u64::from_ne_bytes(random()?);
        let mut recruits = Vec::new();
        for ((end, ports), chunks) in ends.into_iter().zip(inside.ports).zip(inside.chunks) {
            let alarm = Alarm::new()?;
            end.bell.set_wake(Arc::clone(&alarm) as _);
            let settings = worker_settings(config, chunks.len(), salt);
            let worker = Worker::new(Arc::clone(&shared), ports, chunks, end, settings);
            recruits.push(Recruit { worker, alarm });
        }

        let control = start_control(config, orders.key_log.is_some(), &shared, started)?;
        let crew = Crew::start(recruits, &config.workers)?;
        let cores = crew.free_cores();
        if let Some(core) = cores.first() {
            core_affinity::set_for_current(*core);
        }
        let jobs = config.control.limits.computations;
        let compute = Compute::start(config.compute_threads, &cores, jobs, alarm.waker())?;
        let status = status(&inside.io, config.ciphers);
        tracing::info!(io = %status.io, crypto = %status.crypto, workers = config.workers.count, "serving");
        let slow_path = SlowPath {
            control,
            shared,
            rings,
            compute,
            questions: orders.questions,
            letters,
            routes: inside.routes,
            icmp: inside.icmp,
            adit0: inside.adit0,
            signals: orders.signals,
            key_log: orders.key_log,
            alarm,
            posts: crew.posts.clone(),
            status,
            started,
            started_cycles,
            waiting: Waiting::new(usize::from(config.workers.count)),
        };
        Ok(Self {
            slow_path,
            crew,
            socket: orders.socket,
            interfaces: inside.interfaces,
            chunks: config.memory.chunks * usize::from(config.workers.count),
        })
    }

    /// Serves until it is told to end and everybody has been told goodbye.
    pub(crate) fn serve(mut self) -> Result<Chunks> {
        let outcome = self.slow_path.run();
        drop(self.socket);
        // The programs go before the sockets, and those go with the workers.
        drop(self.interfaces);
        let chunks = Chunks::count(self.crew.stop(), self.chunks);
        outcome.map(|()| chunks)
    }
}

/// Chunks are conserved: when everybody has gone, all of them are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// At the start.
    pub given: usize,
    /// In the end.
    pub found: usize,
}

impl Chunks {
    fn count(workers: Vec<Worker<AnyPort>>, given: usize) -> Self {
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
        Self { given, found }
    }
}

/// Packet memory, and the chunks of each worker.
pub(crate) fn packet_memory(config: &Config) -> Result<(Arc<Area>, Vec<Vec<Chunk>>)> {
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

/// `adit0` carries what a subscriber may send: never less than the host expects of a link.
pub(crate) fn tun_mtu(config: &Config) -> u16 {
    config.control.path_mtu
}

fn shared_limits(config: &Config) -> dataplane::Limits {
    dataplane::Limits {
        workers: config.workers.count,
        slots_per_shard: config.control.limits.slots_per_shard,
        ..dataplane::Limits::default()
    }
}

fn worker_settings(config: &Config, chunks: usize, salt: u64) -> WorkerSettings {
    let rates = &config.rates;
    WorkerSettings {
        backend: config.ciphers,
        tunnel_port: SOCKETS,
        icmp_per_second: rates.icmp,
        strangers_per_second: rates.strangers,
        stranger_per_second: rates.stranger,
        salt,
        compat_max_share: rates.compat,
        chunks,
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut octets = [0; N];
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())
        .context("the kernel gives no random bytes")?;
    Ok(octets)
}

fn start_control(
    config: &Config,
    key_log: bool,
    shared: &Arc<Shared>,
    now: Instant,
) -> Result<Control> {
    let settings = control::Settings {
        key_log,
        ..config.control.clone()
    };
    let mut control = Control::new(settings, random()?, now, Box::new(Arc::clone(shared)));
    // Before a worker receives its first frame: what is for no listener yet would be dropped.
    while let Some(output) = control.poll_output() {
        let Output::Shared(change) = output else {
            unreachable!("nobody has spoken to it, but it says {output:?}");
        };
        shared.apply(change);
    }
    Ok(control)
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
