"""How the process begins, rests and ends."""

import re
import signal
import time

from harness.gateway import IO, STOP_S, Gateway
from harness.stage import CLIENT, INTERNET, SECOND_CLIENT, eventually, expect, run
from harness.subscriber import Subscriber

from .telling import story

SERVICE_USER = 65534
RIGHTS = "+net_admin,+net_raw,+bpf,+ipc_lock"


@story("a bad configuration starts nothing and names every fault", ("xdp",))
def bad_config(stage, io):
    gateway = Gateway(stage, io, more='[[pool]]\nname = "main"\nadresses = "10.1.0.0/16"\n')
    status, said = gateway.refuses()
    expect(status == 2, f"the status is {status}")
    expect(len(re.findall(r"adit\.toml:\d+: pool\[1\]", said)) >= 2, f"not every fault has its line: {said}")
    links = stage.exec(stage.gateway, "ip", "-d", "link")
    expect("adit0" not in links and "xdp" not in links, f"something was started: {links}")


@story("of two gateways on one port the second says who holds it", IO)
def two_gateways(stage, io):
    first = Gateway(stage, io).start()
    _, said = Gateway(stage, io, "second").refuses()
    expect("UDP 10.9.0.2:500" in said, f"it does not say which port: {said}")
    expect(f"adit (process {first.pid()})" in said, f"it does not say who: {said}")
    client = Subscriber(stage).dial()
    expect(client.pings(INTERNET), "the first one is disturbed")


@story("a service user with four capabilities runs it", IO)
def service_user(stage, io):
    run("chmod", "0777", stage.scratch)
    user = f"--reuid={SERVICE_USER}", f"--regid={SERVICE_USER}", "--clear-groups"
    rights = f"--inh-caps=-all,{RIGHTS}", f"--ambient-caps=-all,{RIGHTS}", f"--bounding-set=-all,{RIGHTS}"
    # Where the machine keeps /dev/net/tun to root, the story has one as distributions have it.
    run("mknod", "-m", "0666", stage.scratch / "tun", "c", 10, 200)
    bind = f"mount --bind {stage.scratch}/tun /dev/net/tun && exec \"$@\""
    before = ["sh", "-c", bind, "sh", "setpriv", *user, *rights, "--no-new-privs"]
    gateway = Gateway(stage, io, before=before).start()
    with open(f"/proc/{gateway.pid()}/status") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    expect(status["Uid"].split()[1] == str(SERVICE_USER), status["Uid"])
    # 12, 13, 14 and 39 of linux/capability.h.
    expect(int(status["CapEff"], 16) == 1 << 12 | 1 << 13 | 1 << 14 | 1 << 39, status["CapEff"])
    for carrier, local in (("plain", CLIENT), ("esp", SECOND_CLIENT)):
        client = Subscriber(stage, carrier, local).dial()
        expect(client.pings(INTERNET), f"{carrier}: no echo")
    gateway.stop()


@story("a log that nobody takes ends nothing", ("sockets",))
def full_disk(stage, io):
    gateway = Gateway(stage, io, before=["sh", "-c", 'exec "$@" 2>/dev/full', "sh"]).start()
    client = Subscriber(stage).dial()
    expect(client.pings(INTERNET), "no echo")
    gateway.stop()


@story("SIGTERM ends it within 5 s, after a goodbye to everybody", IO)
def goodbye(stage, io):
    gateway = Gateway(stage, io).start()
    plain = Subscriber(stage).dial()
    secured = Subscriber(stage, "esp", SECOND_CLIENT).dial()
    gateway.signal(signal.SIGTERM)
    for client in (plain, secured):
        expect(says_goodbye(client), "a subscriber was not told")
    expect(gateway.process.wait(STOP_S) == 0, "the status is not 0")
    expect("xdp" not in stage.exec(stage.gateway, "ip", "link"), "a program is still attached")
    expect("managed" not in stage.exec(stage.gateway, "ip", "neigh"), "the kernel still asks for neighbours")


@story("a second signal ends it at once", IO)
def in_a_hurry(stage, io):
    gateway = Gateway(stage, io).start()
    # Does not answer any more, so that the goodbye would take its time.
    Subscriber(stage).dial()
    gateway.signal(signal.SIGTERM)
    eventually("it says goodbye", lambda: "saying goodbye to everybody" in gateway.said(), 5)
    expect(gateway.process.poll() is None, "there was nobody to wait for")
    start = time.monotonic()
    gateway.signal(signal.SIGTERM)
    gateway.process.wait(2)
    expect(time.monotonic() - start < 1, "that was not at once")


@story("an idle gateway that parks uses next to nothing of the processor", IO)
def idle(stage, io):
    used = {}
    for manner, local in (("spin", CLIENT), ("park", SECOND_CLIENT)):
        gateway = Gateway(stage, io, manner, idle=manner).start()
        Subscriber(stage, "plain", local).dial()
        time.sleep(0.5)
        before = gateway.cpu_seconds()
        time.sleep(2)
        used[manner] = gateway.cpu_seconds() - before
        gateway.kill()
    expect(used["park"] * 20 < used["spin"], f"processor seconds in two: {used}")
    return f"parked {used['park']:.2f} s, spinning {used['spin']:.2f} s of the processor in 2 s"


@story("the first ESP packet right after quick mode message 2 is opened by a parked worker", IO)
def first_packet(stage, io):
    gateway = Gateway(stage, io).start()
    client = Subscriber(stage, "esp")
    for _ in range(5):
        client.exchange.main_mode()
        time.sleep(0.3)  # everybody is asleep
        parks = gateway.workers()[0]["parks"]
        # Sends message 3 and, a moment later, the first ESP packet: SCCRQ.
        client.exchange.quick_mode()
        client.call.dial()
        kind, packet = answer(client)
        expect(kind == "l2tp" and packet[:2] == b"\xc8\x02", "SCCRQ was not answered")
        expect(parks > 0, "the worker never parked")
        client.exchange.close()
        client.wire.inbound = client.wire.outbound = None
        client.wire.floated = False
        client = fresh(stage, client)
    lost = {name: gateway.counted(name) for name in ("UnknownSpi", "NoPath") if name in gateway.discards()}
    expect(not lost, f"ESP was discarded: {lost}")


def answer(client, seconds=0.9):
    """The first packet that is no IKE; sooner than anybody sends again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = client.wire.receive(0.1)
        if got and got[0] == "l2tp":
            return got
    return None, b""


def fresh(stage, client):
    """The same client, dialling anew."""
    for one in (client.wire.ike, client.wire.natt, client.wire.l2tp, client.wire.raw):
        one.close()
    return Subscriber(stage, "esp")


def says_goodbye(client, seconds=5):
    """Whether the gateway ends the call: PPP, CDN, StopCCN or an IKE delete."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            client.turn(0.05)
    except SystemExit:
        return True
    return False
