"""Load: `adit-lab blast` counts at both ends what the gateway carried, and says why it did not."""

import json
import subprocess

from harness.gateway import IO, PASSWORD, PSK, USER, Gateway, binary
from harness.stage import ENDPOINT, INTERNET, PLAIN_ENDPOINT, expect

from .telling import story

PATIENCE_S = 60
CLIENTS = 10


def blast(stage, *words, status=0):
    """What `adit-lab blast` tells, when it ends as it should."""
    argv = ["ip", "netns", "exec", stage.client, binary("adit-lab"), "blast", "--json", *words]
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=PATIENCE_S)
    said = f"status {done.returncode}: {done.stderr[-1000:]} {done.stdout[-2000:]}"
    expect(done.returncode == status, said)
    return json.loads(done.stdout)


def whole(way, seconds, rate):
    """Everything arrived once, and the rate was that of the order."""
    expect(way["sent"] == way["received"] and way["lost"] == 0 and way["duplicated"] == 0, f"not whole: {way}")
    expect(way["sent"] <= seconds * rate, f"more than was asked for: {way}")
    expect(way["sent"] >= seconds * rate / 4, f"hardly anything was sent: {way}")


@story("a blast in numbered packets is whole at both ends", IO)
def numbered(stage, io):
    gateway = Gateway(stage, io).start()
    for plain in (True, False):
        around = ["--plain", "--target", PLAIN_ENDPOINT] if plain else ["--psk", PSK, "--target", ENDPOINT]
        told = blast(
            stage, *around, "--user", USER, "--password", PASSWORD, "--local", stage.add_clients(CLIENTS) if plain
            else f"10.9.0.101-10.9.0.{100 + CLIENTS}", "--subscribers", 2 * CLIENTS, "--rate", "100/s", "--traffic",
            "imix:50/s", "--duration", "2s", "--network-port", f"{INTERNET}@{stage.internet}", "--max-loss", 0,
            "--min-setups", 2 * CLIENTS)
        expect(told["ok"] and told["setup"]["up"] == 2 * CLIENTS, f"{told['setup']}")
        expect([way["way"] for way in told["traffic"]] == ["up", "down"], f"{told['traffic']}")
        for way in told["traffic"]:
            whole(way, 2, 50 * 2 * CLIENTS)
        expect(len(told["flows"]) == 4 * CLIENTS, "every flow is told both ways")
        stages = {row["stage"]: row["count"] for row in told["setup"]["stages"]}
        expect(stages["total"] == 2 * CLIENTS and ("phase1" in stages) != plain, f"{stages}")
        up = told["traffic"][0]
        expect(told["wire"]["up_bits_per_second"] > up["inner_bits_per_second"] * 1.05, f"{told['wire']} {up}")
    gateway.stop()
    return f"{told['traffic'][0]['received']} up, {told['traffic'][1]['received']} down"


@story("a LAC's sessions share its tunnels, over sockets and past the kernel's stack", IO)
def tunnels(stage, io):
    gateway = Gateway(stage, io).start()
    local = stage.add_clients(2)
    for lab_io in ("sockets", "xdp"):
        told = blast(stage, "--plain", "--target", PLAIN_ENDPOINT, "--user", USER, "--password", PASSWORD, "--local",
                     local, "--io", lab_io, "--subscribers", 12, "--tunnels", 2, "--rate", "100/s", "--traffic",
                     "64:50/s", "--duration", "2s", "--network-port", f"{INTERNET}@{stage.internet}", "--max-loss", 0)
        expect(told["ok"] and told["setup"]["up"] == 12, f"{lab_io}: {told['setup']}")
        for way in told["traffic"]:
            whole(way, 2, 50 * 12)
    gateway.stop()
    return f"{told['traffic'][0]['received']} up, {told['traffic'][1]['received']} down"


@story("a blast without a far end asks the gateway for echoes, and subscribers that are killed come again")
def echoes(stage):
    gateway = Gateway(stage, "sockets").start()
    told = blast(stage, "--plain", "--target", PLAIN_ENDPOINT, "--user", USER, "--password", PASSWORD, "--local",
                 stage.add_clients(CLIENTS), "--subscribers", CLIENTS, "--traffic", "64:20/s:poisson", "--duration", "4s",
                 "--kill", "4/s", "--silent", "--redial-after", "500ms", "--min-setups", CLIENTS + 1)
    [echo] = told["traffic"]
    expect(echo["way"] == "echo" and echo["received"] > 0, f"{echo}")
    expect(told["setup"]["succeeded"] > CLIENTS, f"nobody came again: {told['setup']}")
    gateway.stop()
    return f"{told['setup']['succeeded']} set-ups, {echo['received']} of {echo['sent']} echoes"


@story("a blast over a path that loses, copies and delays, behind a NAT that forgets, says what was its own doing")
def impaired(stage):
    gateway = Gateway(stage, "sockets").start()
    told = blast(stage, "--target", ENDPOINT, "--psk", PSK, "--user", USER, "--password", PASSWORD, "--local",
                 stage.add_clients(2), "--subscribers", 6, "--encapsulation", "natt", "--traffic", "64:100/s",
                 "--duration", "5s", "--network-port", f"{INTERNET}@{stage.internet}", "--seed", 3, "--impair-up",
                 "loss=5,duplicate=10", "--impair-down", "delay=20ms", "--rebind", "3s", "--min-setups", 6)
    path, (up, down) = told["path"], told["traffic"]
    expect(path["rebindings"] >= 1 and path["up"]["lost"] > 0 and path["up"]["duplicated"] > 0, f"{path}")
    expect(0 < up["lost"] <= path["up"]["lost"], f"{up} {path}")
    expect(up["duplicated"] == 0, f"copies of ESP packets were taken twice: {up}")
    expect(down["latency_us"]["p50"] >= 20_000, f"{down}")
    expect(down["received"] > down["sent"] / 2, f"nothing more came after the rebinding: {down}")
    expect(told["busy_side"]["side"] == "generator", f"{told['busy_side']}")
    gateway.stop()
    return f"{up['lost']} lost, {path['up']['duplicated']} copied, {path['rebindings']} rebindings, {path['forgotten']} forgotten"


@story("a blast that fails says at which stage and in whose words")
def reasons(stage):
    gateway = Gateway(stage, "sockets").start()
    common = ["--local", stage.add_clients(2), "--subscribers", 2, "--timeout", "30s", "--duration", "0s"]
    told = blast(stage, "--plain", "--target", PLAIN_ENDPOINT, "--user", USER, "--password", "wrong", *common, status=1)
    failures = told["setup"]["failures"]
    expect(sum(f["count"] for f in failures) == 2 and {f["stage"] for f in failures} == {"auth"}, f"{failures}")
    told = blast(stage, "--target", ENDPOINT, "--psk", PSK, "--user", USER, "--password", PASSWORD, "--phase1",
                 "3des-sha1-modp1024", *common, status=1)
    [refused] = told["setup"]["failures"]
    expect(refused["stage"] == "phase1" and "NO-PROPOSAL-CHOSEN" in refused["reason"], f"{refused}")
    expect("offered 3DES/SHA1/MODP1024" in refused["reason"], f"{refused}")
    gateway.stop()
    return f"{failures[0]['reason']}; {refused['reason']}"
