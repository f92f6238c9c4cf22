"""Network namespaces of a run, what is started in them, and how they are cleared away.

Shared by the interoperation lab, the stories in namespaces and `perf/compare`. Names carry the
process id, so that several runs share a machine, and the next run finds what a killed one left.
"""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Failed(Exception):
    """What should have been and was not."""


def run(*argv, check=True, timeout=120, **more):
    """Runs a command to its end; its stdout."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout, **more)
    except subprocess.TimeoutExpired:
        raise Failed(f"no end within {timeout} s: {' '.join(words)}") from None
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise Failed(f"status {done.returncode} from {' '.join(words)}\n{said}")
    return done.stdout


def expect(condition, what):
    """What has to hold."""
    if not condition:
        raise Failed(what() if callable(what) else what)


def eventually(what, condition, seconds):
    """Waits until `condition()` holds; what it gave."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        expect(time.monotonic() < end, f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return value


def binary(name):
    """One of our programs: beside the one that $ADIT names, or of the release build."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(os.environ.get("ADIT", target / "release/adit")).with_name(name)
    expect(path.exists(), f"{path} does not exist: cargo build --release, or set ADIT")
    return path


class Namespaces:
    """Namespaces of one tag, the links between them and the processes in them."""

    def __init__(self, tag, queues=1):
        self.tag = tag
        self.queues = queues  # of every interface: one for each worker
        self.spaces, self.processes = [], []

    def add(self, end):
        """A namespace; its name."""
        space = f"{self.tag}-{end}"
        run("ip", "netns", "add", space)
        self.spaces.append(space)
        run("ip", "-n", space, "link", "set", "lo", "up")
        return space

    def veth(self, space_a, name_a, space_b, name_b):
        queues = ["numrxqueues", self.queues, "numtxqueues", self.queues]
        run("ip", "-n", space_a, "link", "add", name_a, *queues,
            "type", "veth", "peer", "name", name_b, "netns", space_b, *queues)
        for space, name in ((space_a, name_a), (space_b, name_b)):
            # What crosses the link must be what would be on a wire: whole checksums, and no
            # packet larger than the MTU.
            off = [word for offload in ("tx", "tso", "gso", "gro") for word in (offload, "off")]
            self.exec(space, "ethtool", "-K", name, *off)
            run("ip", "-n", space, "link", "set", name, "up")

    def address(self, space, name, *addresses, more=()):
        for address in addresses:
            run("ip", "-n", space, "addr", "add", address, "dev", name, *more)

    def set_forwarding(self, space, does):
        """Whether the kernel of a namespace is a router."""
        self.exec(space, "sysctl", "-qw", f"net.ipv4.ip_forward={int(does)}")

    def exec(self, space, *argv, **more):
        return run("ip", "netns", "exec", space, *argv, **more)

    def start(self, space, argv, log):
        """Starts a process that `stop` or `down` will end."""
        with open(log, "ab") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", space, *map(str, argv)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        self.processes.append(process)
        return process

    def stop(self, process, seconds, signal_number=signal.SIGTERM):
        """Ends a process; its status, or None if it had to be killed."""
        self.processes.remove(process)
        process.send_signal(signal_number)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            kill(process)
            return None

    def down(self):
        for process in self.processes:
            if process.poll() is None:
                kill(process)
        self.processes.clear()
        for space in self.spaces:
            clear(space)
        self.spaces.clear()


def kill(process):
    """Ends a process whatever state it is in, stopped ones too."""
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


def clear(space):
    """Ends what is left in a namespace, such as what a process left behind, and the namespace."""
    for pid in run("ip", "netns", "pids", space, check=False).split():
        run("kill", "-KILL", pid, check=False)
    run("ip", "netns", "del", space, check=False)


def is_alive(name, prefix):
    """Whether the run that made this name still goes on."""
    pid = re.match(re.escape(prefix) + r"(\d+)", name)
    return bool(pid) and Path(f"/proc/{pid[1]}").exists()


def sweep(prefix):
    """Clears the namespaces that killed runs left, with whatever runs in them."""
    for line in run("ip", "netns", "list").splitlines():
        space = line.split()[0]
        if space.startswith(prefix) and not is_alive(space, prefix):
            clear(space)
