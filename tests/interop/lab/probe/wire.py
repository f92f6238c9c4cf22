"""The sockets of the probe, and ESP on the way through them (RFC 4303, RFC 3948)."""

import hashlib
import hmac
import os
import select
import socket
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

ESP, UDP = 50, 17
NON_ESP_MARKER = bytes(4)
BLOCK = {"aes": 16, "3des": 8}
HASH = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}
ICV = {"sha1": 12, "sha256": 16}


def cbc(cipher, key, iv):
    algorithm = algorithms.AES(key) if cipher == "aes" else algorithms.TripleDES(key)
    return Cipher(algorithm, modes.CBC(iv))


def encrypt(cipher, key, iv, text):
    work = cbc(cipher, key, iv).encryptor()
    return work.update(text) + work.finalize()


def decrypt(cipher, key, iv, text):
    work = cbc(cipher, key, iv).decryptor()
    return work.update(text) + work.finalize()


class SecurityAssociation:
    """One direction of ESP: AES or 3DES in CBC mode with HMAC."""

    def __init__(self, spi, cipher, key, integrity, integrity_key):
        self.spi, self.cipher, self.key = spi, cipher, key
        self.integrity, self.integrity_key = integrity, integrity_key
        self.sequence = 0

    def icv(self, packet):
        return hmac.new(self.integrity_key, packet, HASH[self.integrity]).digest()[: ICV[self.integrity]]

    def seal(self, payload):
        self.sequence += 1
        padding = -(len(payload) + 2) % BLOCK[self.cipher]
        text = payload + bytes(range(1, padding + 1)) + bytes([padding, UDP])
        iv = os.urandom(BLOCK[self.cipher])
        packet = self.spi + struct.pack("!I", self.sequence) + iv + encrypt(self.cipher, self.key, iv, text)
        return packet + self.icv(packet)

    def open(self, packet):
        """The payload, or None if the packet is not authentic."""
        body, block = packet[: -ICV[self.integrity]], BLOCK[self.cipher]
        if not hmac.compare_digest(self.icv(body), packet[len(body):]):
            return None
        text = decrypt(self.cipher, self.key, body[8 : 8 + block], body[8 + block :])
        return text[: -2 - text[-2]]


class Wire:
    """Sends and receives IKE messages and L2TP packets, these in ESP once there are SAs."""

    def __init__(self, server, local, options):
        self.server, self.local, self.options = server, local, options
        self.floated = False  # IKE has moved to port 4500
        self.inbound = self.outbound = None
        self.ike, self.natt, self.l2tp = (self.udp(port) for port in (options.ike_port, options.natt_port, options.l2tp_port))
        self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, ESP)
        self.raw.bind((local, 0))

    def udp(self, port):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((self.local, port))
        return opened

    def send_ike(self, message):
        if self.floated:
            self.natt.sendto(NON_ESP_MARKER + message, (self.server, 4500))
        else:
            self.ike.sendto(message, (self.server, 500))

    def send_l2tp(self, packet):
        if self.outbound is None:
            return self.l2tp.sendto(packet, (self.server, 1701))
        datagram = struct.pack("!HHHH", self.options.l2tp_port, 1701, 8 + len(packet), 0) + packet
        esp = self.outbound.seal(datagram)
        if self.options.raw_esp:
            self.raw.sendto(esp, (self.server, 0))
        else:
            self.natt.sendto(esp, (self.server, 4500))

    def receive(self, seconds):
        """('ike' | 'l2tp', bytes), or None when the time is over."""
        ready, _, _ = select.select([self.ike, self.natt, self.raw, self.l2tp], [], [], seconds)
        for source in ready[:1]:
            packet = source.recv(65535)
            if source is self.ike:
                return "ike", packet
            if source is self.l2tp:
                return "l2tp", packet
            if source is self.natt and packet.startswith(NON_ESP_MARKER):
                return "ike", packet[4:]
            if source is self.raw:
                packet = packet[(packet[0] & 15) * 4 :]
            return self.opened(packet)
        return None

    def opened(self, packet):
        if not self.inbound or packet[:4] != self.inbound.spi:
            return None
        datagram = self.inbound.open(packet)
        if datagram is None:
            raise SystemExit("an ESP packet with a bad ICV came")
        return "l2tp", datagram[8:]
