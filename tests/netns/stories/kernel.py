"""The machine is not as the gateway needs it: what it refuses, what it does instead, what it advises."""

import json
import re

from harness.gateway import Gateway, binary
from harness.stage import INTERNET, expect
from harness.subscriber import Subscriber

from .telling import story


@story("more NIC queues than workers: it refuses, with the command that mends it", ("xdp",), queues=2)
def too_many_queues(stage, io):
    _, said = Gateway(stage, io, workers=1).refuses()
    expect("ethtool -L sub0" in said, f"no command: {said}")
    expect("sub0 has 2 receive queues" in said, f"not what is wrong: {said}")
    for name in ("sub0", "net0"):
        command = re.search(r"ethtool -L sub0 \w+ \d+( tx \d+)?", said)[0].replace("sub0", name)
        stage.exec(stage.gateway, *command.split())
    # A veth with XDP may not have a peer that sends on more queues than it receives on.
    stage.exec(stage.client, "ethtool", "-L", "up0", "tx", 1)
    stage.exec(stage.internet, "ethtool", "-L", "net0", "tx", 1)
    Gateway(stage, io, workers=1).start()


@story("auto takes sockets where XDP does not work, and says why", queues=2)
def falls_back(stage):
    # net0 is looked at second, when sub0 is open already.
    stage.exec(stage.gateway, "ethtool", "-L", "sub0", "rx", 1, "tx", 1)
    stage.exec(stage.client, "ethtool", "-L", "up0", "tx", 1)
    gateway = Gateway(stage, "auto", workers=1).start()
    stage.forwards(True)
    io = gateway.show("status")["status"]["io"]
    expect(io.startswith("sockets") and "net0 has 2 receive queues" in io, f"it says: {io}")
    expect("xdp" not in stage.exec(stage.gateway, "ip", "link"), "a program is still attached")
    expect(Subscriber(stage).dial().pings(INTERNET), "no echo")
    gateway.stop()
    expect("every chunk is back" in gateway.said(), "chunks are missing")


@story("doctor names what is wrong with an interface, and the command that mends it", queues=2)
def doctor(stage):
    gateway = Gateway(stage, "xdp", workers=1)
    stage.exec(stage.gateway, "ip", "link", "set", "net0", "mtu", 3000)
    told = stage.exec(stage.gateway, binary("adit"), "doctor", gateway.file, "--json", check=False)
    findings = json.loads(told)["findings"]
    remedies = {(row["subject"], row["remedy"]) for row in findings if row["weight"] == "bad"}
    expect(("sub0", "ethtool -L sub0 rx 1 tx 1") in remedies, f"{remedies}")
    expect(any("ip link set net0 mtu" in (remedy or "") for _, remedy in remedies), f"{remedies}")
