"""What is lost is named: what the kernel drops in front of the workers too, and nothing else."""

import os
import signal
import socket

from harness.gateway import IO, Gateway
from harness.stage import ENDPOINT, eventually, expect

from .telling import story

# More than any ring or buffer holds while nobody reads it.
FLOOD = 20_000
NEW_S = 5  # the workers count once a second


def sends(stage, space, count, to, text=bytes(900)):
    with stage.inside(space):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(count):
        sender.sendto(text, to)


@story("what the kernel drops while the gateway hangs is counted by name", IO)
def flooded(stage, io):
    gateway = Gateway(stage, io).start()
    names = ("SocketFull",) if io == "sockets" else ("XdpReceiveFull", "XdpFillEmpty")
    expect(not any(gateway.counted(name) for name in (*names, "TunFull")), "something is lost before it began")
    gateway.signal(signal.SIGSTOP)
    sends(stage, stage.client, FLOOD, (ENDPOINT, 4500), os.urandom(900))
    if io == "sockets":
        sends(stage, stage.internet, FLOOD, ("10.77.0.9", 9))
    gateway.signal(signal.SIGCONT)
    lost = eventually(f"{names} counted", lambda: sum(map(gateway.counted, names)), NEW_S)
    expect(lost < FLOOD, f"{lost} of {FLOOD} frames are said to be lost")
    if io == "sockets":
        lost = gateway.counted("TunFull")
        expect(0 < lost < FLOOD - 2048, f"adit0 lost {lost} of {FLOOD}")
    return f"{lost} of {FLOOD} lost by name"


@story("a NAT keepalive is not counted as discarded", IO)
def keepalive(stage, io):
    gateway = Gateway(stage, io).start()
    sends(stage, stage.client, 3, (ENDPOINT, 4500), b"\xff")
    sends(stage, stage.client, 1, (ENDPOINT, 4500), b"\xfe\x01\x02\x03\xff\xff\xff\xff" + bytes(40))
    eventually("the ESP packet behind them is counted", lambda: gateway.counted("UnknownSpi"), NEW_S)
    # NotIpv4: the kernel solicits IPv6 routers on adit0.
    expect(set(gateway.discards()) <= {"UnknownSpi", "NotIpv4"}, f"discarded: {gateway.discards()}")
