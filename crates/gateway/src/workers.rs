//! Worker threads: pinned, polling, parked when there is nothing to do.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, bail};
use core_affinity::CoreId;
use dataplane::Worker;
use hdrhistogram::Histogram;

use crate::clock;
use crate::config::{Idle, Workers};
use crate::log;
use crate::port::{AnyPort, Losses};
use crate::wake::{Alarm, until};

/// Turns without work before a worker parks: looking again costs less than waking up.
const IDLE_TURNS: u32 = 200;
/// Between two copies of the burst times.
const PUBLISH: Duration = Duration::from_secs(1);

/// The worker threads.
pub(crate) struct Crew {
    threads: Vec<JoinHandle<Worker<AnyPort>>>,
    stop: Arc<AtomicBool>,
    alarms: Vec<Arc<Alarm>>,
    /// What `adit show workers` tells beside the counters of the line.
    pub(crate) posts: Vec<Arc<Post>>,
}

/// Where a worker stands.
pub(crate) struct Post {
    pub(crate) core: Option<usize>,
    pub(crate) parks: AtomicU64,
    /// How long turns with something to do took; a copy, renewed every second.
    pub(crate) burst_cycles: Mutex<Histogram<u64>>,
    /// What the kernel lost at this worker's ports; a copy likewise.
    pub(crate) losses: Mutex<Losses>,
}

impl Post {
    fn new(core: Option<CoreId>) -> Self {
        let burst_cycles = Histogram::new(2).expect("two significant digits are allowed");
        Self {
            core: core.map(|core| core.id),
            parks: AtomicU64::new(0),
            burst_cycles: Mutex::new(burst_cycles),
            losses: Mutex::default(),
        }
    }

    /// Leaves a copy for whoever asks; somebody who is just reading gets the next one.
    fn publish(&self, worker: &mut Worker<AnyPort>) {
        if let Ok(mut copy) = self.burst_cycles.try_lock() {
            copy.clone_from(worker.burst_cycles());
        }
        if let Ok(mut copy) = self.losses.try_lock() {
            *copy = Losses::default();
            for port in worker.ports_mut() {
                port.losses(&mut copy);
            }
        }
    }
}

/// A worker that has not started yet.
pub(crate) struct Recruit {
    pub(crate) worker: Worker<AnyPort>,
    pub(crate) alarm: Arc<Alarm>,
}

impl Crew {
    /// Starts a thread for each worker, pinned to its core.
    pub(crate) fn start(recruits: Vec<Recruit>, settings: &Workers) -> Result<Self> {
        let cores = choose_cores(settings)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut crew = Self {
            threads: Vec::new(),
            stop,
            alarms: Vec::new(),
            posts: Vec::new(),
        };
        for (index, recruit) in recruits.into_iter().enumerate() {
            let core = cores.get(index).copied();
            let post = Arc::new(Post::new(core));
            crew.alarms.push(Arc::clone(&recruit.alarm));
            crew.posts.push(Arc::clone(&post));
            let (stop, idle) = (Arc::clone(&crew.stop), settings.idle);
            let thread = thread::Builder::new().name(format!("worker-{index}"));
            crew.threads.push(thread.spawn(move || {
                if let Some(core) = core {
                    core_affinity::set_for_current(core);
                }
                serve(recruit, &post, idle, &stop)
            })?);
        }
        Ok(crew)
    }

    /// Cores that no worker is pinned to; empty if there is none.
    pub(crate) fn free_cores(&self) -> Vec<CoreId> {
        let all = core_affinity::get_core_ids().unwrap_or_default();
        let taken = |core: &CoreId| self.posts.iter().any(|post| post.core == Some(core.id));
        all.into_iter().filter(|core| !taken(core)).collect()
    }

    /// Ends the threads, in order.
    pub(crate) fn stop(self) -> Vec<Worker<AnyPort>> {
        self.stop.store(true, Ordering::Release);
        self.alarms
            .iter()
            .for_each(|alarm| dataplane::ring::Wake::wake(&**alarm));
        self.threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    }
}

/// The configured cores; otherwise the last ones, since the first serves most interrupts. With
/// fewer cores than workers nothing is pinned.
fn choose_cores(settings: &Workers) -> Result<Vec<CoreId>> {
    let all = core_affinity::get_core_ids().unwrap_or_default();
    let count = usize::from(settings.count);
    if settings.cores.is_empty() {
        let skip = all.len().saturating_sub(count);
        return Ok(if count > all.len() {
            Vec::new()
        } else {
            all[skip..].to_vec()
        });
    }
    for core in &settings.cores {
        if !all.iter().any(|id| id.id == *core) {
            bail!("workers.cores: this machine (or this process) has no core {core}");
        }
    }
    Ok(settings.cores.iter().map(|id| CoreId { id: *id }).collect())
}

/// A worker's life. It is the only loop of the fast path.
fn serve(recruit: Recruit, post: &Post, idle: Idle, stop: &AtomicBool) -> Worker<AnyPort> {
    let Recruit { mut worker, alarm } = recruit;
    let mut idle_turns = 0;
    let mut publish_at = clock::now();
    while !stop.load(Ordering::Acquire) {
        let now = clock::now();
        let Ok(turn) = catch_unwind(AssertUnwindSafe(|| worker.turn(now))) else {
            end_with_the_frame_at_hand(&worker)
        };
        if now >= publish_at {
            post.publish(&mut worker);
            publish_at = now + PUBLISH;
        }
        if turn.work > 0 || idle == Idle::Spin {
            idle_turns = 0;
            continue;
        }
        idle_turns += 1;
        if idle_turns > IDLE_TURNS && worker.may_park() {
            post.parks
                .store(post.parks.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            let ports = worker.ports_mut();
            if !ports.iter().any(AnyPort::is_ready) {
                let descriptors: Vec<BorrowedFd<'_>> =
                    ports.iter().flat_map(AnyPort::descriptors).collect();
                let wait = until(clock::now(), turn.next)
                    .unwrap_or(PUBLISH)
                    .min(PUBLISH);
                alarm.wait(&descriptors, Some(wait));
            }
            worker.unpark();
            idle_turns = 0;
        }
    }
    worker
}

/// A worker that panicked cannot be trusted with keys and windows, and a gateway that serves half
/// of its subscribers is worse than one that restarts: the process ends here.
fn end_with_the_frame_at_hand(worker: &Worker<AnyPort>) -> ! {
    let file = std::env::temp_dir().join(format!("adit-panic-{}.hex", std::process::id()));
    let hex = |frame: &Vec<u8>| {
        frame
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect::<String>()
    };
    let frames: Vec<String> = worker.frames_at_hand().iter().map(hex).collect();
    let saved = save(&file, &frames.join("\n"));
    let place = match saved {
        Ok(()) => format!("the frames at hand are in {}", file.display()),
        Err(error) => format!("the frames at hand could not be saved: {error}"),
    };
    tracing::error!("worker {} panicked; {place}; ending", worker.id().0);
    log::finish();
    std::process::exit(70)
}

/// Writes a file that was not there before, for its owner only: frames are other people's traffic.
fn save(file: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    use af_xdp::{Area, AreaSettings, Chunk, HugePages};
    use dataplane::mesh::{Sizes, mesh};
    use dataplane::port::{Burst, Meta, Packet, Pool, Port, SendError};
    use dataplane::{Settings, Shared};
    use packet::Frame;

    use super::*;

    /// What the frame says that is at hand.
    const FRAME: [u8; 4] = [0x45, 0xad, 0x17, 0x00];
    /// Set in the process that is to end.
    const CHILD: &str = "ADIT_TEST_PANIC_IN";

    /// A port that receives one frame and then has a bug.
    struct Faulty;

    impl Port for Faulty {
        type Chunk = Chunk;

        fn receive(
            &mut self,
            pool: &mut dyn Pool<Chunk>,
            burst: &mut Burst<Chunk>,
            _max: usize,
        ) -> usize {
            let chunk = pool.take().expect("the area is not empty");
            let mut frame = Frame::new(chunk, 256, FRAME.len()).expect("it fits");
            frame.bytes_mut().copy_from_slice(&FRAME);
            let meta = Meta::ip(0);
            burst.push(Packet { frame, meta });
            panic!("a bug")
        }

        fn send(&mut self, packet: Packet<Chunk>) -> Result<(), (Packet<Chunk>, SendError)> {
            Err((packet, SendError::Full))
        }

        fn flush(&mut self, _pool: &mut dyn Pool<Chunk>) {}

        fn in_flight(&self) -> usize {
            0
        }
    }

    fn serve_a_faulty_port() {
        log::start(&crate::config::Log {
            level: tracing::Level::INFO,
            json: false,
        });
        let settings = AreaSettings {
            chunks: 64,
            chunk_size: 2048,
            huge: HugePages::Never,
        };
        let (_area, chunks) = Area::new(settings).unwrap();
        let shared = Shared::new(dataplane::Limits::default(), clock::now());
        let (mut ends, _rings) = mesh::<Chunk>(1, Sizes::default());
        let end = ends.pop().unwrap();
        let ports = vec![AnyPort::Staged(Box::new(Faulty))];
        let worker = Worker::new(shared, ports, chunks, end, Settings::default());
        let alarm = Alarm::new().unwrap();
        let stop = AtomicBool::new(false);
        serve(
            Recruit { worker, alarm },
            &Post::new(None),
            Idle::Spin,
            &stop,
        );
    }

    #[test]
    fn a_worker_that_panics_ends_the_process_and_leaves_the_frame_at_hand() {
        if env::var_os(CHILD).is_some() {
            return serve_a_faulty_port();
        }
        let place = env::temp_dir().join(format!("adit-panic-test-{}", std::process::id()));
        std::fs::create_dir(&place).unwrap();
        let name =
            "workers::tests::a_worker_that_panics_ends_the_process_and_leaves_the_frame_at_hand";
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .env("TMPDIR", &place)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr).into_owned();
        let left = std::fs::read_dir(&place)
            .unwrap()
            .next()
            .expect("a file")
            .unwrap();
        let frames = std::fs::read_to_string(left.path()).unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        assert_eq!(child.status.code(), Some(70), "{said}");
        assert!(
            said.contains("worker 0 panicked; the frames at hand are in"),
            "{said}"
        );
        assert_eq!(frames.trim(), "45ad1700");
    }
}
