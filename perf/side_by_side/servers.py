"""Who is compared: how each server starts, and what it has cost so far.

All of them have `start`, and `busy_s`: the seconds that the server's work has taken so far.
"""

import json
import os
import shlex
import subprocess
from pathlib import Path

from namespaces import ROOT, Failed, binary, eventually, run

from .network import SERVER, SERVER_CORE

LAB = ROOT / "tests/interop/lab"
PSK, USER, PASSWORD = "lab-psk", "alice", "wonder-land"
START_S = 40
TICKS = os.sysconf("SC_CLK_TCK")


def kernel_s(core=SERVER_CORE):
    """Seconds that a core has spent in the kernel, interrupts included."""
    for line in open("/proc/stat"):
        name, *ticks = line.split()
        if name == f"cpu{core}":
            _, _, system, _, _, irq, softirq, *_ = map(int, ticks)
            return (system + irq + softirq) / TICKS
    raise Failed(f"/proc/stat has no core {core}")


def process_times(pid):
    """Processor time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def age_s(path):
    """The time since a process or thread began."""
    fields = Path(f"/proc/{path}/stat").read_text().rsplit(")", 1)[1].split()
    return float(Path("/proc/uptime").read_text().split()[0]) - int(fields[19]) / TICKS


class Server:
    """What the servers have in common: what they cost is the time of their processes."""

    def __init__(self, network, options):
        self.network, self.options, self.process = network, options, None

    def pids(self):
        return [self.process.pid]

    def busy_s(self):
        return sum(process_times(pid) for pid in self.pids())

    def is_alive(self):
        return self.process.poll() is None


class Adit(Server):
    """One worker; it polls, so what it costs is its busy share and the time of its other threads."""

    def start(self, case):
        self.socket = self.network.scratch / "adit.sock"
        file = self.network.scratch / "adit.toml"
        file.write_text(self.config(case))
        self.network.set_forwarding(self.network.server, self.options.io == "sockets")
        self.process = self.network.start_server([binary("adit"), "run", file], "adit.log")
        eventually("the gateway answers on its socket", self.answers, START_S)

    def config(self, case):
        ports = [f'[[port]]\ninterface = "{name}"\n' for name in ("sub0", "net0")] if self.options.io == "xdp" else []
        secured = f'psk = [{{ peer = "any", secret = "{PSK}" }}]' if case.ipsec else 'ipsec = "off"'
        # All clients dial from one address.
        limits = "[limits]\nhalf_open_ike_per_source = 1000\nstranger_per_second = 10000\n"
        return f"""[gateway]
io = "{self.options.io}"
control = "{self.socket}"
{limits}
[workers]
count = 1
{"".join(ports)}
[[listener]]
name = "compare"
address = "{SERVER}"
auth = ["mschapv2"]
pool = "main"
{secured}
[[profile]]
name = "many"
sessions = 10000
pools = ["main"]
[[pool]]
name = "main"
addresses = "10.77.0.0/16"
gateway = "10.77.0.1"
quarantine = "0s"
[[user]]
name = "{USER}"
password = "{PASSWORD}"
profile = "many"
"""

    def answers(self):
        if not self.is_alive():
            raise Failed(f"adit ended at start:\n{(self.network.scratch / 'adit.log').read_text()[-1500:]}")
        return subprocess.run([binary("adit"), "show", "status", "--socket", self.socket], capture_output=True).returncode == 0

    def show(self, what):
        return json.loads(run(binary("adit"), "show", what, "--json", "--socket", self.socket))

    def busy_s(self):
        """Cycles of turns that had work, as `adit show workers` has them, and the other threads."""
        [worker] = self.show("workers")["workers"]
        tasks = [task.name for task in Path(f"/proc/{self.process.pid}/task").iterdir()]
        paths = {f"{self.process.pid}/task/{task}" for task in tasks}
        polling = {path for path in paths if self.is_worker(path)}
        if len(polling) != 1:
            raise Failed(f"adit has {len(polling)} workers, not one")
        alone = age_s(*polling) * worker["busy_percent"] / 100
        return alone + sum(process_times(path) for path in paths - polling)


    @staticmethod
    def is_worker(path):
        try:
            return Path(f"/proc/{path}/comm").read_text().startswith("worker")
        except (FileNotFoundError, ProcessLookupError):
            return False  # a thread that has just ended


class SoftEther(Server):
    """AES-CBC or 3DES with SHA1, MS-CHAPv2 or PAP; fresh ports after an unclean end."""

    def start(self, _):
        log = self.network.scratch / "softether.log"
        self.process = self.network.start_server(
            [LAB / "run-softether", SERVER, self.network.scratch / "softether"], log.name)
        eventually("SoftEther is ready", self.answers, START_S)

    def answers(self):
        log = (self.network.scratch / "softether.log").read_text()
        if not self.is_alive():
            raise Failed(f"SoftEther ended at start: {log[-1500:]}")
        return "ready" in log

    def pids(self):
        told = run("ip", "netns", "pids", self.network.server).split()
        return [pid for pid in told if "vpnserver" in Path(f"/proc/{pid}/comm").read_text()]


class Xl2tpd(Server):
    """Debian's, out of the image of the interoperation lab, with a stub in place of pppd."""

    CONFIG = ("[global]\nport = 1701\naccess control = no\n[lns default]\nip range = 10.77.0.10-10.77.15.250\n"
              "local ip = 10.77.0.1\nname = lns\nexclusive = no\n")

    def start(self, _):
        run(LAB / "build-peer-image", "strongswan", timeout=1800)
        image = f'LAB={LAB}; . "$LAB/images.sh"; image_dir strongswan'
        root, scratch = Path(run("bash", "-c", image).strip()), self.network.scratch
        stub, config = scratch / "pppd", scratch / "xl2tpd.conf"
        stub.write_text("#!/bin/sh\nexec sleep 300\n")
        stub.chmod(0o755)
        config.write_text(self.CONFIG)
        quoted = {name: shlex.quote(str(value)) for name, value in
                  {"root": root, "stub": stub, "config": config}.items()}
        script = """mount --bind {stub} {root}/usr/sbin/pppd
mount -t tmpfs tmpfs {root}/run; mkdir {root}/run/xl2tpd
mount -t tmpfs tmpfs {root}/tmp; cp {config} {root}/tmp/
mount --rbind /dev {root}/dev
exec chroot {root} xl2tpd -D -c /tmp/xl2tpd.conf -p /tmp/pid""".format(**quoted)
        # In a process namespace, so that the stubs end with it.
        self.process = self.network.start_server(
            ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "bash", "-ec", script],
            "xl2tpd.log")
        eventually("xl2tpd listens", self.listens, START_S)

    def listens(self):
        if not self.is_alive():
            raise Failed(f"xl2tpd ended: {(self.network.scratch / 'xl2tpd.log').read_text()[-1500:]}")
        return ":1701 " in self.network.exec(self.network.server, "ss", "-Hlun")

    def pids(self):
        told = run("ip", "netns", "pids", self.network.server).split()
        return [pid for pid in told if "xl2tpd" in Path(f"/proc/{pid}/comm").read_text()]


SERVERS = {"adit": Adit, "softether": SoftEther, "xl2tpd": Xl2tpd}
