"""The verdict of an independent decoder: tshark, given the keys that the gateway logged.

The key log is what `adit run --key-log FILE` writes:

    [[ike]]
    initiator_cookie = "0123456789abcdef"
    cipher = "aes128-cbc"
    key = "…"                    # expanded to the cipher's length
    skeyid_a = "…"

    [[esp]]
    spi = "0xc0ffee01"
    cipher = "aes128gcm16"       # or aes128-cbc, 3des-cbc
    key = "…"                    # GCM: key and salt, as in KEYMAT
    integrity = "hmac-sha1-96"   # none for GCM
    integrity_key = "…"
    src = "10.9.0.1"
    dst = "10.9.0.2"
"""

import collections
import re
import subprocess
import tomllib
from pathlib import Path

from .network import FLOW_PORT, Failed
from .pcap import without_ike_repetitions

DATA_PACKETS = 100  # of the gateway's own, at least
EXPERT_ERROR = 0x00800000  # Wireshark's PI_ERROR

# First match wins.
CIPHERS = [
    (r"gcm", "AES-GCM with 16 octet ICV [RFC4106]"),
    (r"3des|tripledes", "TripleDES-CBC [RFC2451]"),
    (r"aes", "AES-CBC [RFC3602]"),
]
INTEGRITIES = [
    (r"sha-?2?-?_?512", "HMAC-SHA-512-256 [RFC4868]"),
    (r"sha-?2?-?_?384", "HMAC-SHA-384-192 [RFC4868]"),
    (r"sha-?2?-?_?256", "HMAC-SHA-256-128 [RFC4868]"),
    (r"sha-?1", "HMAC-SHA-1-96 [RFC2404]"),
    (r"^(none)?$", "NULL"),
]

TRUE = (["1"], ["True"])  # which of them depends on tshark's version
QUICK_MODE, HASH_PAYLOAD = "32", "8"  # ISAKMP's numbers

IKE, CONTROL, DATA = "quick mode messages", "L2TP control messages", "data packets"


def tshark_name(table, name):
    for pattern, known in table:
        if re.search(pattern, name, re.I):
            return known
    raise Failed(f"the key log names an algorithm that tshark has no word for here: {name!r}")


def digits(value):
    """Hexadecimal digits, however the number was written."""
    return f"{value:08x}" if isinstance(value, int) else str(value).removeprefix("0x")


def esp_row(sa):
    """A row of tshark's esp_sa table."""
    integrity = tshark_name(INTEGRITIES, sa.get("integrity") or "")
    auth_key = "0x" + digits(sa["integrity_key"]) if integrity != "NULL" else ""
    family = "IPv6" if ":" in sa["src"] else "IPv4"
    cells = (family, sa["src"], sa["dst"], "0x" + digits(sa["spi"]),
             tshark_name(CIPHERS, sa["cipher"]), "0x" + digits(sa["key"]), integrity, auth_key)
    return ",".join(f'"{cell}"' for cell in cells)


def options(keylog):
    """tshark's options for a key log (a path); every checksum is verified too."""
    keys = tomllib.loads(Path(keylog).read_text())
    wanted = ["esp.enable_encryption_decode:TRUE", "esp.enable_authentication_check:TRUE"]
    wanted += [f"{layer}.check_checksum:TRUE" for layer in ("ip", "udp", "tcp")]
    wanted += [f"uat:esp_sa:{esp_row(sa)}" for sa in keys.get("esp", [])]
    wanted += [f"uat:ikev1_decryption_table:{digits(sa['initiator_cookie'])},{digits(sa['key'])}"
               for sa in keys.get("ike", [])]
    return [word for option in wanted for word in ("-o", option)]


FIELDS = [
    "frame.number", "frame.protocols", "ip.src", "_ws.expert.severity", "_ws.expert.message",
    "esp.spi", "esp.icv_good", "l2tp.type",
    "isakmp.exchangetype", "isakmp.flag_e", "isakmp.typepayload",
]


def frames(capture, keylog):
    """For each frame a dictionary of the FIELDS, each a list of what it held, often empty."""
    once = Path(keylog).with_name("once.pcap")
    without_ike_repetitions(capture, once)
    command = ["tshark", "-n", "-r", str(once), *options(keylog)]
    command += ["-T", "fields", "-E", "occurrence=a", "-E", "aggregator=\x01"]
    command += [word for field in FIELDS for word in ("-e", field)]
    # The random payload of our own flows means nothing to any other protocol.
    command += ["-d", f"tcp.port=={FLOW_PORT},data", "-d", f"udp.port=={FLOW_PORT},data"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        yield {name: cell.split("\x01") if cell else [] for name, cell in zip(FIELDS, line.rstrip("\n").split("\t"))}
    complaint = process.stderr.read()
    once.unlink()
    if process.wait() != 0:
        raise Failed(f"tshark: {complaint[-800:]}")


def judge(capture, keylog, gateway, ipsec=True):
    """Counts what tshark understood of what `gateway` sent; raises Failed at anything it did not.

    Returns the counts, and for each address how many SAs it sent on."""
    ours, spis, faults = collections.Counter(), collections.defaultdict(set), []
    for frame in frames(capture, keylog):
        protocols = frame["frame.protocols"][0].split(":")
        source = frame["ip.src"][0] if frame["ip.src"] else None
        ours["frames"] += 1
        faults += [f"frame {frame['frame.number'][0]}: {fault}" for fault in objections(frame, protocols)]
        if "esp" in protocols:
            spis[source].update(frame["esp.spi"])
        if source == gateway:
            ours[IKE] += frame["isakmp.exchangetype"] == [QUICK_MODE]
            ours[CONTROL] += frame["l2tp.type"][:1] == ["1"]
            ours[DATA] += "l2tp" in protocols and protocols.count("ip") == 2
    if faults:
        raise Failed(f"tshark objects to {len(faults)} of {ours['frames']} frames:\n  " + "\n  ".join(faults[:8]))
    for what, least in ((IKE, 1 if ipsec else 0), (CONTROL, 1), (DATA, DATA_PACKETS)):
        if ours[what] < least:
            raise Failed(f"tshark found {ours[what]} {what} from the gateway, at least {least} expected: {dict(ours)}")
    return ours, {source: len(found) for source, found in spis.items()}


def objections(frame, protocols):
    """What is wrong with a frame in tshark's eyes."""
    for level, text in zip(frame["_ws.expert.severity"], frame["_ws.expert.message"]):
        if int(level) >= EXPERT_ERROR:
            yield text
    if "_ws.malformed" in protocols:
        yield "malformed"
    if frame["isakmp.flag_e"] in TRUE and HASH_PAYLOAD not in frame["isakmp.typepayload"]:
        yield "an encrypted IKE message could not be read"
    if "esp" in protocols and frame["esp.icv_good"] not in TRUE:
        yield "the ICV is not good"
    elif "esp" in protocols and "l2tp" not in protocols:
        yield "ESP with a good ICV but no L2TP in it"


def judge_the_judge(capture, keylog, gateway):
    """With one wrong digit in every key the verdict has to be another one."""
    wrong = Path(keylog).with_name("wrong-keys.toml")
    last_digit = lambda found: found[1] + format(int(found[2], 16) ^ 1, "x") + '"'
    wrong.write_text(re.sub(r'(key = "\w*)(\w)"', last_digit, Path(keylog).read_text()))
    try:
        judge(capture, wrong, gateway)
    except Failed:
        wrong.unlink()
    else:
        raise Failed(f"tshark is content with wrong keys: {wrong}")
