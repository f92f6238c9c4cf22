"""Three network namespaces, and everything that is started in them.

     client                       gateway                      internet
    ┌────────────────────┐       ┌─────────────────────┐      ┌──────────────────┐
    │ peer's TAP ─ br0 ─ up0 ─── sub0            net0 ─────── net0               │
    │ 10.9.0.1           │       │ 10.9.0.2   198.51.100.2    198.51.100.1       │
    └────────────────────┘       └─────────────────────┘      └──────────────────┘
                                  the reference server stands   10.77.0.0/16 via
                                  on bridges here instead       198.51.100.2

Names carry the process id, so that several runs share a machine, and the next run
finds what a killed one left behind.
"""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

LAB = Path(__file__).resolve().parent.parent / "lab"
CACHE = Path(os.environ.get("ADIT_LAB_CACHE", "/var/tmp/adit-lab"))

PEER = "10.9.0.1"
PROBE = "10.9.0.3"
ENDPOINT = "10.9.0.2"
GATEWAY_OUTSIDE = "198.51.100.2"
INTERNET = "198.51.100.1"
POOL_NET = "10.77.0.0/16"
FLOW_PORT = 5001

PREFIX = "adit-interop-"
KEPT_RESULTS = 10  # runs whose captures and logs are kept


class Failed(Exception):
    """What a variant should have done and did not."""


def run(*argv, check=True, timeout=120):
    """Runs a command to its end; its stdout."""
    try:
        done = subprocess.run(
            [str(a) for a in argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"no end within {timeout} s: {' '.join(map(str, argv))}") from None
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise Failed(f"status {done.returncode} from {' '.join(map(str, argv))}\n{said}")
    return done.stdout


def eventually(what, condition, seconds):
    """Waits until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.05)


class Network:
    def __init__(self, bridged, queues):
        tag = f"{PREFIX}{os.getpid()}"
        self.client, self.gateway, self.internet = f"{tag}-c", f"{tag}-g", f"{tag}-i"
        self.tag = tag
        self.processes = []
        self.queues = str(queues)  # of every interface: one for each worker
        self.up(bridged)

    def up(self, bridged):
        for space in (self.client, self.gateway, self.internet):
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        self.veth(self.client, "up0", self.gateway, "sub0")
        self.veth(self.gateway, "net0", self.internet, "net0")
        self.bridge(self.client, "br0", "up0")
        run("ip", "-n", self.client, "addr", "add", f"{PROBE}/24", "dev", "br0")
        if bridged:
            self.bridge(self.gateway, "brsub", "sub0")
            self.bridge(self.gateway, "brnet", "net0")
        else:
            run("ip", "-n", self.gateway, "addr", "add", f"{ENDPOINT}/24", "dev", "sub0")
            run("ip", "-n", self.gateway, "addr", "add", f"{GATEWAY_OUTSIDE}/24", "dev", "net0")
            run("ip", "netns", "exec", self.gateway, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        run("ip", "-n", self.internet, "addr", "add", f"{INTERNET}/24", "dev", "net0")
        run("ip", "-n", self.internet, "route", "add", POOL_NET, "via", GATEWAY_OUTSIDE)
        self.start(self.internet, [LAB / "flow", "serve", INTERNET, FLOW_PORT], os.devnull)

    def veth(self, space_a, name_a, space_b, name_b):
        queues = ["numrxqueues", self.queues, "numtxqueues", self.queues]
        run("ip", "-n", space_a, "link", "add", name_a, *queues,
            "type", "veth", "peer", "name", name_b, *queues, "netns", space_b)
        for space, name in ((space_a, name_a), (space_b, name_b)):
            # What crosses the link must be what would be on a wire: whole checksums,
            # and no packet larger than the MTU.
            off = [word for offload in ("tx", "tso", "gso", "gro") for word in (offload, "off")]
            run("ip", "netns", "exec", space, "ethtool", "-K", name, *off)
            run("ip", "-n", space, "link", "set", name, "up")

    def bridge(self, space, name, member):
        run("ip", "-n", space, "link", "add", name, "type", "bridge")
        run("ip", "-n", space, "link", "set", name, "up")
        run("ip", "-n", space, "link", "set", member, "master", name)

    def start(self, space, argv, log):
        """Starts a process that `stop` or `down` will end."""
        with open(log, "ab") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", space, *map(str, argv)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )
        self.processes.append(process)
        return process

    def stop(self, process, seconds, signal_number=signal.SIGTERM):
        """Ends a process; its status, or None if it had to be killed."""
        self.processes.remove(process)
        process.send_signal(signal_number)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None

    def down(self):
        for process in list(self.processes):
            self.stop(process, 2)
        for space in (self.client, self.gateway, self.internet):
            run("ip", "netns", "del", space, check=False)


def sweep():
    """Clears what runs that were killed left: their peers, processes and namespaces."""
    for directory in (CACHE / "run").glob(f"{PREFIX}*"):
        if not alive(directory.name):
            run(LAB / "peer-stop", directory.name, check=False)
            run("rm", "-rf", directory)
    for line in run("ip", "netns", "list").splitlines():
        space = line.split()[0]
        if space.startswith(PREFIX) and not alive(space):
            for pid in run("ip", "netns", "pids", space, check=False).split():
                run("kill", "-KILL", pid, check=False)
            run("ip", "netns", "del", space, check=False)
    results = sorted((CACHE / "results").glob("*"), key=lambda path: path.stat().st_mtime)
    for directory in results[:-KEPT_RESULTS]:
        run("rm", "-rf", directory)


def alive(name):
    """Whether the run that made this name still goes on."""
    pid = re.match(PREFIX + r"(\d+)", name)
    return bool(pid) and Path(f"/proc/{pid[1]}").exists()
