"""The host beside the gateway: its own traffic, its way to subscribers and theirs to it."""

import signal
import subprocess

from harness import talk
from harness.gateway import IO, Gateway
from harness.stage import (CLIENT, CLIENT6, ENDPOINT, ENDPOINT6, GATEWAY_INSIDE, INTERNET, OUTSIDE, SECOND_CLIENT,
                           eventually, expect)
from harness.subscriber import Subscriber

from .telling import story

POOL_OCTETS = bytes([10, 77, 0])


def undisturbed(stage, when):
    """ssh-like, DNS-like, ARP, ping and IPv6 between the client and the endpoint address."""
    for space in (stage.client, stage.gateway):
        stage.exec(space, "ip", "neigh", "flush", "all")
    ways = [(stage.client, CLIENT, ENDPOINT), (stage.gateway, ENDPOINT, CLIENT)]
    for space, source, to in ways:
        expect(talk.ssh(stage, space, source, to), f"{when}: no TCP from {source} to {to}")
        for size in (60, 1472, 1473, 6000):
            expect(talk.dns(stage, space, source, to, size), f"{when}: no UDP of {size} octets from {source} to {to}")
        stage.exec(space, "ping", "-c", 2, "-i", 0.1, "-W", 2, "-I", source, to)
        stage.exec(space, "ping", "-c", 1, "-W", 2, "-s", 4000, "-I", source, to)
    stage.exec(stage.client, "ping", "-6", "-c", 2, "-i", 0.1, "-W", 2, ENDPOINT6)
    stage.exec(stage.gateway, "ping", "-6", "-c", 1, "-W", 2, "-s", 4000, CLIENT6)


@story("ssh, DNS, fragments, ARP, ping and IPv6 of the host go on while the gateway runs, hangs and is killed", IO)
def host_traffic(stage, io):
    for space, address in ((stage.gateway, ENDPOINT), (stage.client, CLIENT)):
        talk.serve_tcp(stage, space, address)
        talk.serve_udp(stage, space, address)
    undisturbed(stage, "before")
    gateway = Gateway(stage, io).start()
    client = Subscriber(stage).dial()
    undisturbed(stage, "while it runs")
    expect(client.pings(INTERNET, 2), "the subscriber beside it is not undisturbed")
    gateway.signal(signal.SIGSTOP)
    undisturbed(stage, "while it hangs")
    gateway.signal(signal.SIGCONT)
    # The neighbours were flushed behind its back: what is under way may be lost.
    eventually("the subscriber comes back", lambda: client.pings(INTERNET, 3, 1), 10)
    gateway.kill()
    undisturbed(stage, "after kill -9")


@story("the host pings a subscriber, and a subscriber asks a DNS server on the host", IO)
def host_and_subscriber(stage, io):
    Gateway(stage, io).start()
    client = Subscriber(stage).dial()
    argv = ["ip", "netns", "exec", stage.gateway, "ping", "-c", "3", "-i", "0.2", "-W", "2", client.address]
    ping = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    expect(client.serve_while(ping) == 0, "the host's ping is not answered")
    expect(client.pings(GATEWAY_INSIDE), "the gateway's own inner address is silent")
    for address in (OUTSIDE, GATEWAY_INSIDE):
        talk.serve_udp(stage, stage.gateway, address)
        expect(client.ask(address, talk.DNS, b"who is it?") == b"?ti si ohw", f"no answer from {address}")
    expect(client.pings(OUTSIDE, 5), "the host's outer address is silent")


@story("when the gateway is stopped, a pool address is unreachable, and nothing loops or leaves in clear", IO)
def stopped(stage, io):
    gateway = Gateway(stage, io).start()
    # A router would send a pool address on if nothing stopped it.
    stage.forwards(True)
    stage.exec(stage.gateway, "ip", "route", "replace", "default", "via", INTERNET)
    client = Subscriber(stage).dial()
    expect(client.pings(INTERNET), "no echo while it runs")
    gateway.kill()
    ears = [talk.Ear(stage, stage.client, "up0"), talk.Ear(stage, stage.internet, "net0")]
    told = stage.exec(stage.internet, "ping", "-c", 2, "-i", 0.2, "-W", 1, client.address, check=False)
    expect("Unreachable" in told and f"From {OUTSIDE}" in told, f"the pool address is not unreachable: {told}")
    in_clear = [packet for packet in ears[0].heard() if talk.mentions(packet, POOL_OCTETS)]
    expect(not in_clear, "a packet for a subscriber left towards the clients in clear")
    echoes = [p for p in ears[1].heard() if talk.mentions(p, POOL_OCTETS) and p[9] == 1 and p[20] == 8]
    expect(len(echoes) == 2, f"2 echo requests were {len(echoes)} on the wire")


@story("while it hangs, nothing for a subscriber leaves in clear", ("xdp",))
def hangs(stage, io):
    gateway = Gateway(stage, io).start()
    client = Subscriber(stage).dial()
    ears = [talk.Ear(stage, stage.client, "up0"), talk.Ear(stage, stage.internet, "net0")]
    gateway.signal(signal.SIGSTOP)
    stage.exec(stage.internet, "ping", "-c", 3, "-i", 0.2, "-W", 1, client.address, check=False)
    echoes = [packet for packet in ears[1].heard() if talk.mentions(packet, POOL_OCTETS)]
    expect(len(echoes) >= 3, f"3 echo requests were {len(echoes)} on the wire")
    in_clear = [packet for packet in ears[0].heard() if talk.mentions(packet, POOL_OCTETS)]
    expect(not in_clear, "a packet for a subscriber left in clear")
    gateway.signal(signal.SIGCONT)
    eventually("the subscriber is served again", lambda: client.pings(INTERNET, 9, 1), 10)


@story("one port carries both sides", ("xdp", "sockets"), single=True)
def one_port(stage, io):
    Gateway(stage, io).start()
    for carrier, local in (("plain", CLIENT), ("esp", SECOND_CLIENT)):
        client = Subscriber(stage, carrier, local).dial()
        lost = sum(not client.pings(INTERNET, number) for number in range(20))
        expect(lost == 0, f"{carrier}: {lost} of 20 echoes lost")
