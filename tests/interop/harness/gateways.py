"""What is under test: Adit, or the reference server that proves the harness itself.

Both have the same verbs: start, sessions, verify, stop, and leave a key log behind.
"""

import json
import os
import re
import subprocess
from pathlib import Path

from . import reference_keys
from .network import ENDPOINT, GATEWAY_OUTSIDE, LAB, Failed, eventually, run
from .peer import Peer

ROOT = Path(__file__).resolve().parents[3]
START_S = 15
STOP_S = 5  # promised by the gateway for SIGTERM

# Reasons for which a gateway may discard a frame while all is well: none of these may
# count in a lab without loss, forgery or strangers.
NEVER_DISCARDED = re.compile(r"authentic|icv|replay|malformed|truncat|checksum|spi|spoof|pool|full|capacity", re.I)


def config(variant, io):
    """The gateway's configuration for a variant, as TOML."""
    listener = [
        'name = "remote-access"',
        f'address = "{ENDPOINT}"',
        f'ipsec = "{"required" if variant.ipsec else "off"}"',
        'auth = ["mschapv2", "chap", "pap"]',
        'pool = "main"',
    ]
    if variant.ipsec:
        listener.append(f'policy = "{variant.policy}"')
        listener.append('psk = [{ peer = "any", secret = "lab-psk" }]')
    if variant.l2tp_secret:
        listener.append(f'l2tp = {{ secret = "{variant.l2tp_secret}" }}')
    if variant.gateway_rekey_s:
        listener.append(f'lifetimes = {{ esp = "{variant.gateway_rekey_s}s" }}')
    ports = [f'[[port]]\ninterface = "{name}"\n' for name in ("sub0", "net0")] if io == "xdp" else []
    return "\n".join([
        f'[gateway]\nio = "{io}"\ncontrol = "adit.sock"\n',
        '[workers]\ncount = 1\nidle = "park"\n',
        *ports,
        "[[listener]]", *listener, "",
        '[[pool]]\nname = "main"\naddresses = "10.77.0.0/24"\ngateway = "10.77.0.1"\ndns = ["192.0.2.53"]\n',
        '[[user]]\nname = "alice"\npassword = "wonder-land"\n',
    ])


class Adit:
    """`adit run` in the gateway's namespace, one process per variant."""

    def __init__(self, network, io):
        self.network, self.io, self.process = network, io, None
        self.binary = Path(os.environ.get("ADIT", ROOT / "target/release/adit"))
        if not self.binary.exists():
            raise SystemExit(f"{self.binary} does not exist: cargo build --release, or set ADIT")

    def start(self, variant, directory):
        file, self.socket = directory / "config.toml", directory / "adit.sock"
        file.write_text(config(variant, self.io).replace('"adit.sock"', f'"{self.socket}"'))
        self.log = directory / "gateway.log"
        command = [self.binary, "run", file, "--key-log", directory / "keys.toml"]
        self.process = self.network.start(self.network.gateway, command, self.log)
        eventually("the gateway answers on its socket", self.answers, START_S)

    def answers(self):
        if self.process.poll() is not None:
            raise Failed(f"the gateway ended at start:\n{self.log.read_text()[-1500:]}")
        done = subprocess.run([self.binary, "show", "pools", "--json", "--socket", self.socket], capture_output=True)
        return done.returncode == 0

    def show(self, *what):
        """`adit show …` as JSON."""
        return json.loads(run(self.binary, "show", *what, "--json", "--socket", self.socket) or "null")

    def sessions(self):
        return rows(self.show("sessions"))

    def verify(self):
        """Nobody is left, the pool is whole, and nothing was discarded that should not be."""
        for what in ("sessions", "tunnels", "sas"):
            eventually(f"no {what} left", lambda: not rows(self.show(what)), 5)
        run(self.binary, "show", "pools", "--verify", "--socket", self.socket)
        bad = {reason: count for reason, count in discards(self.show("discards")) if NEVER_DISCARDED.search(reason) and count}
        if bad:
            raise Failed(f"frames were discarded: {bad}")

    def stop(self, directory):
        status = self.network.stop(self.process, STOP_S)
        log = self.log.read_text(errors="replace")
        if status is None:
            raise Failed(f"SIGTERM did not end the gateway within {STOP_S} s")
        if status != 0:
            raise Failed(f"the gateway ended with status {status}:\n{log[-1500:]}")
        wrong = re.search(r".*(panicked| ERROR ).*", log)
        if wrong:
            raise Failed(f"in the gateway's log: {wrong[0]}")

    def save_logs(self, directory):
        pass  # they are written where they belong

    def abandon(self):
        """After a failure: no process is left, whatever state it is in."""
        if self.process in self.network.processes:
            self.network.stop(self.process, STOP_S)

    def down(self):
        pass


def rows(answer):
    """The rows of an answer of `adit show`."""
    return answer["rows"] if isinstance(answer, dict) else answer


def discards(answer):
    """(reason, count) pairs of `adit show discards --json`."""
    for row in rows(answer):
        yield row["reason"], row["count"]


class Reference:
    """strongSwan + xl2tpd + pppd in a peer that stands where the gateway would."""

    def __init__(self, network, io):
        nics = [(f"gw{os.getpid() % 10**6}a", "brsub", f"{ENDPOINT}/24"),
                (f"gw{os.getpid() % 10**6}b", "brnet", f"{GATEWAY_OUTSIDE}/24")]
        self.peer = Peer(f"{network.tag}-gateway", network.gateway, nics)

    def start(self, variant, directory):
        options = variant.reference or variant.client
        self.peer.do(f"/lab/l2tp-peer server --local {ENDPOINT} --keys {options}")

    def sessions(self):
        return [line for line in self.peer.do("ip -o -4 addr").splitlines() if " ppp" in line]

    def verify(self):
        eventually("no session left", lambda: not self.sessions(), 15)
        eventually("no SA left", lambda: not self.peer.do("ip xfrm state"), 5)

    def stop(self, directory):
        self.abandon()

    def abandon(self):
        self.peer.do("/lab/l2tp-peer stop")

    def save_logs(self, directory):
        """The daemons' logs, and the keys in them in the form of Adit's key log."""
        self.peer.save_logs(directory / "reference")
        (directory / "keys.toml").write_text(reference_keys.key_log(directory / "reference", directory / "capture.pcap"))

    def down(self):
        self.peer.stop()
