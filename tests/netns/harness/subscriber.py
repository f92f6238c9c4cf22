"""Those who dial in: one whose every packet a story makes itself, and many of `adit-lab`."""

import json
import socket
import struct
import subprocess
import sys
import time
import warnings
from argparse import Namespace
from pathlib import Path

# The probe knows that DES is old.
warnings.filterwarnings("ignore", message="TripleDES")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "interop/lab/probe"))
from ike import Exchange
from l2tp import Call
from ppp import IP, Link, checksum
from wire import Wire

from .gateway import PASSWORD, PSK, USER, binary
from .stage import CLIENT, ENDPOINT, PLAIN_ENDPOINT, Failed, expect

UP_S, REPEAT_S = 15, 1.0
ANSWER_S = 5  # on a machine with other work
ICMP, UDP = 1, 17


class Subscriber:
    """A client in user space (the interop probe): no kernel ESP, L2TP or PPP."""

    def __init__(self, stage, carrier="plain", local=CLIENT, **options):
        chosen = {
            "server": PLAIN_ENDPOINT if carrier == "plain" else ENDPOINT, "local": local,
            "psk": PSK, "user": USER, "password": PASSWORD, "auth": "chap",
            "ike_cipher": "aes", "ike_bits": 256, "ike_hash": "sha1", "group": 14,
            "esp_cipher": "aes", "esp_bits": 128, "esp_integrity": "sha1", "pfs": False, "mode": 0,
            "no_natt": carrier == "esp", "fake_nat": carrier == "natt", "raw_esp": carrier == "esp",
            "ike_port": 500, "natt_port": 4500, "l2tp_port": 1701, "tunnel_id": 0,
            "mru": 1400, "acfc": False, "request_ip": "0.0.0.0",
        }
        self.options = Namespace(**{**chosen, **options})
        with stage.inside(stage.client):
            self.wire = Wire(self.options.server, local, self.options)
        self.exchange = None if carrier == "plain" else Exchange(self.wire, self.options, self.log)
        self.call = Call(self.wire, self.options, self.log)
        self.link = Link(self.call, self.options, self.log)

    def log(self, text):
        pass

    @property
    def address(self):
        return self.link.address

    def dial(self):
        if self.exchange:
            self.exchange.main_mode()
            self.exchange.quick_mode()
        self.call.dial()
        end, repeated = time.monotonic() + UP_S, time.monotonic()
        while not (self.link.up and self.link.gateway):
            now = time.monotonic()
            expect(now < end, f"PPP is not up after {UP_S} s")
            if self.call.established and self.link.lcp_id == 0:
                self.link.repeat()
            elif now - repeated > REPEAT_S:
                self.call.repeat()
                if self.call.established:
                    self.link.repeat()
                repeated = now
            self.turn(0.05)
        return self

    def turn(self, seconds):
        """Takes one packet from the wire to where it belongs; echo requests are answered."""
        kind, packet = self.wire.receive(seconds) or (None, b"")
        if kind == "ike" and self.exchange:
            self.exchange.informational(packet)
        elif kind == "l2tp":
            frame = self.call.handle_input(packet)
            if frame:
                self.link.handle_input(frame)
        for inner in self.link.received:
            self.answer(inner)

    def answer(self, packet):
        header = (packet[0] & 15) * 4
        if packet[9] == ICMP and packet[header] == 8:
            self.link.received.remove(packet)
            body = b"\0\0\0\0" + packet[header + 4 :]
            body = body[:2] + checksum(body) + body[4:]
            self.send(packet[12:16], ICMP, body)

    def send(self, to, protocol, body, ttl=64, flags=0):
        """An IP packet into the tunnel."""
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 7, flags, ttl, protocol, 0,
                           socket.inet_aton(self.address), to)
        self.link.send(IP, head[:10] + checksum(head) + head[12:] + body)

    def send_udp(self, to, port, text, source=4000):
        address = socket.inet_aton(to)
        length = 8 + len(text)
        pseudo = socket.inet_aton(self.address) + address + struct.pack("!BBH", 0, UDP, length)
        datagram = struct.pack("!HHHH", source, port, length, 0) + text
        datagram = datagram[:6] + checksum(pseudo + datagram) + datagram[8:]
        self.send(address, UDP, datagram)

    def ask(self, to, port, text, seconds=ANSWER_S):
        """A question in UDP; the answer, or None."""
        self.link.received.clear()
        self.send_udp(to, port, text)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn(0.05)
            for packet in self.link.received:
                if packet[9] == UDP and packet[12:16] == socket.inet_aton(to):
                    return packet[28:]
        return None

    def pings(self, to, number=1, seconds=ANSWER_S, size=56):
        """Whether an echo comes back."""
        self.link.received.clear()
        self.link.ping(to, number, size)
        end = time.monotonic() + seconds
        while not self.link.pong(number) and time.monotonic() < end:
            self.turn(0.05)
        return self.link.pong(number)

    def serve_while(self, process):
        """Is a subscriber while another process works; its status."""
        while process.poll() is None:
            self.turn(0.02)
        return process.returncode

    def hang_up(self):
        self.call.hang_up()
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            try:
                self.turn(0.05)
            except SystemExit:
                break
        if self.exchange:
            self.exchange.close()


class Crowd:
    """Clients of `adit-lab dial`."""

    def __init__(self, stage, carrier, local, *more, core=None):
        target = PLAIN_ENDPOINT if carrier == "plain" else ENDPOINT
        pin = [] if core is None else ["taskset", "-c", core]
        argv = [*pin, binary("adit-lab"), "dial", "--target", target, "--encapsulation", carrier,
                "--local", local, "--psk", PSK, "--user", USER, "--password", PASSWORD, "--json", *more]
        words = ["ip", "netns", "exec", stage.client, *map(str, argv)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        stdin=subprocess.DEVNULL, start_new_session=True)
        stage.processes.append(self.process)

    def report(self, seconds=60):
        """What it measured, when it has ended well."""
        try:
            told, faults = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"adit-lab has not ended within {seconds} s") from None
        expect(self.process.returncode == 0, f"adit-lab: {faults[-1000:]} {told[-1500:]}")
        return json.loads(told)
