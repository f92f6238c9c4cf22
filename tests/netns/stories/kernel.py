"""What the gateway refuses because the machine is not as it needs it."""

import re

from harness.gateway import Gateway
from harness.stage import expect

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
