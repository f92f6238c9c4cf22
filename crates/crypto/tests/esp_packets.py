#!/usr/bin/env python3
"""Writes esp_packets.txt: one sealed ESP packet per suite, without and with ESN, made by OpenSSL
through the Python package `cryptography`, which shares no code with the crate under test.

    python3 esp_packets.py > esp_packets.txt
"""
import hashlib, hmac, struct
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES

SPI, SEQ, HIGH = 0xC0FFEE01, 0x01020304, 0x0A0B0C0D
IV_KEY = bytes(range(0xE0, 0xF0))
CLEAR = bytes((7 * i) % 256 for i in range(78)) + bytes([0, 17])
INTEGRITY = {"sha1": (20, 12), "sha256": (32, 16), "sha384": (48, 24), "sha512": (64, 32)}


def encrypt(algorithm, mode, clear):
    encryptor = Cipher(algorithm, mode).encryptor()
    return encryptor.update(clear) + encryptor.finalize()


def gcm(bits, high):
    keymat = bytes(range(1, bits // 8 + 5))
    key, salt = keymat[:-4], keymat[-4:]
    header = struct.pack(">II", SPI, SEQ)
    associated = header if high is None else struct.pack(">III", SPI, high, SEQ)
    iv = struct.pack(">II", high or 0, SEQ)
    return keymat, header + iv + AESGCM(key).encrypt(salt + iv, CLEAR, associated)


def cbc(algorithm, key_len, block, name, high):
    integrity_len, icv_len = INTEGRITY[name]
    keymat = bytes(range(1, key_len + integrity_len + 1))
    header = struct.pack(">II", SPI, SEQ)
    iv = encrypt(AES(IV_KEY), modes.ECB(), struct.pack(">QII", 0, high or 0, SEQ))[:block]
    body = encrypt(algorithm(keymat[:key_len]), modes.CBC(iv), CLEAR)
    signed = header + iv + body
    tail = b"" if high is None else struct.pack(">I", high)
    icv = hmac.new(keymat[key_len:], signed + tail, getattr(hashlib, name)).digest()[:icv_len]
    return keymat, signed + icv


print("# suite, ESN upper half or -, KEYMAT, sealed packet; written by esp_packets.py")
for high in (None, HIGH):
    esn = "-" if high is None else f"{high:08x}"
    for bits in (128, 192, 256):
        keymat, packet = gcm(bits, high)
        print(f"aes{bits}gcm16", esn, keymat.hex(), packet.hex())
    for name in INTEGRITY:
        for bits in (128, 192, 256):
            keymat, packet = cbc(AES, bits // 8, 16, name, high)
            print(f"aes{bits}-{name}", esn, keymat.hex(), packet.hex())
        keymat, packet = cbc(TripleDES, 24, 8, name, high)
        print(f"3des-{name}", esn, keymat.hex(), packet.hex())
