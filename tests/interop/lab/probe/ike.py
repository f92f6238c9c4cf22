"""IKEv1 as the initiator: main mode with a pre-shared key, quick mode (RFC 2407–2409, 3947)."""

import hmac
import os
import socket
import struct
import time

from wire import BLOCK, HASH, SecurityAssociation, decrypt, encrypt

MAIN_MODE, QUICK_MODE, INFORMATIONAL = 2, 32, 5
SA, KE, ID, HASH_PAYLOAD, NONCE, NOTIFY, DELETE, VENDOR, NAT_D, NAT_OA = 1, 4, 5, 8, 10, 11, 12, 13, 20, 21
ENCRYPTED = 1
R_U_THERE, R_U_THERE_ACK = 36136, 36137
ISAKMP_SA, IPSEC_ESP = 1, 3
TRANSPORT, UDP_TRANSPORT = 2, 4

RFC3947 = bytes.fromhex("4a131c81070358455c5728f20e95452f")
DPD = bytes.fromhex("afcad71368a1f1c96b8696fc77570100")

# RFC 2409 §6.2 and RFC 3526 §3: modulus and its length in octets.
GROUPS = {
    2: ("ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd"
        "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed"
        "ee386bfb5a899fa5ae9f24117c4b1fe649286651ece65381ffffffffffffffff", 128),
    14: ("ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd"
         "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed"
         "ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f"
         "83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b"
         "e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa0510"
         "15728e5a8aacaa68ffffffffffffffff", 256),
}
# Transform attribute values: RFC 2409 appendix A, RFC 2407 §4.4 and §4.5.
IKE_CIPHER = {"aes": 7, "3des": 5}
IKE_HASH = {"sha1": 2, "sha256": 4}
ESP_CIPHER = {"aes": 12, "3des": 3}
ESP_INTEGRITY = {"sha1": 2, "sha256": 5}


class DiffieHellman:
    def __init__(self, group):
        self.prime, self.length = int(GROUPS[group][0], 16), GROUPS[group][1]
        self.secret = int.from_bytes(os.urandom(40), "big")
        self.public = self.raised(2)

    def raised(self, base):
        return pow(base, self.secret, self.prime).to_bytes(self.length, "big")

    def shared(self, peer):
        return self.raised(int.from_bytes(peer, "big"))


def attribute(kind, value):
    return struct.pack("!HH", 0x8000 | kind, value)


def payload(following, body):
    return struct.pack("!BBH", following, 0, 4 + len(body)) + body


def chain(payloads):
    """[(type, body)] as octets; each names the type of the one behind it."""
    following = [kind for kind, _ in payloads[1:]] + [0]
    return b"".join(payload(after, body) for after, (_, body) in zip(following, payloads))


def parse(first, octets):
    """[(type, body)] of a chain, and its length without padding."""
    found, kind, at = [], first, 0
    while kind and at + 4 <= len(octets):
        after, _, length = struct.unpack_from("!BBH", octets, at)
        if length < 4:
            break
        found.append((kind, octets[at + 4 : at + length]))
        kind, at = after, at + length
    return found, at


def one(payloads, kind):
    return next(body for found, body in payloads if found == kind)


def proposal(protocol, spi, transform_id, attributes):
    transform = payload(0, bytes([1, transform_id, 0, 0]) + attributes)
    inner = payload(0, bytes([1, protocol, len(spi), 1]) + spi + transform)
    return struct.pack("!II", 1, 1) + inner  # DOI IPsec, SIT_IDENTITY_ONLY


class Exchange:
    """An ISAKMP SA and the pair of IPsec SAs under it."""

    def __init__(self, wire, options, log):
        self.wire, self.o, self.log = wire, options, log
        self.cipher, self.hash = options.ike_cipher, HASH[options.ike_hash]
        self.block = BLOCK[self.cipher]
        self.cookies = (os.urandom(8), bytes(8))
        self.spi_in = None

    # ---- messages
    def prf(self, key, text):
        return hmac.new(key, text, self.hash).digest()

    def send(self, first, exchange, flags, message_id, body):
        head = b"".join(self.cookies) + bytes([first, 0x10, exchange, flags]) + message_id
        self.wire.send_ike(head + struct.pack("!I", 28 + len(body)) + body)

    def send_clear(self, payloads):
        self.send(payloads[0][0], MAIN_MODE, 0, bytes(4), chain(payloads))

    def send_encrypted(self, exchange, message_id, iv, payloads):
        """Encrypts; the last block is the next IV."""
        text = chain(payloads)
        text = encrypt(self.cipher, self.ike_key, iv, text + bytes(-len(text) % self.block))
        self.send(payloads[0][0], exchange, ENCRYPTED, message_id, text)
        return text[-self.block :]

    def decrypted(self, message, iv):
        return parse(message[16], decrypt(self.cipher, self.ike_key, iv, message[28:]))

    def first_iv(self, message_id):
        """RFC 2409 appendix B: the IV of a phase 2 exchange."""
        return self.hash(self.last_block + message_id).digest()[: self.block]

    def answer(self, wanted, seconds=6):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kind, message = self.wire.receive(0.1) or (None, b"")
            if kind != "ike" or len(message) < 28 or message[:8] != self.cookies[0]:
                continue
            if wanted(message[18], message[20:24], message):
                return message
            self.informational(message)
        raise SystemExit("no IKE answer")

    # ---- main mode
    def main_mode(self):
        o = self.o
        bits = attribute(14, o.ike_bits) if self.cipher == "aes" else b""
        attributes = attribute(1, IKE_CIPHER[self.cipher]) + bits + attribute(2, IKE_HASH[o.ike_hash])
        attributes += attribute(3, 1) + attribute(4, o.group) + attribute(11, 1) + attribute(12, 28800)
        sa = proposal(ISAKMP_SA, b"", 1, attributes)
        vendors = ([] if o.no_natt else [(VENDOR, RFC3947)]) + [(VENDOR, DPD)]
        self.send_clear([(SA, sa)] + vendors)
        message = self.answer(lambda exchange, *_: exchange == MAIN_MODE)
        self.cookies = (self.cookies[0], message[8:16])

        dh, nonce = DiffieHellman(o.group), os.urandom(16)
        self.send_clear([(KE, dh.public), (NONCE, nonce)] + self.nat_detection())
        message = self.answer(lambda exchange, _, m: exchange == MAIN_MODE and m[16] == KE)
        theirs, _ = parse(message[16], message[28:])
        self.look_for_nat([body for kind, body in theirs if kind == NAT_D])
        self.derive(dh, one(theirs, KE), nonce, one(theirs, NONCE))
        self.authenticate(sa, dh.public, one(theirs, KE))

    def nat_digest(self, address, port):
        return self.hash(b"".join(self.cookies) + socket.inet_aton(address) + struct.pack("!H", port)).digest()

    def nat_detection(self):
        if self.o.no_natt:
            return []
        mine = self.nat_digest(self.wire.local, self.o.ike_port)
        # A digest of nothing makes the server believe in a NAT.
        mine = os.urandom(len(mine)) if self.o.fake_nat else mine
        return [(NAT_D, self.nat_digest(self.wire.server, 500)), (NAT_D, mine)]

    def look_for_nat(self, digests):
        here = bool(digests) and digests[0] != self.nat_digest(self.wire.local, self.o.ike_port)
        there = bool(digests) and self.nat_digest(self.wire.server, 500) not in digests[1:]
        self.log(f"{len(digests)} NAT-D payloads; NAT here: {here}, there: {there}")
        self.wire.floated = here or there or self.o.fake_nat

    def derive(self, dh, peer_public, nonce, peer_nonce):
        """RFC 2409 §5: SKEYID and what comes of it."""
        shared, cookies = dh.shared(peer_public), b"".join(self.cookies)
        self.skeyid = self.prf(self.o.psk.encode(), nonce + peer_nonce)
        self.skeyid_d = self.prf(self.skeyid, shared + cookies + b"\0")
        self.skeyid_a = self.prf(self.skeyid, self.skeyid_d + shared + cookies + b"\1")
        skeyid_e = self.prf(self.skeyid, self.skeyid_a + shared + cookies + b"\2")
        length = self.o.ike_bits // 8 if self.cipher == "aes" else 24
        key = skeyid_e
        if len(key) < length:  # appendix B: K1 = prf(SKEYID_e, 0), K2 = prf(SKEYID_e, K1) …
            key = block = self.prf(skeyid_e, b"\0")
            while len(key) < length:
                block = self.prf(skeyid_e, block)
                key += block
        self.ike_key = key[:length]

    def authenticate(self, sa, public, peer_public):
        iv = self.hash(public + peer_public).digest()[: self.block]
        identity = bytes([1, 0, 0, 0]) + socket.inet_aton(self.wire.local)
        forward, backward = self.cookies[0] + self.cookies[1], self.cookies[1] + self.cookies[0]
        proof = self.prf(self.skeyid, public + peer_public + forward + sa + identity)
        iv = self.send_encrypted(MAIN_MODE, bytes(4), iv, [(ID, identity), (HASH_PAYLOAD, proof)])
        message = self.answer(lambda exchange, _, m: exchange == MAIN_MODE and m[19] & ENCRYPTED)
        theirs, _ = self.decrypted(message, iv)
        expected = self.prf(self.skeyid, peer_public + public + backward + sa + one(theirs, ID))
        if one(theirs, HASH_PAYLOAD) != expected:
            raise SystemExit("HASH_R is wrong")
        self.last_block = message[-self.block :]

    # ---- quick mode
    def quick_mode(self):
        o, message_id, nonce = self.o, os.urandom(4), os.urandom(16)
        self.spi_in = os.urandom(4)
        dh = DiffieHellman(o.group) if o.pfs else None
        payloads = self.quick_mode_offer(nonce, dh)
        proof = self.prf(self.skeyid_a, message_id + chain(payloads))
        iv = self.first_iv(message_id)
        iv = self.send_encrypted(QUICK_MODE, message_id, iv, [(HASH_PAYLOAD, proof)] + payloads)
        message = self.answer(lambda exchange, number, _: exchange == QUICK_MODE and number == message_id)

        text = decrypt(self.cipher, self.ike_key, iv, message[28:])
        theirs, used = parse(message[16], text)
        if self.prf(self.skeyid_a, message_id + nonce + text[4 + len(proof) : used]) != one(theirs, HASH_PAYLOAD):
            raise SystemExit("HASH(2) is wrong")
        nonces, spi_out = nonce + one(theirs, NONCE), one(theirs, SA)[16:20]
        proof = self.prf(self.skeyid_a, b"\0" + message_id + nonces)
        self.send_encrypted(QUICK_MODE, message_id, message[-self.block :], [(HASH_PAYLOAD, proof)])
        shared = dh.shared(one(theirs, KE)) if dh else b""
        self.wire.inbound = self.child(self.spi_in, shared, nonces)
        self.wire.outbound = self.child(spi_out, shared, nonces)

    def quick_mode_offer(self, nonce, dh):
        o = self.o
        mode = o.mode or (UDP_TRANSPORT if self.wire.floated and not o.raw_esp else TRANSPORT)
        attributes = attribute(1, 1) + attribute(2, 3600) + attribute(4, mode)
        attributes += attribute(5, ESP_INTEGRITY[o.esp_integrity])
        attributes += attribute(6, o.esp_bits) if o.esp_cipher == "aes" else b""
        attributes += attribute(3, o.group) if dh else b""
        payloads = [(SA, proposal(IPSEC_ESP, self.spi_in, ESP_CIPHER[o.esp_cipher], attributes)), (NONCE, nonce)]
        payloads += [(KE, dh.public)] if dh else []
        ends = [(self.wire.local, o.l2tp_port), (self.wire.server, 1701)]
        payloads += [(ID, bytes([1, 17]) + struct.pack("!H", port) + socket.inet_aton(host)) for host, port in ends]
        if self.wire.floated:
            payloads += [(NAT_OA, bytes([1, 0, 0, 0]) + socket.inet_aton(host)) for host, _ in ends]
        return payloads

    def child(self, spi, shared, nonces):
        """RFC 2409 §5.5: KEYMAT = prf(SKEYID_d, [g(qm)^xy |] protocol | SPI | Ni_b | Nr_b), as often as needed."""
        o = self.o
        cipher_length = o.esp_bits // 8 if o.esp_cipher == "aes" else 24
        length = cipher_length + HASH[o.esp_integrity]().digest_size
        seed = shared + bytes([IPSEC_ESP]) + spi + nonces
        keymat = block = self.prf(self.skeyid_d, seed)
        while len(keymat) < length:
            block = self.prf(self.skeyid_d, block + seed)
            keymat += block
        return SecurityAssociation(spi, o.esp_cipher, keymat[:cipher_length], o.esp_integrity, keymat[cipher_length:length])

    # ---- informational
    def informational(self, message):
        if message[18] != INFORMATIONAL:
            return
        if message[19] & ENCRYPTED and hasattr(self, "last_block"):
            payloads, _ = self.decrypted(message, self.first_iv(message[20:24]))
        else:
            payloads, _ = parse(message[16], message[28:])
        for kind, body in payloads:
            if kind == NOTIFY:
                number = struct.unpack_from("!H", body, 6)[0]
                self.log(f"notify {number} {body[8:].hex()}")
                if number == R_U_THERE:
                    self.inform([(NOTIFY, body[:6] + struct.pack("!H", R_U_THERE_ACK) + body[8:])])
            elif kind == DELETE:
                self.log(f"delete protocol {body[4]} {body[8:].hex()}")

    def inform(self, payloads):
        message_id = os.urandom(4)
        proof = self.prf(self.skeyid_a, message_id + chain(payloads))
        self.send_encrypted(INFORMATIONAL, message_id, self.first_iv(message_id), [(HASH_PAYLOAD, proof)] + payloads)

    def close(self):
        if self.spi_in:
            self.inform([(DELETE, struct.pack("!IBBH", 1, IPSEC_ESP, 4, 1) + self.spi_in)])
        if hasattr(self, "last_block"):
            self.inform([(DELETE, struct.pack("!IBBH", 1, ISAKMP_SA, 16, 1) + b"".join(self.cookies))])
