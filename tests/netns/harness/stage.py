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
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
import namespaces
from namespaces import Failed, Namespaces, eventually, expect, run

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


class Stage(Namespaces):
    """The namespaces, and the processes in them; a context that clears everything."""

    count = 0

    def __init__(self, single=False, queues=1):
        Stage.count += 1
        super().__init__(f"{PREFIX}{os.getpid()}-{Stage.count}", queues)
        self.single = single
        self.scratch = SCRATCH / self.tag

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

    def up(self):
        self.client, self.gateway, self.internet = (self.add(end) for end in "cgi")
        self.veth(self.client, "up0", self.gateway, "sub0")
        self.address(self.gateway, "sub0", f"{ENDPOINT}/24", f"{PLAIN_ENDPOINT}/24")
        self.address(self.client, "up0", f"{CLIENT}/24", f"{SECOND_CLIENT}/24")
        self.address(self.client, "up0", f"{CLIENT6}/64", more=["nodad"])
        self.address(self.gateway, "sub0", f"{ENDPOINT6}/64", more=["nodad"])
        if self.single:
            self.internet_behind_the_same_port()
        else:
            self.internet_behind_its_own()

    def internet_behind_the_same_port(self):
        self.internet = self.client
        self.address(self.client, "lo", f"{INTERNET}/32")
        run("ip", "-n", self.client, "route", "add", POOL, "via", ENDPOINT)
        run("ip", "-n", self.gateway, "route", "add", "default", "via", CLIENT)

    def internet_behind_its_own(self):
        self.veth(self.gateway, "net0", self.internet, "net0")
        self.address(self.gateway, "net0", f"{OUTSIDE}/24")
        self.address(self.internet, "net0", f"{INTERNET}/24")
        run("ip", "-n", self.internet, "route", "add", POOL, "via", OUTSIDE)

    def forwards(self, does):
        """Whether the gateway's kernel is a router: it has to be one for `sockets`, and not for `xdp`."""
        self.set_forwarding(self.gateway, does)

    def add_clients(self, count):
        """More addresses of the client's: 10.9.0.101 and following; their range."""
        self.address(self.client, "up0", *(f"10.9.0.{101 + number}/24" for number in range(count)))
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

    def forget(self):
        """Nobody wants to read the files of a story that went well."""
        run("rm", "-rf", self.scratch)


def enter(namespace):
    if LIBC.setns(namespace.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def sweep():
    """Clears what runs that were killed left behind."""
    namespaces.sweep(PREFIX)
    left = [path for path in SCRATCH.glob(f"{PREFIX}*") if not namespaces.is_alive(path.name, PREFIX)]
    for old in sorted(left, key=lambda path: path.stat().st_mtime)[:-KEPT]:
        run("rm", "-rf", old)
