"""Three namespaces on veth, and who is pinned where.

     client                    server                     internet
    ┌──────────────┐          ┌────────────────────┐     ┌──────────────────┐
    │ up0 10.9.0.1 ──────────── sub0          net0 ─────── net0             │
    │              │          │ 10.9.0.2  198.51.100.2   │ 198.51.100.1     │
    └──────────────┘          └────────────────────┘     └──────────────────┘
"""

import os
import tempfile
from pathlib import Path

import namespaces
from namespaces import Namespaces

PREFIX = "adit-compare-"
CLIENT, SERVER = "10.9.0.1", "10.9.0.2"
SUBSCRIBERS = [f"10.9.0.{number}" for number in range(101, 111)]  # of packets: one at each address
OUTSIDE, INTERNET = "198.51.100.2", "198.51.100.1"
POOL = "10.77.0.0/16"
# As network cards do: packets are looked at this often, and not each by itself as veth would.
MODERATION_NS = 100_000

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[-1]
LOAD_CORES = ",".join(str(core) for core in CORES[:-1] or CORES)


class Network(Namespaces):
    count = 0

    def __init__(self, load_io):
        Network.count += 1
        self.load_flags = ["--io", load_io] if load_io != "sockets" else []
        super().__init__(f"{PREFIX}{os.getpid()}-{Network.count}")
        self.directory = tempfile.TemporaryDirectory(prefix=PREFIX)
        self.scratch = Path(self.directory.name)
        self.client, self.server, self.internet = (self.add(end) for end in "csi")
        self.veth(self.client, "up0", self.server, "sub0")
        self.veth(self.server, "net0", self.internet, "net0")
        self.address(self.client, "up0", *(f"{address}/24" for address in [CLIENT, *SUBSCRIBERS]))
        self.address(self.server, "sub0", f"{SERVER}/24")
        self.address(self.server, "net0", f"{OUTSIDE}/24")
        self.address(self.internet, "net0", f"{INTERNET}/24")
        namespaces.run("ip", "-n", self.internet, "route", "add", POOL, "via", OUTSIDE)
        self.moderate(self.client, "up0")
        self.moderate(self.server, "sub0", "net0")
        self.moderate(self.internet, "net0")

    def moderate(self, namespace, *names):
        """Interrupt moderation, where a driver polls: with XDP, that is."""
        for name in names:
            device = f"/sys/class/net/{name}"
            self.exec(namespace, "sh", "-c", f"echo 1000 >{device}/napi_defer_hard_irqs;"
                      f"echo {MODERATION_NS} >{device}/gro_flush_timeout")

    def start_server(self, argv, log):
        return self.start(self.server, ["taskset", "-c", SERVER_CORE, *argv], self.scratch / log)

    def load(self, *argv):
        """The words of a command that runs where the clients are, on the cores of the load."""
        words = ["ip", "netns", "exec", self.client, "taskset", "-c", LOAD_CORES, *argv]
        return [str(word) for word in words]

    def down(self):
        super().down()
        self.directory.cleanup()
