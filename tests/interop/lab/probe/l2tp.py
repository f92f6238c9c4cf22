"""L2TPv2 as a LAC: one tunnel, one incoming call (RFC 2661)."""

import os
import struct

SCCRQ, SCCRP, SCCCN, STOPCCN, HELLO, ICRQ, ICRP, ICCN, CDN = 1, 2, 3, 4, 6, 10, 11, 12, 14
RESULT, PROTOCOL, FRAMING, BEARER, HOST_NAME, TUNNEL_ID, WINDOW = 1, 2, 3, 4, 7, 9, 10
SESSION_ID, SERIAL, FRAMING_TYPE, TX_SPEED = 14, 15, 19, 24
TYPE, LENGTH, SEQUENCE, OFFSET = 0x8000, 0x4000, 0x0800, 0x0200


def avp(kind, value):
    return struct.pack("!HHH", 0x8000 | (6 + len(value)), 0, kind) + value


def short(kind, value):
    return avp(kind, struct.pack("!H", value))


def parse_avps(octets):
    """{type: value} of the IETF's AVPs."""
    found, at = {}, 0
    while at + 6 <= len(octets):
        flags, vendor, kind = struct.unpack_from("!HHH", octets, at)
        length = flags & 0x3FF
        if length < 6:
            break
        if vendor == 0:
            found[kind] = octets[at + 6 : at + length]
        at += length
    return found


class Call:
    def __init__(self, wire, options, log):
        self.wire, self.o, self.log = wire, options, log
        self.tunnel = options.tunnel_id or 1 + int.from_bytes(os.urandom(2), "big") % 65000
        self.session = 1
        self.peer_tunnel = self.peer_session = 0
        self.ns = self.nr = 0
        self.unacknowledged = []  # (Ns, packet)
        self.established = False

    def send(self, kind, session=0, avps=b""):
        """A control message; without a type the empty acknowledgment."""
        body = (short(0, kind) if kind else b"") + avps
        head = struct.pack("!HHHHHH", 0xC802, 12 + len(body), self.peer_tunnel, session, self.ns, self.nr)
        self.wire.send_l2tp(head + body)
        if kind:
            self.unacknowledged.append((self.ns, head + body))
            self.ns += 1

    def repeat(self):
        for _, packet in self.unacknowledged:
            self.wire.send_l2tp(packet)

    def dial(self):
        offers = avp(PROTOCOL, b"\1\0") + avp(HOST_NAME, b"probe") + avp(FRAMING, b"\0\0\0\3")
        offers += avp(BEARER, bytes(4)) + short(TUNNEL_ID, self.tunnel) + short(WINDOW, 4)
        self.send(SCCRQ, 0, offers)

    def handle_input(self, packet):
        """The PPP frame of a data packet; None for anything else."""
        flags = struct.unpack_from("!H", packet)[0]
        if flags & TYPE:
            return self.handle_control(packet)
        at = 4 if flags & LENGTH else 2
        tunnel, session = struct.unpack_from("!HH", packet, at)
        at += 8 if flags & SEQUENCE else 4
        if flags & OFFSET:
            at += 2 + struct.unpack_from("!H", packet, at)[0]
        return packet[at:] if (tunnel, session) == (self.tunnel, self.session) else None

    def handle_control(self, packet):
        _, length, tunnel, _, ns, nr = struct.unpack_from("!HHHHHH", packet)
        if tunnel != self.tunnel:
            return
        self.unacknowledged = [sent for sent in self.unacknowledged if sent[0] >= nr]
        if length == 12:
            return
        if ns != self.nr:
            return self.send(0)
        self.nr += 1
        avps = parse_avps(packet[12:length])
        kind = struct.unpack("!H", avps.pop(0))[0]
        self.log(f"L2TP message {kind} {({k: v.hex() for k, v in avps.items()})}")
        if kind == SCCRP:
            self.peer_tunnel = struct.unpack("!H", avps[TUNNEL_ID])[0]
            self.send(SCCCN)
            self.send(ICRQ, 0, short(SESSION_ID, self.session) + avp(SERIAL, b"\0\0\0\1"))
        elif kind == ICRP:
            self.peer_session = struct.unpack("!H", avps[SESSION_ID])[0]
            self.send(ICCN, self.peer_session, avp(TX_SPEED, struct.pack("!I", 10**8)) + avp(FRAMING_TYPE, b"\0\0\0\1"))
            self.established = True
        elif kind in (STOPCCN, CDN):
            raise SystemExit(f"the server closed: message {kind}, result {avps.get(RESULT, b'').hex()}")
        else:
            self.send(0)

    def send_frame(self, frame):
        self.wire.send_l2tp(struct.pack("!HHHH", 0x4002, 8 + len(frame), self.peer_tunnel, self.peer_session) + frame)

    def hang_up(self):
        if self.established:
            self.send(CDN, self.peer_session, short(RESULT, 3) + short(SESSION_ID, self.session))
        if self.peer_tunnel:
            self.send(STOPCCN, 0, short(RESULT, 1) + short(TUNNEL_ID, self.tunnel))
