#!/usr/bin/env python3
"""An L2TP client that opens tunnels and the calls in them over UDP, and no PPP (RFC 2661).

  l2tp.py SERVER TUNNELS CALLS [UNDER_WAY]     CALLS in each tunnel; prints one JSON object

Every tunnel has a port of its own. A message that is not acknowledged within a second is sent
again; a tunnel counts when its last ICCN is acknowledged.
"""

import json
import select
import socket
import struct
import sys
import time

PORT = 1701
FLAGS = 0xC802  # control, Length and sequence numbers present, version 2
HEADER = struct.Struct("!6H")
SCCRQ, SCCRP, SCCCN, STOP_CCN, ICRQ, ICRP, ICCN, CDN = 1, 2, 3, 4, 10, 11, 12, 14
MESSAGE_TYPE, PROTOCOL, FRAMING, HOST_NAME, TUNNEL_ID, WINDOW, SESSION_ID, SERIAL, TX_SPEED, FRAMING_TYPE = (
    0, 2, 3, 7, 9, 10, 14, 15, 24, 19)
LEAST_WINDOW = 4  # RFC 2661 §4.4.3: where a peer says nothing
REPEAT_S, LIMIT_S = 1.0, 60.0


def avp(number, value):
    """A mandatory AVP."""
    return struct.pack("!3H", 0x8000 | 6 + len(value), 0, number) + value


def u16(number, value):
    return avp(number, value.to_bytes(2, "big"))


def u32(number, value):
    return avp(number, value.to_bytes(4, "big"))


def avps(message):
    """The AVPs behind a header: number to value."""
    at, found = HEADER.size, {}
    while at + 6 <= len(message):
        flags, _, number = struct.unpack_from("!3H", message, at)
        length = max(flags & 0x3FF, 6)
        found[number] = message[at + 6 : at + length]
        at += length
    return found


class Tunnel:
    def __init__(self, server, number, calls):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((server, PORT))
        self.number, self.calls = number, calls
        self.peer, self.window = 0, LEAST_WINDOW
        self.ns = self.nr = 0
        self.unacknowledged, self.asked, self.connected = [], 0, 0
        self.refused = self.repeated = 0
        self.send(u16(MESSAGE_TYPE, SCCRQ) + u16(PROTOCOL, 0x100) + u32(FRAMING, 3) + avp(HOST_NAME, b"compare")
                  + u16(TUNNEL_ID, number) + u16(WINDOW, 64))

    def is_done(self):
        return self.refused > 0 or (self.connected == self.calls and not self.unacknowledged)

    def send(self, body, session=0):
        self.unacknowledged.append((self.ns, session, body, time.monotonic()))
        self.put(self.ns, session, body)
        self.ns = self.ns + 1 & 0xFFFF

    def put(self, ns, session, body):
        length = HEADER.size + len(body)
        self.socket.send(HEADER.pack(FLAGS, length, self.peer, session, ns, self.nr) + body)

    def handle(self, message):
        if len(message) < HEADER.size or not message[0] & 0x80:
            return  # PPP of a server that has begun with it
        _, length, _, session, ns, nr = HEADER.unpack_from(message)
        self.unacknowledged = [sent for sent in self.unacknowledged if (sent[0] - nr) & 0xFFFF < 0x8000]
        if length > HEADER.size:
            if ns == self.nr:
                self.nr = self.nr + 1 & 0xFFFF
                self.follow(avps(message))
            if not self.unacknowledged or ns != self.nr - 1 & 0xFFFF:
                self.put(self.ns, 0, b"")
        self.ask()

    def follow(self, found):
        kind = int.from_bytes(found.get(MESSAGE_TYPE, b""), "big")
        if kind == SCCRP:
            self.peer = int.from_bytes(found[TUNNEL_ID], "big")
            self.window = int.from_bytes(found.get(WINDOW, b""), "big") or LEAST_WINDOW
            self.send(u16(MESSAGE_TYPE, SCCCN))
        elif kind == ICRP:
            body = u16(MESSAGE_TYPE, ICCN) + u32(TX_SPEED, 10**8) + u32(FRAMING_TYPE, 1)
            self.send(body, int.from_bytes(found[SESSION_ID], "big"))
            self.connected += 1
        elif kind in (STOP_CCN, CDN):
            self.refused += 1

    def ask(self):
        """ICRQs, as far as the window allows; a place in it stays free for an ICCN."""
        while self.peer and self.asked < self.calls and len(self.unacknowledged) < self.window - 1:
            self.asked += 1
            self.send(u16(MESSAGE_TYPE, ICRQ) + u16(SESSION_ID, self.asked) + u32(SERIAL, self.asked))

    def repeat(self, now):
        if self.unacknowledged and now - self.unacknowledged[0][3] > REPEAT_S:
            ns, session, body, _ = self.unacknowledged[0]
            self.unacknowledged[0] = (ns, session, body, now)
            self.repeated += 1
            self.put(ns, session, body)


def main(server, tunnels, calls, under_way=32):
    ready = select.epoll()
    live, ended = {}, []
    start = repeat_at = time.monotonic()
    while len(ended) < tunnels and time.monotonic() < start + LIMIT_S:
        while len(live) < under_way and len(live) + len(ended) < tunnels:
            tunnel = Tunnel(server, len(live) + len(ended) + 1, calls)
            live[tunnel.socket.fileno()] = tunnel
            ready.register(tunnel.socket, select.EPOLLIN)
        for descriptor, _ in ready.poll(0.05):
            tunnel = live[descriptor]
            try:
                tunnel.handle(tunnel.socket.recv(4096))
            except ConnectionRefusedError:
                tunnel.refused += 1
            if tunnel.is_done():
                ended.append(live.pop(descriptor))
                ready.unregister(tunnel.socket)
        if (now := time.monotonic()) > repeat_at:
            repeat_at = now + 0.1
            for tunnel in live.values():
                tunnel.repeat(now)
    seconds = time.monotonic() - start
    everybody = [*ended, *live.values()]
    print(json.dumps({
        "tunnels": sum(tunnel.connected == calls and not tunnel.refused for tunnel in ended),
        "sessions": sum(tunnel.connected for tunnel in ended if not tunnel.refused),
        "seconds": seconds,
        "busy": time.process_time() / seconds,
        "repeated": sum(tunnel.repeated for tunnel in everybody),
        "refused": sum(tunnel.refused for tunnel in everybody),
    }))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
