"""Three network namespaces with the gateway in the middle, all of them seen from one process.

     client                     gateway                        internet
    ┌─────────────────┐        ┌─────────────────────┐        ┌──────────────────┐
    │            up0 ──────────── sub0          net0 ──────────── net0           │
    │ 10.9.0.1        │        │ 10.9.0.2   198.51.100.2      │ 198.51.100.1     │
    │ 10.9.0.3 …      │        │ 10.9.0.4                     │ pools via .100.2 │
    └─────────────────┘        └─────────────────────┘        └──────────────────┘

Peers come by IPsec to 10.9.0.2 and by plain L2TP to 10.9.0.4. A stage with `single=True` has no
net0: the internet's address stands in the client's namespace, behind the same port.

`inside` moves this thread into a namespace; a socket that is opened there stays there, so a
story holds both ends of a conversation in its hands.
"""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from pathlib import Path

PREFIX = "adit-netns-"
CLIENT, SECOND_CLIENT = "10.9.0.1", "10.9.0.3"
ENDPOINT, PLAIN_ENDPOINT = "10.9.0.2", "10.9.0.4"
OUTSIDE, INTERNET = "198.51.100.2", "198.51.100.1"
POOL, GATEWAY_INSIDE = "10.77.0.0/24", "10.77.0.1"
CLIENT6, ENDPOINT6 = "fd00:9::1", "fd00:9::2"
SCRATCH = Path("/tmp")
KEPT = 20  # stories that failed and whose files are kept

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


class Failed(Exception):
    """What should have been and was not."""


def run(*argv, check=True, timeout=60, **more):
    """Runs a command to its end; its stdout."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout, **more)
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise Failed(f"status {done.returncode} from {' '.join(words)}\n{said}")
    return done.stdout


def expect(condition, what):
    """What a story claims."""
    if not condition:
        raise Failed(what() if callable(what) else what)


def eventually(what, condition, seconds):
    """Waits until `condition()` holds; what it gave."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        expect(time.monotonic() < end, f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Stage:
    """The namespaces, and the processes in them; a context that clears everything."""

    count = 0

    def __init__(self, single=False, queues=1):
        Stage.count += 1
        self.tag = f"{PREFIX}{os.getpid()}-{Stage.count}"
        self.client, self.gateway, self.internet = (f"{self.tag}-{end}" for end in "cgi")
        self.single, self.queues = single, queues
        self.scratch = SCRATCH / self.tag
        self.processes = []

    def __enter__(self):
        self.scratch.mkdir()
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    # ---- namespaces
    def up(self):
        for space in (self.client, self.gateway, self.internet):
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        self.veth(self.client, "up0", self.gateway, "sub0")
        for address in (ENDPOINT, PLAIN_ENDPOINT):
            run("ip", "-n", self.gateway, "addr", "add", f"{address}/24", "dev", "sub0")
        for address in (CLIENT, SECOND_CLIENT):
            run("ip", "-n", self.client, "addr", "add", f"{address}/24", "dev", "up0")
        run("ip", "-n", self.client, "addr", "add", f"{CLIENT6}/64", "dev", "up0", "nodad")
        run("ip", "-n", self.gateway, "addr", "add", f"{ENDPOINT6}/64", "dev", "sub0", "nodad")
        if self.single:
            self.internet_behind_the_same_port()
        else:
            self.internet_behind_its_own()

    def internet_behind_the_same_port(self):
        self.internet = self.client
        run("ip", "-n", self.client, "addr", "add", f"{INTERNET}/32", "dev", "lo")
        run("ip", "-n", self.client, "route", "add", POOL, "via", ENDPOINT)
        run("ip", "-n", self.gateway, "route", "add", "default", "via", CLIENT)

    def internet_behind_its_own(self):
        self.veth(self.gateway, "net0", self.internet, "net0")
        run("ip", "-n", self.gateway, "addr", "add", f"{OUTSIDE}/24", "dev", "net0")
        run("ip", "-n", self.internet, "addr", "add", f"{INTERNET}/24", "dev", "net0")
        run("ip", "-n", self.internet, "route", "add", POOL, "via", OUTSIDE)

    def veth(self, space_a, name_a, space_b, name_b):
        queues = ("numrxqueues", self.queues, "numtxqueues", self.queues)
        run("ip", "-n", space_a, "link", "add", name_a, *queues, "type", "veth",
            "peer", "name", name_b, "netns", space_b, *queues)
        for space, name in ((space_a, name_a), (space_b, name_b)):
            # What crosses the link must be what would be on a wire: whole checksums, and no
            # packet larger than the MTU.
            off = [word for offload in ("tx", "tso", "gso", "gro") for word in (offload, "off")]
            self.exec(space, "ethtool", "-K", name, *off)
            run("ip", "-n", space, "link", "set", name, "up")

    def forwards(self, does):
        """Whether the gateway's kernel is a router: it has to be one for `sockets`, and not for `xdp`."""
        self.exec(self.gateway, "sysctl", "-qw", f"net.ipv4.ip_forward={int(does)}")

    def add_clients(self, count):
        """More addresses of the client's: 10.9.0.101 and following; their range."""
        for number in range(count):
            run("ip", "-n", self.client, "addr", "add", f"10.9.0.{101 + number}/24", "dev", "up0")
        return f"10.9.0.101-10.9.0.{100 + count}"

    @contextlib.contextmanager
    def inside(self, space):
        """This thread is in a namespace for a while."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{space}") as there:
            enter(there)
            try:
                yield
            finally:
                enter(home)

    def exec(self, space, *argv, **more):
        return run("ip", "netns", "exec", space, *argv, **more)

    # ---- processes
    def start(self, space, argv, log):
        """Starts a process that `down` ends at the latest."""
        with open(log, "ab") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", space, *map(str, argv)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        self.processes.append(process)
        return process

    def down(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        for space in (self.client, self.gateway, self.internet):
            run("ip", "netns", "del", space, check=False)

    def forget(self):
        """Nobody wants to read the files of a story that went well."""
        run("rm", "-rf", self.scratch)


def enter(namespace):
    if LIBC.setns(namespace.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def sweep():
    """Clears what runs that were killed left behind."""
    for line in run("ip", "netns", "list").splitlines():
        space = line.split()[0]
        if space.startswith(PREFIX) and not is_alive(space):
            for pid in run("ip", "netns", "pids", space, check=False).split():
                run("kill", "-KILL", pid, check=False)
            run("ip", "netns", "del", space, check=False)
    left = [path for path in SCRATCH.glob(f"{PREFIX}*") if not is_alive(path.name)]
    for old in sorted(left, key=lambda path: path.stat().st_mtime)[:-KEPT]:
        run("rm", "-rf", old)


def is_alive(name):
    """Whether the run that made this name still goes on."""
    pid = re.match(PREFIX + r"(\d+)-", name)
    return bool(pid) and Path(f"/proc/{pid[1]}").exists()
