//! The running gateway's ear: a unix socket on which `adit show` and `adit clear` ask.
//!
//! One JSON object a line, both ways. A connection has a thread of its own, which may be slow; the
//! question goes to the slow path through a bounded channel and comes back in pages, so a reader
//! that stalls stalls nobody else.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
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
/// Pause after a call that could not be taken, for want of descriptors say: asking at once again
/// would only burn a core.
const PAUSE: Duration = Duration::from_millis(100);
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
    /// Where the cycles of the workers go.
    Stages,
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
    Stages(Vec<StageRow>),
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
    /// Frames that took the express lane to its end.
    pub(crate) express: u64,
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

/// A stretch of the way through a worker, from those turns that were timed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StageRow {
    pub(crate) worker: u8,
    pub(crate) stage: String,
    pub(crate) meaning: String,
    /// Packets in the turns that were timed.
    pub(crate) packets: u64,
    /// Cycles of the processor's counter for each of them.
    pub(crate) cycles_per_packet: f64,
    /// Of all the time that was timed, percent.
    pub(crate) percent: f64,
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
    std::thread::Builder::new()
        .name("admin".into())
        .spawn(move || take_calls(&listener, &sender, &wake))?;
    let path = path.to_owned();
    Ok((Socket { path }, receiver))
}

fn take_calls(
    listener: &UnixListener,
    slow_path: &Sender<Asked>,
    wake: &Arc<dyn Fn() + Send + Sync>,
) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            std::thread::park_timeout(PAUSE);
            continue;
        };
        let Some(line) = Line::take(&open) else {
            let full = Answer::Refused("too many callers; try again".into());
            let _ = answer_line(&stream, &full);
            continue;
        };
        let (slow_path, wake) = (slow_path.clone(), Arc::clone(wake));
        let thread = std::thread::Builder::new().name("admin-caller".into());
        let spawned = thread.spawn(move || {
            let _line = line;
            // What goes wrong with one caller is that caller's business.
            let _ = converse(&stream, &slow_path, &*wake);
        });
        drop(spawned);
    }
}

/// One of the [`CONNECTIONS`]; free again when dropped, however the conversation ended.
struct Line(Arc<AtomicUsize>);

impl Line {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let line = Self(Arc::clone(open));
        (open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS).then_some(line)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn bind(path: &Path) -> Result<UnixListener> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if UnixStream::connect(path).is_ok() {
        bail!(
            "another gateway answers on {}; set gateway.control to another path",
            path.display()
        );
    }
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        bail!(
            "{} is there and is no socket; set gateway.control to another path",
            path.display()
        );
    }
    // Whoever connects before the mode is set stays connected: until then nobody gets to it.
    let private = folder.join(format!(".{}", std::process::id()));
    let _ = fs::remove_dir_all(&private);
    let listener = fs::DirBuilder::new()
        .mode(0o700)
        .create(&private)
        .and_then(|()| open_in(&private, path));
    let _ = fs::remove_dir_all(&private);
    listener.with_context(|| format!("cannot open {}", path.display()))
}

/// Makes the socket in a folder of its own and moves it, with its mode, in the place of what a
/// killed gateway may have left.
fn open_in(private: &Path, path: &Path) -> io::Result<UnixListener> {
    let new = private.join("s");
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o660))?;
    fs::rename(&new, path)?;
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
            | Answer::Stages(_)
            | Answer::Status(_)) => answers.push(answer),
        }
    }
    bail!("the gateway hung up in the middle of its answer")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// A folder of its own for each test.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("adit-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn the_socket_is_for_owner_and_group_and_takes_the_place_of_a_dead_one() {
        let folder = folder("socket");
        let path = folder.join("adit.sock");
        drop(UnixListener::bind(&path).unwrap());
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        let _caller = UnixStream::connect(&path).unwrap();
        assert!(listener.accept().is_ok());
        let taken = bind(&path).unwrap_err().to_string();
        assert!(taken.contains("another gateway answers"), "{taken}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = folder("no-socket");
        let path = folder.join("gateway.toml");
        fs::write(&path, "precious").unwrap();
        let refused = bind(&path).unwrap_err().to_string();
        assert!(refused.contains("is no socket"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn callers_that_hang_up_make_room_for_others() {
        let folder = folder("callers");
        let path = folder.join("adit.sock");
        let (_socket, questions) = serve(&path, Arc::new(|| ())).unwrap();
        for _ in 0..4 * CONNECTIONS {
            let caller = UnixStream::connect(&path).unwrap();
            (&caller).write_all(b"no question\n").unwrap();
            let mut answer = String::new();
            BufReader::new(&caller).read_line(&mut answer).unwrap();
            assert!(
                answer.contains("not understood") || answer.contains("too many"),
                "{answer}"
            );
        }
        std::thread::spawn(move || {
            let Asked { answers, .. } = questions.recv().unwrap();
            answers.send(Answer::Discards(Vec::new())).unwrap();
            answers.send(Answer::End).unwrap();
        });
        // The threads of those before may still be on their way out.
        let answered = (0..100).any(|_| {
            let answers = ask(&path, &Question::Discards);
            std::thread::park_timeout(PAUSE / 10);
            answers.is_ok_and(|answers| matches!(answers[..], [Answer::Discards(_)]))
        });
        assert!(answered);
        fs::remove_dir_all(folder).unwrap();
    }
}
