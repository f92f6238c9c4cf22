"""What `adit-lab replay`, `blast` and `ramp` make of servers that others wrote.

Replays have to be content. A load has to bring everybody up and account for every echo. A wrong
password, a wrong key and a proposal that nobody takes have to be told in the server's words.
"""

import json
import subprocess

from .network import ENDPOINT, INTERNET, LOAD, PROBE, Failed
from namespaces import binary, expect

KNOWN = {"psk": "lab-psk", "user": "alice", "password": "wonder-land"}
# Phase 1 and a suite that every server here takes, and one that the reference is told to refuse
# and SoftEther does not know.
TAKEN = ["--phase1", "aes256-sha1-modp2048", "--suite", "aes256-sha1"]
REFUSED = ["--phase1", "aes256-sha1-modp2048", "--suite", "aes128gcm16"]
ECHOES_S, ECHO_RATE = 3, 20
IMPATIENT = ["--timeout", "4s"]
LOST = 0.1  # of the echoes, at most, on a machine that has other things to do


def lab(network, command, *options, succeeds=True, **changed):
    """One `adit-lab` command against the server; its JSON."""
    known = [word for key, value in (KNOWN | changed).items() for word in (f"--{key}", value)]
    argv = ["ip", "netns", "exec", network.client, binary("adit-lab"), command,
            "--target", ENDPOINT, *known, *options, "--json"]
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=120)
    if (done.returncode == 0) != succeeds or not done.stdout:
        raise Failed(f"status {done.returncode} from adit-lab {command}: {done.stderr}{done.stdout}"[-2500:])
    return json.loads(done.stdout)


def replays(network, profiles):
    """Clients of these kinds are content, and one with a wrong password is not."""
    seen = []
    for profile in profiles:
        story = lab(network, "replay", "--profile", profile, "--local", PROBE)
        expect(story["is_content"] and story["address"], lambda: f"{profile}: {story['discontent']}")
        seen.append(f"{profile} content in {story['steps'][-1]['seconds']:.1f} s")
    told = lab(network, "replay", "--profile", profiles[0], "--local", PROBE, password="wrong", succeeds=False)
    expect_words(told["discontent"], "PPP authentication: PPP: authentication failed: E=691")
    return seen + ["wrong password: E=691"]


def loads(network, options):
    """Everybody comes up, every echo is accounted for; a ramp finds what it is sent for."""
    clients = ["--local", ",".join(LOAD), *options]
    return [
        blast(network, [*clients, *TAKEN]),
        *failures(network, clients),
        ramp(network, [*clients, *TAKEN], "packets", "--size", "200", "--loss", "20", "--from", "100", "--to", "400"),
        ramp(network, [*clients, *TAKEN], "setups", "--p99", "30s", "--from", "2", "--to", "4"),
    ]


def blast(network, clients):
    many, each = ["--subscribers", len(LOAD), "--rate", "10/s"], f"200:{ECHO_RATE}/s"
    traffic = ["--traffic", each, "--duration", f"{ECHOES_S}s", "--ping-target", INTERNET]
    outcome = lab(network, "blast", *clients, *many, *traffic)
    up, failed = outcome["setup"]["up"], outcome["setup"]["failures"]
    expect(up == len(LOAD) and not failed, lambda: f"{up} sessions up; {failed}")
    [echo] = outcome["traffic"]
    expect(echo["sent"] >= len(LOAD) * ECHO_RATE * ECHOES_S / 2, lambda: f"hardly any echo was asked for: {echo}")
    expect(echo["lost"] == echo["sent"] - echo["received"], lambda: f"the loss is not counted: {echo}")
    expect(echo["received"] >= echo["sent"] * (1 - LOST) and echo["astray"] == 0, lambda: f"echoes missed: {echo}")
    return f"{up} up, {echo['received']} of {echo['sent']} echoes"


def failures(network, clients):
    """A wrong password, a wrong key and a proposal that is not taken, in so many words."""
    cases = [
        ("password", [*TAKEN], {"password": "wrong"}, "PPP authentication: PPP: authentication failed: E=691"),
        ("key", [*TAKEN, *IMPATIENT], {"psk": "wrong"},
         f"IKE phase 1: no answer to main mode message 5 from {ENDPOINT}:500 or 4500; "
         "so does a server that has another pre-shared key"),
        ("suite", [*REFUSED, *IMPATIENT], {}, "IKE phase 2: IPsec SA: peer refused the proposal; offered aes128gcm16"),
    ]
    for what, options, changed, words in cases:
        one = ["--subscribers", 1, "--duration", "0s"]
        outcome = lab(network, "blast", *clients, *one, *options, succeeds=False, **changed)
        reasons = [failure["reason"] for failure in outcome["setup"]["failures"]]
        expect_words(reasons, words)
    return ["refusals in so many words"]


def ramp(network, clients, what, *limits):
    """One search within limits that no machine is too slow for."""
    search = ["--trial", "1s", "--searches", 1, "--resolution", 50]
    outcome = lab(network, "ramp", *clients, "--subscribers", len(LOAD), "--what", what, *search, *limits)
    found = [series["median"] for series in outcome["series"]]
    expect(outcome["ok"] and all(found), lambda: f"ramp found nothing: {outcome['series']}")
    return f"ramp {found[0]:.0f} {what}/s"


def expect_words(told, words):
    expect(any(words in reason for reason in told), lambda: f"not \"{words}\", but: {told}")
