"""Workers: frames that arrive at another one are handed over, and every chunk comes home."""

from harness import talk
from harness.gateway import IO, Gateway
from harness.stage import INTERNET, expect
from harness.subscriber import Crowd

from .telling import story

CLIENTS, ECHOES = 12, 50


def crowd(stage, gateway, carrier, addresses):
    """Many clients ping through the gateway; their report."""
    return Crowd(stage, carrier, addresses, "--ping", INTERNET, "--count", ECHOES, "--interval", "20ms").report()


@story("one worker serves everybody and hands nothing over", IO)
def one_worker(stage, io):
    gateway = Gateway(stage, io, workers=1).start()
    addresses = stage.add_clients(CLIENTS)
    for carrier in ("plain", "esp", "natt"):
        crowd(stage, gateway, carrier, addresses)
    [worker] = gateway.workers()
    expect(worker["handed_over"] == 0, f"{worker}")
    whole(gateway)


@story("two workers, and both directions at another one: handed over, nothing lost, every chunk home", IO, queues=2)
def two_workers(stage, io):
    gateway = Gateway(stage, io, workers=2).start()
    addresses = stage.add_clients(CLIENTS)
    for carrier in ("plain", "esp", "natt"):
        crowd(stage, gateway, carrier, addresses)
    workers = gateway.workers()
    expect(all(worker["handed_over"] > 0 for worker in workers), f"no hand-over: {workers}")
    whole(gateway)
    return ", ".join(f"worker {w['worker']}: {w['frames']} frames, {w['handed_over']} handed over" for w in workers)


def whole(gateway):
    """Everybody has gone; leases and chunks are all there."""
    expect(not gateway.show("pools", "--verify")["verified"], "the pool is not whole")
    bad = {name: frames for name, frames in gateway.discards().items() if name in LOSSES}
    expect(not bad, f"frames were discarded: {bad}")
    gateway.stop()
    expect("chunks are missing" not in gateway.said(), "chunks are missing")
    expect("every chunk is back" in gateway.said(), "nobody counted the chunks")


LOSSES = {"ParcelFull", "NoChunk", "SendFull", "TooManyMoves", "ShardInTransit", "PuntFull"}
