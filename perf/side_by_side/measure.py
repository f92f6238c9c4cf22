"""The cases: what is offered to each server, and what counts."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from namespaces import Failed, binary, run

from .network import CLIENT, INTERNET, SERVER, SUBSCRIBERS
from .servers import PASSWORD, PSK, USER, kernel_s

LOSS_MAX = 5.0  # percent
MISSED_MAX = 5.0  # percent that the load did not send or take in: beyond that, it is the limit itself
FIRST_RATE, FACTOR = 40_000, 2
BISECTIONS = 3  # between the last rate that passed and the first that did not
STEPS_MAX = 16
LIMIT_S = 180  # for one command
STALLS_MAX = 1  # a rate that the load could not offer is tried again as often: others use the machine
BUSY_MAX = 0.9  # of a core of the load: beyond that, the load is the limit
CLIENT_FILE = Path(__file__).with_name("l2tp.py")

WHO = ["--target", SERVER, "--psk", PSK, "--user", USER, "--password", PASSWORD,
       "--encapsulation", "natt", "--phase1", "aes128-sha1-modp2048", "--suite", "aes128-sha1", "--auth", "mschapv2"]


@dataclass
class Result:
    """The best that one server did in one round."""

    rate: float  # packets or set-ups a second, delivered
    cpu_us: float  # of the server, for each
    kernel_share: float  # of that time
    is_bound: bool = False  # the load was the limit: the server may do better
    remark: str = ""
    steps: list = field(default_factory=list)

    def line(self):
        """For people who wait."""
        mark = "≥" if self.is_bound else ""
        remark = f"; {self.remark}" if self.remark else ""
        return f"{mark}{self.rate:.0f}/s, {self.cpu_us:.2f} µs of the server each, {self.kernel_share:.0%} of it kernel{remark}"


class Cost:
    """What a server costs between the beginning and the end of a `with`."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.before = (self.server.busy_s(), kernel_s())
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            (busy, kernel), after, kernel_after = self.before, self.server.busy_s(), kernel_s()
            self.busy_s, kernel = after - busy, kernel_after - kernel
            self.kernel_share = kernel / max(self.busy_s, kernel, 1e-9)


def blast(network, *options):
    """One `adit-lab blast`; its outcome, whatever its exit status makes of it."""
    argv = network.load(binary("adit-lab"), "blast", *WHO, *options, "--json")
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S)
    if not done.stdout:
        raise Failed(f"no outcome from {' '.join(argv)}\n{done.stderr[-1500:]}")
    return json.loads(done.stdout)


def load_step(network, server, size, way, rate, seconds):
    """Offers a rate; what came of it."""
    many = len(SUBSCRIBERS)
    load = f"{size}:{rate / many:.0f}/s:{way}"
    with Cost(server) as cost:
        outcome = blast(
            network, "--local", ",".join(SUBSCRIBERS), "--subscribers", many, "--rate", "1000/s", "--traffic", load,
            "--duration", f"{seconds}s", "--network-port", f"{INTERNET}@{network.internet}", *network.load_flags)
    if outcome["setup"]["up"] != many or not outcome["traffic"]:
        raise Failed(f"{outcome['setup']['up']} of {many} sessions up: {outcome['setup']['failures']}")
    [traffic] = outcome["traffic"]
    # What the load had no time to send, and no room to receive.
    withheld, overflowed = (outcome["generator"][key] for key in ("withheld", "overflowed"))
    sent, lost = traffic["sent"], max(traffic["lost"] - overflowed, 0)
    return {
        "offered": rate,
        "sent": traffic["offered_packets_per_second"],
        "delivered": delivered_rate(traffic),
        "loss_percent": 100 * lost / max(sent, 1),
        "missed_percent": 100 * (withheld + overflowed) / max(withheld + sent, 1),
        "cpu_us": cost.busy_s * 1e6 / max(traffic["received"], 1),
        "kernel_share": cost.kernel_share,
    }


def delivered_rate(traffic):
    """Packets a second until the last has come: what waits in a server at the end was not fast."""
    if not traffic["received"]:
        return 0.0
    sent_for_s = traffic["received"] / traffic["packets_per_second"]
    return traffic["received"] / (sent_for_s + traffic["latency_us"]["max"] / 1e6)


def search(step):
    """The steps of a search and whether the load was its limit; `step(rate)` is one."""
    steps, rate, below, top = [], FIRST_RATE, 0, None
    is_bound, stalls, narrowings = False, 0, 0
    while len(steps) < STEPS_MAX and narrowings <= BISECTIONS:
        steps.append(step(rate))
        is_lossy = steps[-1]["loss_percent"] > LOSS_MAX
        is_stalled = steps[-1]["missed_percent"] > MISSED_MAX and not is_lossy
        if is_stalled and stalls < STALLS_MAX:
            stalls += 1
            continue
        stalls = 0
        if is_lossy or is_stalled:
            top, is_bound = rate, is_stalled
        else:
            below = rate
        narrowings += top is not None
        rate = (below + top) / 2 if top else rate * FACTOR
    return steps, is_bound


def best(steps, is_bound):
    """The step that delivered most with a loss that is allowed."""
    passed = [step for step in steps if step["loss_percent"] <= LOSS_MAX]
    if not passed:
        raise Failed(f"no rate passed: {steps}")
    found = max(passed, key=lambda step: step["delivered"])
    return Result(found["delivered"], found["cpu_us"], found["kernel_share"], is_bound, steps=steps)


@dataclass(frozen=True)
class Load:
    """Packets of one size, one way."""

    name: str
    size: int
    way: str
    must: float
    aim: float
    unit: str = "packets/s"
    servers: tuple = ("adit", "softether")
    ipsec: bool = True

    def measure(self, network, server, is_quick):
        seconds = 1 if is_quick else 2
        return best(*search(lambda rate: load_step(network, server, self.size, self.way, rate, seconds)))


@dataclass(frozen=True)
class SetUps:
    """Clients that dial at once, each from ports of its own."""

    name: str
    clients: int
    must: float
    aim: float
    unit: str = "set-ups/s"
    servers: tuple = ("adit", "softether")
    ipsec: bool = True

    def measure(self, network, server, _):
        with Cost(server) as cost:
            outcome = blast(network, "--local", CLIENT, "--subscribers", self.clients, "--rate", "1000000/s", "--duration", "0s",
                            "--timeout", "60s")
        setup = outcome["setup"]
        generator = outcome["generator"]
        busy = max(generator["clients_busy"], generator["compute_busy"] or 0)
        remark = "" if setup["succeeded"] == self.clients else f"{setup['succeeded']} of {self.clients} came up"
        return Result(setup["per_second"], cost.busy_s * 1e6 / max(setup["succeeded"], 1), cost.kernel_share,
                      busy > BUSY_MAX, remark, [setup])


@dataclass(frozen=True)
class Calls:
    """Tunnels and sessions of plain L2TP, without PPP on either side."""

    name: str
    tunnels: int
    calls: int
    must: float
    aim: float
    unit: str = "sessions/s"
    servers: tuple = ("adit", "xl2tpd")
    ipsec: bool = False

    def measure(self, network, server, _):
        with Cost(server) as cost:
            told = json.loads(run(*network.load("python3", CLIENT_FILE, SERVER, self.tunnels, self.calls)))
        sessions, wanted = told["sessions"], self.tunnels * self.calls
        remark = "" if sessions == wanted else f"{sessions} of {wanted} came up"
        return Result(sessions / told["seconds"], cost.busy_s * 1e6 / max(sessions, 1), cost.kernel_share,
                      told["busy"] > BUSY_MAX, remark, [told])


CASES = [
    Load("64-up", 64, "up", 4, 6),
    Load("1300-up", 1300, "up", 5, 8),
    Load("1300-down", 1300, "down", 6, 6),
    SetUps("set-ups", 300, 5, 5),
    Calls("tunnels", 900, 1, 20, 20),
    Calls("calls", 1, 200, 5, 5),
]
