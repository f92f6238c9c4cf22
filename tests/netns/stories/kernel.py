"""What the gateway refuses because the machine is not as it needs it."""

from harness.gateway import Gateway
from harness.stage import expect

from .telling import story


@story("more NIC queues than workers: it refuses, with the command that mends it", ("xdp",), queues=2)
def too_many_queues(stage, io):
    _, said = Gateway(stage, io, workers=1).refuses()
    expect("ethtool -L sub0" in said, f"no command: {said}")
    expect("sub0 has 2 receive queues" in said, f"not what is wrong: {said}")
    command = next(line for line in said.splitlines() if "ethtool -L" in line).split("ethtool ", 1)[1]
    words = command.split()[:4]
    for name in ("sub0", "net0"):
        stage.exec(stage.gateway, "ethtool", *[name if word == "sub0" else word for word in words])
    Gateway(stage, io, workers=1).start()
