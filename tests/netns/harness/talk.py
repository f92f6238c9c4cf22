"""Ordinary traffic of the host: TCP as ssh has it, UDP as DNS has it, and ears."""

import socket
import struct
import threading
import time

SSH, DNS = 22, 53
PATIENCE_S = 3
SESSION = 200_000  # octets each way, in pieces as a terminal or a copy has them


def serve_tcp(stage, space, address, port=SSH):
    """Sends back what it gets, until the process ends."""
    with stage.inside(space):
        server = socket.create_server((address, port))

    def echo(peer):
        with peer:
            while piece := peer.recv(65536):
                peer.sendall(piece)

    def serve():
        while True:
            threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def serve_udp(stage, space, address, port=DNS):
    """Answers each question with itself, turned round."""
    with stage.inside(space):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((address, port))

    def serve():
        while True:
            question, asker = server.recvfrom(65535)
            try:
                server.sendto(question[::-1], asker)
            except OSError:
                pass  # an asker that is gone

    threading.Thread(target=serve, daemon=True).start()


def ssh(stage, space, source, to):
    """Whether a TCP session from `source` moves all its octets there and back."""
    text = bytes(range(256)) * (SESSION // 256)
    with stage.inside(space):
        session = socket.create_connection((to, SSH), PATIENCE_S, (source, 0))
    with session:
        writer = threading.Thread(target=session.sendall, args=(text,))
        writer.start()
        got = bytearray()
        while len(got) < len(text) and (piece := session.recv(65536)):
            got += piece
        writer.join()
    return bytes(got) == text


def dns(stage, space, source, to, size):
    """Whether a datagram of `size` octets is answered; from 1473 on it travels in fragments."""
    with stage.inside(space):
        asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asker:
        asker.settimeout(PATIENCE_S)
        asker.bind((source, 0))
        question = bytes(i % 251 for i in range(size))
        asker.sendto(question, (to, DNS))
        try:
            return asker.recv(65535) == question[::-1]
        except TimeoutError:
            return False


class Ear:
    """Hears every frame of an interface."""

    ALL = 3  # ETH_P_ALL

    def __init__(self, stage, space, interface):
        with stage.inside(space):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(self.ALL))
            self.socket.bind((interface, self.ALL))
        self.socket.setblocking(False)

    def heard(self, seconds=0.3):
        """The IPv4 packets since the last call, headers of Ethernet taken off."""
        time.sleep(seconds)
        packets = []
        while True:
            try:
                frame = self.socket.recv(65535)
            except BlockingIOError:
                return packets
            if frame[12:14] == b"\x08\x00":
                packets.append(frame[14:])


def mentions(packet, prefix):
    """Whether source or destination of an IP packet begin with these octets."""
    return packet[12:16].startswith(prefix) or packet[16:20].startswith(prefix)


def fragments(packet, size):
    """An IP packet in fragments that carry at most `size` octets each."""
    header, body = bytearray(packet[:20]), packet[20:]
    size -= size % 8
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        more = 0x2000 if at + size < len(body) else 0
        struct.pack_into("!H", header, 2, 20 + len(piece))
        struct.pack_into("!H", header, 6, more | at // 8)
        yield bytes(header) + piece
