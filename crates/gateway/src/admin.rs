//! The running gateway's ear: a unix socket on which `adit show` and `adit clear` ask.
//!
//! One JSON object a line, both ways. A connection has a thread of its own, which may be slow; the
//! question goes to the slow path through a bounded channel and comes back in pages, so a reader
//! that stalls stalls nobody else.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use control::admin::{Request, Response};
use crossbeam::channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};

/// Connections at a time; beyond it a caller is told to try again.
const CONNECTIONS: usize = 16;
/// How long a caller may be silent, and how long one may refuse to read.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest question, octets.
const QUESTION: u64 = 64 * 1024;

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Question {
    /// Something that the slow path knows.
    Control(Request),
    /// How many frames were discarded, and why.
    Discards,
    /// What the workers do.
    Workers,
    /// Version, back ends, uptime.
    Status,
}

/// One line of an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Control(Response),
    Discards(Vec<DiscardRow>),
    Workers(Vec<WorkerRow>),
    Status(Status),
    /// The question cannot be answered, and why.
    Refused(String),
    /// No more lines follow.
    End,
}

/// Frames discarded for one reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DiscardRow {
    pub(crate) name: String,
    pub(crate) meaning: String,
    pub(crate) frames: u64,
}

/// What a worker does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerRow {
    pub(crate) worker: u8,
    /// The core it is pinned to.
    pub(crate) core: Option<usize>,
    /// Shards it owns.
    pub(crate) shards: usize,
    /// Share of cycles in turns that had work, percent since the start.
    pub(crate) busy_percent: f64,
    pub(crate) turns: u64,
    pub(crate) frames: u64,
    /// Frames given to another worker, and taken from one.
    pub(crate) handed_over: u64,
    pub(crate) taken_over: u64,
    /// Changes and injected frames applied.
    pub(crate) applied: u64,
    /// Times it went to sleep.
    pub(crate) parks: u64,
    /// Time of a burst, microseconds.
    pub(crate) burst_us_p50: f64,
    pub(crate) burst_us_p99: f64,
    pub(crate) burst_us_max: f64,
}

/// What is running.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) uptime_seconds: u64,
    /// `xdp` or `sockets`, and why not the ones before it.
    pub(crate) io: String,
    pub(crate) crypto: String,
}

/// A question on its way to the slow path, with the way back.
pub(crate) struct Asked {
    pub(crate) question: Question,
    pub(crate) answers: Sender<Answer>,
}

/// The socket while the gateway runs; removed when dropped.
pub(crate) struct Socket {
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens the socket and answers on it until the process ends. `wake` is called after each question.
pub(crate) fn serve(
    path: &Path,
    wake: Arc<dyn Fn() + Send + Sync>,
) -> Result<(Socket, Receiver<Asked>)> {
    let listener = bind(path)?;
    let (sender, receiver) = bounded::<Asked>(CONNECTIONS);
    let open = Arc::new(AtomicUsize::new(0));
    std::thread::Builder::new()
        .name("admin".into())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let (sender, wake, open) = (sender.clone(), Arc::clone(&wake), Arc::clone(&open));
                if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
                    open.fetch_sub(1, Ordering::Relaxed);
                    let _ = answer_line(
                        &stream,
                        &Answer::Refused("too many callers; try again".into()),
                    );
                    continue;
                }
                let thread = std::thread::Builder::new().name("admin-caller".into());
                let spawned = thread.spawn(move || {
                    // What goes wrong with one caller is that caller's business.
                    let _ = converse(&stream, &sender, &*wake);
                    open.fetch_sub(1, Ordering::Relaxed);
                });
                drop(spawned);
            }
        })?;
    Ok((
        Socket {
            path: path.to_owned(),
        },
        receiver,
    ))
}

fn bind(path: &Path) -> Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    if UnixStream::connect(path).is_ok() {
        bail!(
            "another gateway answers on {}; set gateway.control to another path",
            path.display()
        );
    }
    // What a killed gateway left behind answers nobody.
    let _ = fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot open {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn converse(stream: &UnixStream, slow_path: &Sender<Asked>, wake: &dyn Fn()) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(io::Read::take(stream, QUESTION)).read_line(&mut line)?;
    let question = match serde_json::from_str(&line) {
        Ok(question) => question,
        Err(error) => {
            return answer_line(stream, &Answer::Refused(format!("not understood: {error}")));
        }
    };
    let (answers, pages) = bounded(1024);
    if slow_path.send(Asked { question, answers }).is_err() {
        return answer_line(stream, &Answer::Refused("the gateway is ending".into()));
    }
    wake();
    while let Ok(answer) = pages.recv_timeout(PATIENCE) {
        answer_line(stream, &answer)?;
        if matches!(answer, Answer::End) {
            break;
        }
    }
    Ok(())
}

fn answer_line(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Asks the gateway at `socket`; all lines of its answer but the end.
pub(crate) fn ask(socket: &Path, question: &Question) -> Result<Vec<Answer>> {
    let stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "no gateway answers on {}: is `adit run` up? (see --socket)",
            socket.display()
        )
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut answers = Vec::new();
    for line in BufReader::new(&stream).lines() {
        match serde_json::from_str(&line.context("the gateway stopped answering")?)? {
            Answer::End => return Ok(answers),
            Answer::Refused(why) => bail!("the gateway refused: {why}"),
            answer @ (Answer::Control(_)
            | Answer::Discards(_)
            | Answer::Workers(_)
            | Answer::Status(_)) => answers.push(answer),
        }
    }
    bail!("the gateway hung up in the middle of its answer")
}
