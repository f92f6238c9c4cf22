"""What comes from outside in unusual shape: fragments of the outer packets, other neighbours."""

import os
import re
import socket
import struct
import subprocess
import time

from harness import talk
from harness.gateway import IO, Gateway
from harness.stage import CLIENT, ENDPOINT, INTERNET, SECOND_CLIENT, eventually, expect
from harness.subscriber import Subscriber, checksum

from .telling import story

# The kernel alone takes up to a minute; where it sees no traffic of ours, we have it ask sooner,
# every 15 s, which takes two rounds.
MAC_PATIENCE_S = {"sockets": 60, "xdp": 40}


def ip_packet(source, protocol, body, identification):
    addresses = socket.inet_aton(source) + socket.inet_aton(ENDPOINT)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), identification, 0, 64, protocol, 0)
    return head + addresses + body


def sender(stage):
    """A socket that sends IP packets as they are; the kernel fills the checksum in."""
    with stage.inside(stage.client):
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def send_in_fragments(raw, packet, size=600):
    for piece in talk.fragments(packet, size):
        raw.sendto(piece, (ENDPOINT, 0))


@story("an IKE message of 3000 octets arrives in fragments and is answered", IO)
def long_ike(stage, io):
    Gateway(stage, io).start()
    client = Subscriber(stage, "esp")
    # An offer that is made long by vendor IDs which nobody knows.
    exchange, plain_send = client.exchange, client.exchange.send
    sizes = []

    def send_long(first, kind, flags, message_id, body):
        if flags == 0 and first == 1:
            at, last = 0, 0
            while at < len(body):
                last, at = at, at + struct.unpack_from("!H", body, at + 2)[0]
            body = body[:last] + bytes([13]) + body[last + 1 :]
            for number in range(5):
                following = 13 if number < 4 else 0
                body += struct.pack("!BBH", following, 0, 4 + 560) + os.urandom(560)
            sizes.append(28 + len(body))
        plain_send(first, kind, flags, message_id, body)

    exchange.send = send_long
    client.dial()
    expect(sizes and sizes[0] >= 2900, f"it was not long: {sizes}")
    expect(client.pings(INTERNET), "no echo")


@story("ESP in fragments, raw and in UDP, is opened", IO)
def fragmented_esp(stage, io):
    gateway = Gateway(stage, io).start()
    for carrier, local in (("esp", CLIENT), ("natt", SECOND_CLIENT)):
        client = Subscriber(stage, carrier, local).dial()
        raw = sender(stage)

        def send_l2tp(packet):
            port = client.options.l2tp_port
            esp = client.wire.outbound.seal(struct.pack("!HHHH", port, 1701, 8 + len(packet), 0) + packet)
            if carrier == "natt":
                esp = struct.pack("!HHHH", client.options.natt_port, 4500, 8 + len(esp), 0) + esp
            protocol, number = (50 if carrier == "esp" else 17), client.wire.outbound.sequence
            send_in_fragments(raw, ip_packet(local, protocol, esp, number))

        client.wire.send_l2tp = send_l2tp
        lost = sum(not client.pings(INTERNET, number, size=1300) for number in range(10))
        expect(lost == 0, f"{carrier}: {lost} of 10 echoes in fragments lost; {gateway.discards()}")


def frag_needed(client, mtu):
    """What a router on the way says about an ESP packet that was too long for it."""
    addresses = socket.inet_aton(ENDPOINT) + socket.inet_aton(CLIENT)
    quoted = struct.pack("!BBHHHBBH", 0x45, 0, 1400, 0, 0x4000, 63, 50, 0) + addresses
    quoted += client.wire.inbound.spi + bytes([0, 0, 0, 1])
    body = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted
    return body[:2] + checksum(body) + body[4:]


# conformance: 3193-09
@story("a router with a small MTU makes packets for a subscriber smaller, inside the tunnel", IO)
def small_mtu(stage, io):
    Gateway(stage, io).start()
    client = Subscriber(stage, "esp").dial()

    def ping(size):
        argv = ["ip", "netns", "exec", stage.internet, "ping", "-M", "do", "-s", size, "-c", 1, "-W", 2, client.address]
        process = subprocess.Popen([str(word) for word in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        client.serve_while(process)
        return process.stdout.read()

    expect(" 0% packet loss" in ping(1300), "an echo of 1300 octets is lost")
    with stage.inside(stage.client):
        router = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    router.sendto(frag_needed(client, 1200), (ENDPOINT, 0))
    told = eventually("the sender is told", lambda: re.search(r"[Ff]rag needed.*mtu = (\d+)|mtu=(\d+)", ping(1300)), 10)
    mtu = int(told[1] or told[2])
    # AES-CBC with SHA1 leaves 1114 of 1200 octets.
    expect(mtu == 1114, f"the sender is told of {mtu} octets")
    expect(" 0% packet loss" in ping(mtu - 28), f"an echo of {mtu} octets is lost")
    return f"the sender is told of {mtu} octets"


@story("the next hop's MAC address changes without a word, and traffic is back within 60 s", IO)
def new_mac(stage, io):
    Gateway(stage, io).start()
    client = Subscriber(stage).dial()
    expect(client.pings(INTERNET), "no echo before")
    stage.exec(stage.gateway, "ip", "route", "add", "203.0.113.0/24", "via", INTERNET)
    stage.exec(stage.internet, "ip", "addr", "add", "203.0.113.1/32", "dev", "lo")
    eventually("a host behind the next hop answers", lambda: client.pings("203.0.113.1", 2, 1), 5)
    # Not by `ip link set address`, which tells everybody: the device that is there is another.
    stage.exec(stage.internet, "sysctl", "-qw", "net.ipv4.conf.net0.arp_notify=0")
    stage.exec(stage.internet, "ip", "link", "set", "net0", "address", "02:00:00:00:00:99")
    start = time.monotonic()
    for to in ("203.0.113.1", INTERNET):
        left = start + MAC_PATIENCE_S[io] - time.monotonic()
        eventually(f"{to} answers again", lambda: client.pings(to, int(time.monotonic()) & 0x7FFF, 1), left)
    return f"back after {time.monotonic() - start:.0f} s"


@story("a neighbour that nobody knows yet is resolved, whether or not the host forwards", IO)
def unknown_neighbour(stage, io):
    Gateway(stage, io).start()
    client = Subscriber(stage).dial()
    for forwards in (0, 1) if io == "xdp" else (1,):
        stage.forwards(forwards)
        address = f"198.51.100.{10 + forwards}"
        stage.exec(stage.internet, "ip", "addr", "add", f"{address}/24", "dev", "net0")
        expect(client.pings(address, 20 + forwards), f"the first echo is lost (ip_forward={forwards})")
        expect(client.pings(address, 30 + forwards), f"the second echo is lost (ip_forward={forwards})")
