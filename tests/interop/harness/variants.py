"""What is tried: one row per variant, read by `run`."""

from dataclasses import dataclass

TUNNEL_SECRET = "tunnelpw"
REKEY_S = 12  # ESP SAs of the rekey variants live this long
REKEY_RUN_S = 60
ECHO_RATE = 60  # packets a second each way; at least 50 are asked for


@dataclass(frozen=True)
class Variant:
    name: str
    options: str  # of the client, beyond the addresses
    client: str = "machine"  # machine: a peer with l2tp-peer | probe: probe-l2tp-ipsec | adit-lab | replay | load
    against: str = ""  # the server, where it is not the one that --against names
    image: str = "strongswan"  # of the machine
    ipsec: bool = True
    policy: str = "modern"
    auth: str = "mschapv2"
    l2tp_secret: str = ""
    traffic: str = "transfer"  # transfer | rekey
    gateway_rekey_s: int = 0  # 0: the gateway's own default
    reference: str = ""  # options of l2tp-peer server, where the client's will not do
    profiles: tuple = ()  # that adit-lab replays
    profile: str = ""  # of adit-lab, that has to say what the machine says


def plain(name, auth="mschapv2", secret=""):
    options = f"--ike none --auth {auth}" + (f" --l2tp-secret {secret}" if secret else "")
    return Variant(name, options, ipsec=False, auth=auth, l2tp_secret=secret)


def esp(name, ike, esp_proposal, **more):
    natt = "--natt " if name.startswith("natt-") else ""
    return Variant(name, f"{natt}--ike-prop {ike} --esp-prop {esp_proposal}", **more)


def probe(name, options, reference, **more):
    return Variant(name, options, client="probe", reference=reference, **more)


def dials_reference(name, options, server):
    """Our own client dials strongSwan, xl2tpd and pppd."""
    ipsec = "--plain" not in options
    return Variant(f"own-client-{name}", options, client="adit-lab", against="reference", ipsec=ipsec, reference=server)


def dials_softether(name, options):
    """Our own client dials SoftEther, which takes what comes."""
    return Variant(f"own-client-{name}", options, client="adit-lab", against="softether")


def plays(server, profiles, load, reference=""):
    """`adit-lab replay`, and `adit-lab blast` and `ramp`, against a server that others wrote."""
    common = {"against": server, "reference": reference}
    return [
        Variant(f"own-client-replay-{server}", "", client="replay", profiles=profiles, **common),
        Variant(f"own-client-load-{server}", load, client="load", **common),
    ]


VARIANTS = [
    plain("plain-pap", "pap"),
    plain("plain-chap", "chap"),
    plain("plain-mschapv2"),
    plain("plain-secret", secret=TUNNEL_SECRET),
    esp("esp-aes128-sha1", "aes128-sha1-modp2048", "aes128-sha1", profile="linux-xl2tpd"),
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
    # What stock clients do not do: another implementation, odd ports, odd choices.
    probe(
        "probe-plain", "--plain --acfc --l2tp-port 40001 --auth chap", "--ike none --auth chap",
        ipsec=False, auth="chap",
    ),
    probe(
        "probe-nat-pfs",
        "--fake-nat --pfs --ike-port 1500 --natt-port 14500 --ike-hash sha256 --esp-integrity sha256",
        "--ike-prop aes256-sha256-modp2048 --esp-prop aes128-sha256-modp2048",
    ),
    probe(
        "probe-raw-3des",
        "--no-natt --raw-esp --ike-cipher 3des --group 2 --esp-cipher 3des --auth pap",
        "--ike-prop 3des-sha1-modp1024 --esp-prop 3des-sha1 --auth pap",
        policy="compat", auth="pap",
    ),
    # What our gateway and our client would both misread, these servers do not.
    dials_reference(
        "plain-secret", f"--plain --auth chap --l2tp-secret {TUNNEL_SECRET}",
        f"--ike none --auth chap --l2tp-secret {TUNNEL_SECRET}",
    ),
    dials_reference(
        "esp-aes128gcm16", "--encapsulation esp --phase1 aes256-sha256-modp2048 --suite aes128gcm16",
        "--ike-prop aes256-sha256-modp2048 --esp-prop aes128gcm16",
    ),
    dials_reference(
        "esp-aes256-sha256", "--encapsulation esp --phase1 aes128-sha256-ecp256 --suite aes256-sha256 --auth pap",
        "--ike-prop aes128-sha256-ecp256 --esp-prop aes256-sha256 --auth pap",
    ),
    dials_reference(
        "esp-3des-sha1", "--encapsulation esp --phase1 3des-sha1-modp1024 --suite 3des-sha1",
        "--ike-prop 3des-sha1-modp1024 --esp-prop 3des-sha1",
    ),
    dials_reference(
        "natt-aes256gcm16", "--natt --phase1 aes256-sha384-ecp384 --suite aes256gcm16",
        "--ike-prop aes256-sha384-ecp384 --esp-prop aes256gcm16",
    ),
    dials_reference(
        "natt-by-server", "--encapsulation auto --phase1 aes256-sha512-modp3072 --suite aes256-sha512",
        "--ike-prop aes256-sha512-modp3072 --esp-prop aes256-sha512 --natt",
    ),
    dials_softether("softether-natt", "--natt --phase1 aes256-sha1-modp2048 --suite aes256-sha1"),
    # Not with PAP: its Authenticate-Ack lacks the Msg-Length octet, which is malformed to tshark.
    dials_softether("softether-esp", "--encapsulation esp --suite aes128-sha1"),
    dials_softether("softether-many", "--natt --suite aes128-sha1 --clients 10"),
    *plays("softether", ("windows-11", "linux-xl2tpd"), "--encapsulation natt"),
    # Linux takes one client with transport mode from an address: each has one of its own.
    *plays(
        "reference", ("windows-11", "linux-xl2tpd"), "--encapsulation esp",
        "--ike-prop aes256-sha1-modp2048,aes128-sha256-modp2048 --esp-prop aes256-sha1,aes128-sha1",
    ),
]
