//! Two network namespaces joined by a veth pair. Their names carry the process id; what a killed
//! run left behind is removed by the next.

use std::fs::File;
use std::io::{Write, stderr};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use af_xdp::probe::{Capability, probe};

pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(crate) const NEAR_LINK: &str = "near0";
pub(crate) const FAR_LINK: &str = "far0";

/// A second pair, for forwarding: 10.10.0.0/24.
pub(crate) const NEAR_2: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);
pub(crate) const FAR_LINK_2: &str = "far1";

const PREFIX: &str = "adit-xdp-";
const NAMESPACE: &str = "ADIT_TEST_NAMESPACE";

pub(crate) struct Lab {
    near: String,
    far: String,
}

impl Lab {
    /// `None`, with a word about it, when the process may not.
    pub(crate) fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let may = probe().unwrap();
        let needed = [Capability::NetAdmin, Capability::NetRaw, Capability::Bpf];
        if !needed.iter().all(|capability| may.has(*capability)) {
            // Past the capture of output.
            let _ = writeln!(stderr(), "SKIPPED: namespaces, eBPF and AF_XDP need root");
            return None;
        }
        remove_stale();
        let base = format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let lab = Self {
            near: format!("{base}n"),
            far: format!("{base}f"),
        };
        run(&["ip", "netns", "add", &lab.near]);
        run(&["ip", "netns", "add", &lab.far]);
        lab.join(NEAR_LINK, "10.9.0.1/24", FAR_LINK, "10.9.0.2/24");
        lab.join("near1", "10.10.0.1/24", FAR_LINK_2, "10.10.0.2/24");
        lab.near(|| run(&["ip", "route", "add", "10.64.0.0/16", "via", "10.9.0.2"]));
        Some(lab)
    }

    fn join(&self, near: &str, near_address: &str, far: &str, far_address: &str) {
        let one_queue = ["numtxqueues", "1", "numrxqueues", "1"];
        let mut pair = vec!["ip", "link", "add", near, "netns", &self.near];
        pair.extend(one_queue);
        pair.extend(["type", "veth", "peer", "name", far, "netns", &self.far]);
        pair.extend(one_queue);
        run(&pair);
        let up = |link: &str, address: &str| {
            // Otherwise frames arrive with unset checksums.
            run(&["ethtool", "-K", link, "tx", "off"]);
            run(&["ip", "address", "add", address, "dev", link]);
            run(&["ip", "link", "set", "lo", "up"]);
            run(&["ip", "link", "set", link, "up"]);
        };
        self.near(|| up(near, near_address));
        self.far(|| up(far, far_address));
    }

    /// Runs something in the namespace with ordinary sockets.
    pub(crate) fn near<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        inside(&self.near, act)
    }

    /// Runs something in the namespace with the classifier.
    pub(crate) fn far<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        inside(&self.far, act)
    }

    /// Starts a test of this binary in a process of its own, in the far namespace.
    pub(crate) fn child(&self, test: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(NAMESPACE, &self.far)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove(&self.near);
        remove(&self.far);
    }
}

/// Enters the namespace that [`Lab::child`] names; `false` if this process is no such child.
pub(crate) fn enter_from_environment() -> bool {
    let namespace = std::env::var(NAMESPACE);
    namespace.is_ok_and(|namespace| {
        enter(&namespace);
        true
    })
}

/// Runs a command that must succeed, in the namespace of the calling thread.
pub(crate) fn run(command: &[&str]) {
    let output = Command::new(command[0])
        .args(&command[1..])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn inside<T: Send>(namespace: &str, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(namespace);
            act()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A thread's namespace is its own, so others are not moved.
fn enter(namespace: &str) {
    let file = File::open(Path::new("/run/netns").join(namespace)).unwrap();
    // SAFETY: integers only; the descriptor is open until the end of this function.
    let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn remove(namespace: &str) {
    let _ = Command::new("ip")
        .args(["netns", "delete", namespace])
        .output();
}

/// Removes the namespaces of processes that are no more.
fn remove_stale() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for name in entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let process = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            remove(&name);
        }
    }
}
