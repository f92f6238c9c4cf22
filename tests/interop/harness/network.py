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
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
import namespaces
from namespaces import Failed, Namespaces, eventually, run

LAB = Path(__file__).resolve().parent.parent / "lab"
CACHE = Path(os.environ.get("ADIT_LAB_CACHE", "/var/tmp/adit-lab"))

PEER = "10.9.0.1"
PROBE = "10.9.0.3"
LOAD = [f"10.9.0.{number}" for number in range(11, 21)]  # a client of a load each
ENDPOINT = "10.9.0.2"
GATEWAY_OUTSIDE = "198.51.100.2"
INTERNET = "198.51.100.1"
POOL_NET = "10.77.0.0/16"
FLOW_PORT = 5001

PREFIX = "adit-interop-"
KEPT_RESULTS = 10  # runs whose captures and logs are kept


class Network(Namespaces):
    def __init__(self, bridged, queues):
        super().__init__(f"{PREFIX}{os.getpid()}", queues)
        self.client, self.gateway, self.internet = (self.add(end) for end in "cgi")
        self.veth(self.client, "up0", self.gateway, "sub0")
        self.veth(self.gateway, "net0", self.internet, "net0")
        self.bridge(self.client, "br0", "up0")
        self.address(self.client, "br0", f"{PROBE}/24", *(f"{address}/24" for address in LOAD))
        if bridged:
            self.bridge(self.gateway, "brsub", "sub0")
            self.bridge(self.gateway, "brnet", "net0")
        else:
            self.address(self.gateway, "sub0", f"{ENDPOINT}/24")
            self.address(self.gateway, "net0", f"{GATEWAY_OUTSIDE}/24")
            self.set_forwarding(self.gateway, True)
        self.address(self.internet, "net0", f"{INTERNET}/24")
        run("ip", "-n", self.internet, "route", "add", POOL_NET, "via", GATEWAY_OUTSIDE)
        self.start(self.internet, [LAB / "flow", "serve", INTERNET, FLOW_PORT], os.devnull)

    def bridge(self, space, name, member):
        run("ip", "-n", space, "link", "add", name, "type", "bridge")
        run("ip", "-n", space, "link", "set", name, "up")
        run("ip", "-n", space, "link", "set", member, "master", name)


def sweep():
    """Clears what runs that were killed left: their peers, processes and namespaces."""
    for directory in (CACHE / "run").glob(f"{PREFIX}*"):
        if not namespaces.is_alive(directory.name, PREFIX):
            run(LAB / "peer-stop", directory.name, check=False)
            run("rm", "-rf", directory)
    namespaces.sweep(PREFIX)
    results = sorted((CACHE / "results").glob("*"), key=lambda path: path.stat().st_mtime)
    for directory in results[:-KEPT_RESULTS]:
        run("rm", "-rf", directory)
