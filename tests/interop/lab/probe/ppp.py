"""PPP as the client: LCP, PAP, CHAP-MD5 and MS-CHAPv2, IPCP (RFC 1661, 1334, 1994, 2759, 1332)."""

import hashlib
import os
import socket
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

IP, IPCP, LCP, PAP, CHAP = 0x0021, 0x8021, 0xC021, 0xC023, 0xC223
REQUEST, ACK, NAK, REJECT, TERMINATE, TERMINATE_ACK, PROTOCOL_REJECT, ECHO, ECHO_REPLY = 1, 2, 3, 4, 5, 6, 8, 9, 10
CHALLENGE, RESPONSE, SUCCESS, FAILURE = 1, 2, 3, 4
MRU, AUTH, MAGIC, ADDRESS = 1, 3, 5, 3
METHODS = {"pap": b"\xc0\x23", "chap": b"\xc2\x23\x05", "mschapv2": b"\xc2\x23\x81"}


def rotated(word, count):
    return ((word << count) | (word >> (32 - count))) & 0xFFFFFFFF


def md4(message):
    """RFC 1320; OpenSSL no longer offers it."""
    length = struct.pack("<Q", len(message) * 8)
    message += b"\x80" + bytes((55 - len(message)) % 64) + length
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    orders = (range(16), [i % 4 * 4 + i // 4 for i in range(16)], (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15))
    shifts = ((3, 7, 11, 19), (3, 5, 9, 13), (3, 9, 11, 15))
    mixes = (lambda b, c, d: (b & c) | (~b & d), lambda b, c, d: (b & c) | (b & d) | (c & d), lambda b, c, d: b ^ c ^ d)
    for start in range(0, len(message), 64):
        words = struct.unpack_from("<16I", message, start)
        a, b, c, d = state
        for order, shift, mix, constant in zip(orders, shifts, mixes, (0, 0x5A827999, 0x6ED9EBA1)):
            for step, index in enumerate(order):
                total = (a + (mix(b, c, d) & 0xFFFFFFFF) + words[index] + constant) & 0xFFFFFFFF
                a, b, c, d = d, rotated(total, shift[step % 4]), b, c
        state = [(old + new) & 0xFFFFFFFF for old, new in zip(state, (a, b, c, d))]
    return struct.pack("<4I", *state)


def des(key, block):
    """DES with a key of 56 bits, as triple DES with three equal keys."""
    bits = int.from_bytes(key, "big")
    spread = bytes(((bits >> (49 - 7 * i)) & 0x7F) << 1 for i in range(8))
    work = Cipher(algorithms.TripleDES(spread * 3), modes.ECB()).encryptor()
    return work.update(block) + work.finalize()


def mschapv2(user, password, challenge, peer_challenge):
    """RFC 2759 §8: the NT-Response, and the authenticator response to expect."""
    digest = hashlib.sha1(peer_challenge + challenge + user).digest()[:8]
    password_hash = md4(password.encode("utf-16-le"))
    padded = password_hash.ljust(21, b"\0")
    response = b"".join(des(padded[i : i + 7], digest) for i in (0, 7, 14))
    proof = hashlib.sha1(md4(password_hash) + response + b"Magic server to client signing constant").digest()
    proof = hashlib.sha1(proof + digest + b"Pad to make it do more than one iteration").hexdigest()
    return response, "S=" + proof.upper()


# RFC 2759 §9.2.
assert mschapv2(b"User", "clientPass", bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628"),
                bytes.fromhex("21402324255E262A28295F2B3A337C7E"))[1] == "S=407A5589115FD0D6209F510FE9C04566932CDA56"


def options_of(body):
    at = 0
    while at + 2 <= len(body) and body[at + 1] >= 2:
        yield body[at], body[at + 2 : at + body[at + 1]]
        at += body[at + 1]


def option(kind, value):
    return bytes([kind, 2 + len(value)]) + value


class Link:
    def __init__(self, call, options, log):
        self.call, self.o, self.log = call, options, log
        self.wanted = {MRU: struct.pack("!H", options.mru), MAGIC: os.urandom(4)}
        self.address = options.request_ip
        self.lcp_id = 0
        self.naks = 0
        self.ours_acked = self.theirs_acked = self.authenticated = False
        self.method = self.expected_proof = None
        self.gateway = self.up = False
        self.received = []  # IP packets

    # ---- frames
    def send(self, protocol, body):
        head = b"" if self.o.acfc else b"\xff\x03"
        self.call.send_frame(head + struct.pack("!H", protocol) + body)

    def send_packet(self, protocol, code, identifier, body=b""):
        self.send(protocol, struct.pack("!BBH", code, identifier, 4 + len(body)) + body)

    def request_lcp(self):
        self.lcp_id += 1
        self.send_packet(LCP, REQUEST, self.lcp_id, b"".join(option(*pair) for pair in self.wanted.items()))

    def request_ipcp(self):
        self.send_packet(IPCP, REQUEST, 5, option(ADDRESS, socket.inet_aton(self.address)))

    def repeat(self):
        """Sends again what was not answered."""
        if not self.ours_acked:
            self.request_lcp()
        elif self.authenticated and not self.up:
            self.request_ipcp()
        elif self.theirs_acked and not self.authenticated:
            self.authenticate_by_pap()

    def handle_input(self, frame):
        frame = frame.removeprefix(b"\xff\x03")
        if frame[0] & 1:
            protocol, packet = frame[0], frame[1:]
        else:
            protocol, packet = struct.unpack_from("!H", frame)[0], frame[2:]
        if protocol == IP:
            return self.received.append(packet)
        code, identifier, length = struct.unpack_from("!BBH", packet)
        body = packet[4:length]
        if code not in (ECHO, ECHO_REPLY):
            self.log(f"PPP {protocol:04x} code {code} id {identifier} {body.hex()}")
        handlers = {LCP: self.lcp, PAP: self.pap, CHAP: self.chap, IPCP: self.ipcp}
        if protocol in handlers:
            handlers[protocol](code, identifier, body)
        else:
            self.send_packet(LCP, PROTOCOL_REJECT, 77, struct.pack("!H", protocol) + packet)

    # ---- LCP
    def lcp(self, code, identifier, body):
        was_open = self.ours_acked and self.theirs_acked
        if code == REQUEST:
            self.lcp_request(identifier, body)
        elif code == ACK:
            self.ours_acked = True
        elif code in (NAK, REJECT) and identifier == self.lcp_id:
            for kind, value in options_of(body):
                if code == REJECT:
                    self.wanted.pop(kind, None)
                elif kind in self.wanted:
                    self.wanted[kind] = value
            self.request_lcp()
        elif code == ECHO:
            self.send_packet(LCP, ECHO_REPLY, identifier, self.wanted.get(MAGIC, bytes(4)))
        elif code == TERMINATE:
            self.send_packet(LCP, TERMINATE_ACK, identifier)
            raise SystemExit(f"the server terminates the link: {body!r}")
        if self.ours_acked and self.theirs_acked and not was_open:
            self.authenticate_by_pap()

    def lcp_request(self, identifier, body):
        offered, wanted = dict(options_of(body)).get(AUTH), METHODS.get(self.o.auth)
        if offered and wanted and offered != wanted and self.naks < 4:
            self.naks += 1
            self.send_packet(LCP, NAK, identifier, option(AUTH, wanted))
        else:
            self.method, self.theirs_acked = offered, True
            self.send_packet(LCP, ACK, identifier, body)

    # ---- authentication
    def authenticate_by_pap(self):
        if self.method != METHODS["pap"]:
            return
        user, password = self.o.user.encode(), self.o.password.encode()
        self.send_packet(PAP, REQUEST, 1, bytes([len(user)]) + user + bytes([len(password)]) + password)

    def pap(self, code, _, body):
        if code == NAK:
            raise SystemExit(f"PAP: refused, {body!r}")
        self.is_authenticated()

    def is_authenticated(self):
        if not self.authenticated:
            self.authenticated = True
            self.request_ipcp()

    def chap(self, code, identifier, body):
        if code == CHALLENGE:
            self.chap_response(identifier, body[1 : 1 + body[0]])
        elif code == FAILURE:
            raise SystemExit(f"CHAP: refused, {body!r}")
        elif code == SUCCESS:
            if self.expected_proof and not body.startswith(self.expected_proof.encode()):
                raise SystemExit(f"MS-CHAPv2: the server does not know the password: {body!r}")
            self.is_authenticated()

    def chap_response(self, identifier, challenge):
        user, password = self.o.user.encode(), self.o.password
        if self.method == METHODS["chap"]:
            value = hashlib.md5(bytes([identifier]) + password.encode() + challenge).digest()
        else:
            peer_challenge = os.urandom(16)
            response, self.expected_proof = mschapv2(user.split(b"\\")[-1], password, challenge, peer_challenge)
            value = peer_challenge + bytes(8) + response + b"\0"
        self.send_packet(CHAP, RESPONSE, identifier, bytes([len(value)]) + value + user)

    # ---- IPCP
    def ipcp(self, code, identifier, body):
        if code == REQUEST:
            self.send_packet(IPCP, ACK, identifier, body)
            self.gateway = True
        elif code == NAK:
            self.address = socket.inet_ntoa(dict(options_of(body))[ADDRESS])
            self.request_ipcp()
        elif code == REJECT:
            raise SystemExit("IPCP: the server gives no address")
        elif code == ACK:
            self.up = True

    # ---- IP
    def ping(self, to, number, size=56):
        """Sends an ICMP echo request."""
        body = struct.pack("!BBHHH", 8, 0, 0, 0x4242, number) + bytes(size)
        body = body[:2] + checksum(body) + body[4:]
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), number, 0, 64, 1, 0,
                           socket.inet_aton(self.address), socket.inet_aton(to))
        self.send(IP, head[:10] + checksum(head) + head[12:] + body)

    def pong(self, number):
        """Whether the reply has come."""
        return any(packet[9] == 1 and packet[20] == 0 and packet[26:28] == struct.pack("!H", number) for packet in self.received)


def checksum(octets):
    octets += bytes(len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
