"""Capture files, as far as tshark needs help with them."""

import struct

FILE_HEADER, RECORD_HEADER = 24, struct.Struct("<IIII")
ETHERNET, UDP = 14, 17
IKE_PORT, NATT_PORT = 500, 4500


def without_ike_repetitions(source, target):
    """Copies a capture less every IKE message that is the same, byte by byte, as an earlier one.

    tshark takes each copy of an encrypted message for the next one of the exchange and then
    decrypts it with the wrong IV: a retransmission looks malformed to it. Returns how many."""
    seen, dropped = set(), 0
    with open(source, "rb") as capture, open(target, "wb") as copy:
        copy.write(capture.read(FILE_HEADER))
        while head := capture.read(RECORD_HEADER.size):
            frame = capture.read(RECORD_HEADER.unpack(head)[2])
            message = ike_message(frame)
            if message in seen:
                dropped += 1
                continue
            if message:
                seen.add(message)
            copy.write(head + frame)
    return dropped


def ike_message(frame):
    """Addresses and octets of the IKE message in an Ethernet frame, or None."""
    if frame[12:14] != b"\x08\x00" or frame[ETHERNET + 9] != UDP:
        return None
    udp = ETHERNET + (frame[ETHERNET] & 15) * 4
    ports = struct.unpack_from("!HH", frame, udp)
    payload = frame[udp + 8 :]
    is_ike = IKE_PORT in ports or (NATT_PORT in ports and payload[:4] == bytes(4))
    return frame[ETHERNET + 12 : ETHERNET + 20] + payload if is_ike else None
