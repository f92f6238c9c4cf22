"""The reference server's keys, in the form in which Adit logs its own.

ESP keys come from `ip xfrm monitor`, IKE keys from charon's log at level 4, which does
not name the exchange: the n-th key belongs to the n-th main mode of the capture.
"""

import re
import subprocess

XFRM_NAMES = {
    "cbc(aes)": "aes-cbc",
    "cbc(des3_ede)": "3des-cbc",
    "rfc4106(gcm(aes))": "aes-gcm-16",
    "hmac(sha1)": "hmac-sha1-96",
    "hmac(sha256)": "hmac-sha2-256-128",
    "hmac(sha384)": "hmac-sha2-384-192",
    "hmac(sha512)": "hmac-sha2-512-256",
}


def key_log(logs, capture):
    tables = [("ike", row) for row in ike_rows(logs, capture)] + [("esp", row) for row in esp_rows(logs)]
    return "\n".join(
        f"[[{name}]]\n" + "".join(f'{key} = "{value}"\n' for key, value in row.items()) for name, row in tables
    )


def esp_rows(logs):
    """One row for each SA that the kernel was given."""
    monitor = logs / "xfrm.log"
    text = monitor.read_text() if monitor.exists() else ""
    rows = {}
    for sa in re.split(r"^(?=\S.*\bsrc |src )", text, flags=re.M):
        head = re.search(r"src (\S+) dst (\S+)\s+proto esp spi (0x\w+)", sa)
        cipher = re.search(r"(?:enc|aead) (\S+) 0x(\w+)", sa)
        if not head or not cipher:
            continue
        row = {"spi": head[3], "cipher": XFRM_NAMES[cipher[1]], "key": cipher[2]}
        integrity = re.search(r"auth(?:-trunc)? (\S+) 0x(\w+)", sa)
        if integrity:
            row |= {"integrity": XFRM_NAMES[integrity[1]], "integrity_key": integrity[2]}
        rows[head[3]] = row | {"src": head[1], "dst": head[2]}
    return rows.values()


def ike_rows(logs, capture):
    log = logs / "charon.log"
    keys = logged_bytes(log.read_text(errors="replace"), "encryption key Ka") if log.exists() else []
    command = ["tshark", "-r", capture, "-Y", "isakmp.exchangetype == 2", "-T", "fields", "-e", "isakmp.ispi"]
    cookies = dict.fromkeys(subprocess.run(command, capture_output=True, text=True).stdout.split())
    return [{"initiator_cookie": cookie, "cipher": "aes-cbc", "key": key} for cookie, key in zip(cookies, keys)]


def logged_bytes(text, name):
    """Every value of a `name => N bytes @ …` dump in charon's log, as hexadecimal digits."""
    values = []
    for dump in re.finditer(re.escape(name) + r" => (\d+) bytes @.*\n((?:.*?\s+\d+: (?:[0-9A-F]{2} )+.*\n)+)", text):
        octets = "".join(re.findall(r"\s\d+: ((?:[0-9A-F]{2} )+)", dump[2])).replace(" ", "")
        values.append(octets[: int(dump[1]) * 2].lower())
    return values
