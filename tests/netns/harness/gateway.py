"""The gateway under test: a configuration, the process, and what it says of itself."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from .stage import ENDPOINT, GATEWAY_INSIDE, PLAIN_ENDPOINT, POOL, Failed, eventually, expect, run
from namespaces import binary

START_S, STOP_S = 20, 5
PSK, USER, PASSWORD = "netns-psk", "alice", "wonder-land"
IO = ("sockets", "xdp")


def config(io, socket, ports=("sub0", "net0"), workers=1, idle="park", more=""):
    """A configuration with a listener for IPsec and one for plain L2TP, as TOML."""
    interfaces = "".join(f'[[port]]\ninterface = "{name}"\n' for name in ports) if io != "sockets" else ""
    return f"""
[gateway]
io = "{io}"
control = "{socket}"
[workers]
count = {workers}
idle = "{idle}"
{interfaces}
[log]
level = "debug"
[[listener]]
name = "secured"
address = "{ENDPOINT}"
auth = ["mschapv2", "chap", "pap"]
psk = [{{ peer = "any", secret = "{PSK}" }}]
pool = "main"
[[listener]]
name = "plain"
address = "{PLAIN_ENDPOINT}"
ipsec = "off"
auth = ["mschapv2", "chap", "pap"]
pool = "main"
[[profile]]
name = "many"
sessions = 1000
pools = ["main"]
[[pool]]
name = "main"
addresses = "{POOL}"
gateway = "{GATEWAY_INSIDE}"
quarantine = "0s"
[[user]]
name = "{USER}"
password = "{PASSWORD}"
profile = "many"
{more}
"""


class Gateway:
    """`adit run` in the gateway's namespace of a stage."""

    def __init__(self, stage, io, name="adit", before=(), **settings):
        self.stage, self.io, self.before = stage, io, [*before]
        self.socket = stage.scratch / f"{name}.sock"
        self.log = stage.scratch / f"{name}.log"
        self.file = stage.scratch / f"{name}.toml"
        if stage.single:
            settings.setdefault("ports", ("sub0",))
        self.file.write_text(config(io, self.socket, **settings))
        self.process = None
        stage.forwards(io == "sockets")

    def start(self):
        self.launch()
        eventually("the gateway answers on its socket", self.answers, START_S)
        return self

    def launch(self):
        self.process = self.stage.start(self.stage.gateway, [*self.before, binary("adit"), "run", self.file], self.log)

    def answers(self):
        if self.process.poll() is not None:
            raise Failed(f"the gateway ended at start:\n{self.said()[-1500:]}")
        argv = [binary("adit"), "show", "status", "--socket", self.socket]
        return subprocess.run(argv, capture_output=True).returncode == 0

    def refuses(self, seconds=START_S):
        """It ends by itself; its status and what it said."""
        self.launch()
        status = self.process.wait(seconds)
        expect(status != 0, "it ended well")
        return status, self.said()

    def said(self):
        return self.log.read_text(errors="replace")

    # ---- asking
    def show(self, *what):
        """`adit show …` as JSON."""
        return json.loads(run(binary("adit"), "show", *what, "--json", "--socket", self.socket))

    def counted(self, name):
        """Frames that were discarded for a reason."""
        rows = self.show("discards", "--all")["discards"]
        return next(row["frames"] for row in rows if row["name"] == name)

    def discards(self):
        return {row["name"]: row["frames"] for row in self.show("discards")["discards"] if row["frames"]}

    def workers(self):
        return self.show("workers")["workers"]

    def is_empty(self):
        """Nobody is left, and the pool knows it."""
        ending = {"ending", "lingering"}
        rows = [row for table in ("sessions", "sas") for row in self.show(table)[table]]
        return all(row.get("state") in ending for row in rows) and not self.show("pools", "--verify")["verified"]

    def cpu_seconds(self):
        """Processor time of all its threads so far."""
        fields = Path(f"/proc/{self.pid()}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # ---- signals
    def pid(self):
        """`ip netns exec` and setpriv become the gateway by exec."""
        return self.process.pid

    def signal(self, number):
        os.kill(self.pid(), number)

    def stop(self, seconds=STOP_S):
        """SIGTERM; how long it took."""
        start = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"SIGTERM did not end the gateway within {seconds} s") from None
        expect(status == 0, lambda: f"it ended with status {status}:\n{self.said()[-1500:]}")
        expect(" panicked" not in self.said(), "it panicked")
        return time.monotonic() - start

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()
