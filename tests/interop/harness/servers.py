"""Who answers: Adit, which is under test, or a server that others wrote.

All have the same verbs: `start`, `verify` after everybody has hung up, `stop`, `abandon`
when something failed, `down`. Adit and the reference leave their keys in keys.toml.
"""

import json
import os
import re
import subprocess

from . import reference_keys
from .network import ENDPOINT, GATEWAY_OUTSIDE, LAB, Failed, eventually, run
from .peer import Peer
from namespaces import binary

START_S = 15
STOP_S = 5  # promised by the gateway for SIGTERM

# Reasons for which no frame may be discarded in a lab without loss, forgery or strangers.
NEVER = {
    "Truncated", "BadChecksum", "StrangerLimited", "PuntLimited", "PuntFull", "ParcelFull",
    "ShardInTransit", "TooManyMoves",
    "BadEspLength", "Replayed", "NotAuthentic", "BadPadding", "NotUdp", "WrongEndpoint", "NoOutboundSa", "SaExhausted",
    "L2tpVersion", "L2tpMalformed", "WrongPorts", "OutOfOrder", "PppMalformed",
    "IpMalformed", "IpChecksum", "SourceForged", "TunnelInTunnel",
    "NoChunk", "NoHeadroom", "NoPort", "SendFull", "SendTooLong",
}
ENDING = {"ending", "lingering"}  # states in which a row only answers retransmissions


def config(variant, io, workers):
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
        # The gateway renews an SA at 80 percent of its lifetime, as [rekey] says.
        listener.append(f'ike = {{ phase2_lifetime = "{variant.gateway_rekey_s * 100 // 80}s" }}')
    ports = [f'[[port]]\ninterface = "{name}"\n' for name in ("sub0", "net0")] if io == "xdp" else []
    return "\n".join([
        f'[gateway]\nio = "{io}"\ncontrol = "adit.sock"\n',
        f'[workers]\ncount = {workers}\nidle = "park"\n',
        "[rekey]\nsoft_percent = 80\n",
        *ports,
        "[[listener]]", *listener, "",
        '[[pool]]\nname = "main"\naddresses = "10.77.0.0/24"\ngateway = "10.77.0.1"\ndns = ["192.0.2.53"]\n',
        '[[user]]\nname = "alice"\npassword = "wonder-land"\n',
    ])


class Adit:
    """`adit run` in the gateway's namespace, one process per variant."""

    def __init__(self, network, options):
        self.network, self.options, self.process = network, options, None
        self.binary = binary("adit")

    def start(self, variant, directory):
        file, self.socket = directory / "config.toml", directory / "adit.sock"
        text = config(variant, self.options.io, self.options.workers)
        file.write_text(text.replace('"adit.sock"', f'"{self.socket}"'))
        self.log = directory / "gateway.log"
        run(self.binary, "check", file)
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

    def left(self, table):
        """Rows of a table that are more than the memory of what has ended."""
        return [row for row in self.show(table)[table] if row.get("state") not in ENDING]

    def verify(self):
        for table in ("sessions", "tunnels", "sas"):
            eventually(f"no {table} left", lambda: not self.left(table), 5)
        faults = self.show("pools", "--verify")["verified"]
        if faults:
            raise Failed(f"the pool is not whole: {faults}")
        counted = {row["name"]: row["frames"] for row in self.show("discards")["discards"]}
        if unknown := NEVER - counted.keys():
            raise Failed(f"the gateway does not count {unknown}")
        bad = {name: frames for name, frames in counted.items() if frames and name in NEVER}
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


class Reference:
    """strongSwan + xl2tpd + pppd in a peer that stands where the gateway would."""

    def __init__(self, network, _):
        nics = [(f"gw{os.getpid() % 10**6}a", "brsub", f"{ENDPOINT}/24"),
                (f"gw{os.getpid() % 10**6}b", "brnet", f"{GATEWAY_OUTSIDE}/24")]
        self.peer = Peer(f"{network.tag}-gateway", network.gateway, nics)

    def start(self, variant, directory):
        options = variant.reference or variant.options
        self.peer.do(f"/lab/l2tp-peer server --local {ENDPOINT} --keys {options}")

    def verify(self):
        eventually("no session left", lambda: " ppp" not in self.peer.do("ip -o -4 addr"), 15)
        eventually("no SA left", lambda: not self.peer.do("ip xfrm state"), 5)

    def stop(self, directory):
        self.abandon()

    def abandon(self):
        self.peer.do("/lab/l2tp-peer stop")

    def save_logs(self, directory):
        """The daemons' logs, and the keys in them in the form of Adit's key log."""
        self.peer.save_logs(directory / "reference")
        keys = reference_keys.key_log(directory / "reference", directory / "capture.pcap")
        (directory / "keys.toml").write_text(keys)

    def down(self):
        self.peer.stop()


class SoftEther:
    """A whole L2TP/IPsec server in user space, in the gateway's namespace."""

    def __init__(self, network, _):
        self.network, self.process = network, None

    def start(self, variant, directory):
        log = directory / "softether.log"
        command = [LAB / "run-softether", ENDPOINT, directory / "softether"]
        self.process = self.network.start(self.network.gateway, command, log)
        eventually("SoftEther is ready", lambda: "ready" in log.read_text(), 40)

    def verify(self):
        pass

    def stop(self, directory):
        self.abandon()

    def abandon(self):
        if self.process in self.network.processes:
            self.network.stop(self.process, 10)

    def save_logs(self, directory):
        pass

    def down(self):
        pass


SERVERS = {"adit": Adit, "reference": Reference, "softether": SoftEther}
