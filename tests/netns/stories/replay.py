"""Replay: `adit-lab replay` plays what the field has for clients, and each is content with the gateway."""

import json
import subprocess

from harness.gateway import PASSWORD, PSK, USER, Gateway, binary
from harness.stage import ENDPOINT, PLAIN_ENDPOINT, expect

from .telling import story

PATIENCE_S = 90
MODERN = ("windows-10", "windows-11", "apple", "chromeos", "nm-l2tp", "linux-xl2tpd")
COMPAT = ("android-9", "mikrotik", "soho-router")


def replay(stage, profile, target, status=0):
    """The story of one client, when it ends as it should."""
    argv = ["ip", "netns", "exec", stage.client, binary("adit-lab"), "replay", "--json", "--profile", profile,
            "--target", target, "--psk", PSK, "--user", USER, "--password", PASSWORD]
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=PATIENCE_S)
    said = f"{profile}: status {done.returncode}: {done.stderr[-1000:]} {done.stdout[-1500:]}"
    expect(done.returncode == status, said)
    return json.loads(done.stdout)


@story("every client that the field knows is content with a gateway of today or of yesterday")
def content(stage):
    gateway = Gateway(stage, "sockets").start()
    for profile in MODERN:
        told = replay(stage, profile, ENDPOINT)
        expect(told["is_content"] and told["address"], f"{profile}: {told['discontent']}")
        for step in told["steps"]:
            expect(step["layers"], f"{profile}: a message that cannot be read: {step['what']}")
    told = replay(stage, "cisco-lac", PLAIN_ENDPOINT)
    expect(told["is_content"], f"{told['discontent']}")
    told = replay(stage, "soho-router", ENDPOINT, status=1)
    expect("NO-PROPOSAL-CHOSEN" in told["discontent"][0], f"{told['discontent']}")
    gateway.stop()
    return f"{len(MODERN) + 1} clients"


@story("clients that know nothing better are content with the policy compat")
def compat(stage):
    gateway = Gateway(stage, "sockets")
    old = gateway.file.read_text()
    gateway.file.write_text(old.replace('name = "secured"', 'name = "secured"\npolicy = "compat"'))
    gateway.start()
    agreed = []
    for profile in COMPAT:
        told = replay(stage, profile, ENDPOINT)
        expect(told["is_content"], f"{profile}: {told['discontent']}")
        agreed.append(told["agreed"][0])
    gateway.stop()
    return ", ".join(agreed)
