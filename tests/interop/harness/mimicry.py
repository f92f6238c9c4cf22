"""A profile of `adit-lab` beside the machine that it describes, in one run and on one wire.

The machine dials while tcpdump captures; `adit-lab replay` then plays its profile against the same
gateway. Both are read by `adit-lab decode`'s parsers, and the first message of each kind must have
the same AVPs or options in the same order, with the same M bits and values.
"""

import json

from .network import ENDPOINT, PEER, PROBE, run
from namespaces import binary, expect

PLAYED = "played.json"
DIALLED = 400  # packets from the start of a capture, within which the machine has dialled
KINDS = ["L2TP control SCCRQ", "L2TP control SCCCN", "L2TP control ICRQ", "L2TP control ICCN",
         "LCP Configure-Request", "IPCP Configure-Request", "IPV6CP Configure-Request"]
# What differs between any two clients of a kind.
OWN = {"Host Name", "Assigned Tunnel ID", "Assigned Session ID", "Call Serial Number", "Magic-Number",
       "Interface-Identifier"}


def play(network, profile, directory):
    """Plays the profile, which has to be content; its story goes to the directory."""
    told = run("ip", "netns", "exec", network.client, binary("adit-lab"), "replay", "--profile", profile,
               "--target", ENDPOINT, "--local", PROBE, "--psk", "lab-psk", "--user", "alice",
               "--password", "wonder-land", "--json")
    (directory / PLAYED).write_text(told)


def judge(profile, directory, capture, keys):
    """Whether the profile says what the machine has said; a line about it."""
    story = json.loads((directory / PLAYED).read_text())
    played = firsts(step["layers"] for step in story["steps"] if step["way"] == "sent")
    said = firsts(sent_by(PEER, capture, keys))
    for kind in KINDS:
        expect(kind in said, lambda: f"the machine has sent no {kind}: {sorted(said)}")
        expect(played.get(kind) == said[kind],
               lambda: f"{profile} is not as the machine in {kind}:\n{played.get(kind)}\n{said[kind]}")
    return f"{profile} as the machine in {len(KINDS)} messages"


def sent_by(address, capture, keys):
    """The layers of every packet that an address sent, from the start of a capture."""
    start = capture.with_name("start.pcap")
    run("tcpdump", "-Z", "root", "-r", capture, "-c", DIALLED, "-w", start)
    told = run(binary("adit-lab"), "decode", start, "--keys", keys, "--json", check=False)
    for line in told.splitlines():
        layers = json.loads(line).get("layers", [])
        sources = [layer["source"] for layer in layers if layer["layer"] == "IPv4"]
        if sources[:1] == [address]:
            yield layers


def firsts(packets):
    """What is in the first message of every kind."""
    found = {}
    for layers in packets:
        last = layers[-1] if layers else {}
        kind = f"{last.get('layer')} {last.get('message') or last.get('code') or ''}"
        found.setdefault(kind, contents(last))
    return found


def contents(layer):
    """Name, M bit and value of each AVP; name and value of each option."""
    value = lambda part: None if part["layer"] in OWN else part.get("value")
    return [(part["layer"], part.get("M"), value(part)) for part in layer.get("parts", [])]
