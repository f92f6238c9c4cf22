"""What is tried: one row per variant, read by `run`."""

from dataclasses import dataclass, field

TUNNEL_SECRET = "tunnelpw"
REKEY_S = 12  # ESP SAs of the rekey variants live this long
REKEY_RUN_S = 60
ECHO_RATE = 60  # packets a second each way; at least 50 are asked for


@dataclass(frozen=True)
class Variant:
    name: str
    client: str  # options of l2tp-peer client, beyond the addresses
    image: str = "strongswan"
    ipsec: bool = True
    policy: str = "modern"
    auth: str = "mschapv2"
    l2tp_secret: str = ""
    traffic: str = "transfer"  # transfer | rekey
    gateway_rekey_s: int = 0  # 0: the gateway's own default
    reference: str = field(default="")  # where the reference server needs other words


def plain(name, auth="mschapv2", secret=""):
    options = f"--ike none --auth {auth}" + (f" --l2tp-secret {secret}" if secret else "")
    return Variant(name, options, ipsec=False, auth=auth, l2tp_secret=secret)


def esp(name, ike, esp_proposal, **more):
    natt = "--natt " if name.startswith("natt-") else ""
    return Variant(name, f"{natt}--ike-prop {ike} --esp-prop {esp_proposal}", **more)


VARIANTS = [
    plain("plain-pap", "pap"),
    plain("plain-chap", "chap"),
    plain("plain-mschapv2"),
    plain("plain-secret", secret=TUNNEL_SECRET),
    esp("esp-aes128-sha1", "aes128-sha1-modp2048", "aes128-sha1"),
    esp("esp-aes256-sha1", "aes256-sha1-modp2048", "aes256-sha1"),
    esp("esp-aes256-sha256", "aes256-sha256-modp2048", "aes256-sha256"),
    esp("esp-aes128gcm16", "aes128-sha256-modp2048", "aes128gcm16"),
    esp("esp-3des-sha1", "3des-sha1-modp1024", "3des-sha1", policy="compat"),
    esp("natt-aes128-sha1", "aes128-sha1-modp2048", "aes128-sha1"),
    esp("natt-aes128gcm16", "aes256-sha256-ecp256", "aes128gcm16"),
    Variant(
        "libreswan-aes128-sha1",
        "--ike libreswan --ike-prop 'aes128-sha1;modp2048' --esp-prop aes128-sha1",
        image="libreswan",
        reference="--ike-prop aes128-sha1-modp2048 --esp-prop aes128-sha1",
    ),
    Variant(
        "rekey-by-client",
        f"--ike-prop aes128-sha1-modp2048 --esp-prop aes128-sha1 --rekey {REKEY_S}",
        traffic="rekey",
        reference="--ike-prop aes128-sha1-modp2048 --esp-prop aes128-sha1",
    ),
    Variant(
        "rekey-by-gateway",
        "--ike-prop aes128-sha256-modp2048 --esp-prop aes128gcm16",
        traffic="rekey",
        gateway_rekey_s=REKEY_S,
        reference=f"--ike-prop aes128-sha256-modp2048 --esp-prop aes128gcm16 --rekey {REKEY_S}",
    ),
]
