"""
Measures the witness: python -m tests.trace.hep_load

One process makes the SIP messages of many calls through both kinds of PBX, in every way in which a
call can end, and sends them as HEP packets over UDP, at their time. The other one, on one core, is
umd's HEP port with the witness behind it. It watches each call from the moment its PBX reports the
end. A proof is wrong if a far end of the call is not down at that time, whatever the PBX says.

With --mutations, packets are changed at random and fed to the same code without a socket.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

from structlog.testing import CapturingLogger
from twisted.internet import reactor as global_reactor
from twisted.internet.task import Clock, LoopingCall

from tests.trace.wire_calls import LEG_ENDINGS, PROXY_ENDINGS, WireCall, leg, proxied
from umd.runtime.udp_socket import dropped_datagrams, set_receive_buffer
from umd.sip.transaction import Hop
from umd.trace.capture import Capture
from umd.trace.feed import MessageFeed
from umd.trace.hep import HepWriter
from umd.trace.hep_listener import HepReceiver, HepRules, HepUdp
from umd.trace.proof import ShownDown
from umd.trace.witness import Witness

LEAD: Final = 1.0
"""Seconds from the time when all messages are made until the first call begins."""
TAIL: Final = 1.0
"""Seconds without a packet after which everything has arrived."""
BUFFER: Final = 8 * 1024**2
PASSWORD: Final = b"secret"
KINDS: Final = (
    *((leg, ending) for ending in LEG_ENDINGS),
    *((proxied, ending) for ending in PROXY_ENDINGS),
)
NOT_FORGED_BY_ONE_OCTET: Final = (
    *("pbx-bye", "far-bye", "bye-481", "bye-408", "bye-unanswered", "no-bye", "cancelled"),
    *("cancelled-by-a-proxy", "cancel-unanswered", "both-byes", "one-bye", "callee-silent"),
    *("caller-bye", "cancelled-callee-silent"),
)
"""Endings in which no single changed octet makes an answer that proves the end, as 200 for 500."""


@dataclass(frozen=True)
class Load:
    """What is sent."""

    rate: float = 1000.0
    """Calls per second."""
    seconds: float = 20.0
    loss: float = 0.0
    """The share of packets that is lost."""
    reorder: float = 0.0
    """The share of packets that arrives up to `delay` seconds later."""
    delay: float = 0.2
    seed: int = 1

    @property
    def calls(self) -> int:
        return round(self.rate * self.seconds)

    def call(self, number: int) -> WireCall:
        """Return a call; both processes make the same one."""
        make, ending = KINDS[number % len(KINDS)]
        return make(f"{number:x}-{self.seed:x}@pbx", ending)


@dataclass
class Result:
    """What the witness has made of it."""

    calls: int = 0
    messages: int = 0
    down: int = 0
    """Calls whose far ends are all down."""
    proven: int = 0
    wrong: int = 0
    missed: int = 0
    """Calls that are down and were not proven to be."""
    dropped: int = 0
    """Datagrams that the kernel dropped."""
    refused: int = 0
    failures: int = 0
    lag: float = 0.0
    """The longest time from the capture of a packet to its receipt, in seconds."""
    cpu: float = 0.0
    """Seconds of one core for each second of calls."""
    followed: int = 0
    """Calls that the witness has followed."""
    missed_by_ending: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.calls} calls, {self.messages} messages, {self.followed} followed; "
            f"{self.down} down, {self.proven} proven, {self.missed} missed, "
            f"{self.wrong} WRONG; dropped {self.dropped}, refused {self.refused}, "
            f"failures {self.failures}; CPU {self.cpu:.0%} of one core, "
            f"lag at most {1000 * self.lag:.0f} ms"
        )


class Sending(NamedTuple):
    """One packet, without the time of its capture as wall time."""

    at: float
    """When it is sent, in seconds from the begin."""
    captured: float
    """When it was captured, in seconds from the begin."""
    source: Hop
    target: Hop
    octets: bytes


def sendings(load: Load) -> list[Sending]:
    """Return what is sent, in its order."""
    random_ = random.Random(load.seed)
    found = []
    for number in range(load.calls):
        begin = number / load.rate
        for offset, source, target, octets in load.call(number).packets:
            if random_.random() < load.loss:
                continue
            at = begin + offset
            late = random_.random() * load.delay if random_.random() < load.reorder else 0.0
            found.append(Sending(at + late, at, source, target, octets))
    found.sort(key=lambda sending: sending.at)
    return found


def send(load: Load, port: int, beginning: Connection) -> None:
    """Send all packets, each at its time; tell when the first call begins."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # the parent may have one core alone
    waiting = sendings(load)
    write = HepWriter(7, PASSWORD).write
    begin = time.time() + LEAD
    beginning.send(begin)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", port))
        for at, captured, source, target, octets in waiting:
            early = begin + at - time.time()
            if early > 0.001:
                time.sleep(early)
            udp.send(write(source, target, begin + captured, octets))


class Receiver:
    """umd's HEP port, with the witness, and a watch for each call."""

    def __init__(self, load: Load, reactor: Any) -> None:
        self.load = load
        self.result = Result(calls=load.calls)
        self.log: Any = CapturingLogger()
        self.witness = Witness()
        self.reactor = reactor
        feed = MessageFeed(self.witness, Capture(10_000, time.time), None, lambda name: False)
        self._feed = feed
        rules = HepRules(password=PASSWORD, max_packet_rate=10_000_000)
        self.receiver = HepReceiver(rules, self._take, reactor, self.log)
        self.proofs: dict[int, ShownDown] = {}
        self._next = 0
        self.begin = 0.0

    def _take(self, source: Any, target: Any, message: Any, at: float, now: float) -> None:
        self.result.lag = max(self.result.lag, time.time() - at)
        self._feed.take(source, target, message, at, now)

    def watch_due(self) -> None:
        """Watch the calls whose end their PBX has reported by now."""
        elapsed = time.time() - self.begin
        load = self.load
        while self._next < load.calls and self._next / load.rate <= elapsed:
            number = self._next
            call = load.call(number)
            reported = number / load.rate + call.reported_at
            if reported > elapsed:
                break
            self._next += 1
            self.witness.watch(
                call.call_id,
                call.tags,
                since=self.begin + reported,
                now=self.reactor.seconds(),
                then=partial(self.proofs.__setitem__, number),
            )

    def judge(self) -> Result:
        """Compare the proofs with the truth."""
        result = self.result
        missed: Counter[str] = Counter()
        for number in range(self.load.calls):
            call, proof = self.load.call(number), self.proofs.get(number)
            result.down += call.is_down
            if proof is None:
                if call.is_down:
                    make, ending = KINDS[number % len(KINDS)]
                    missed[f"{make.__name__} {ending}"] += 1
                continue
            result.proven += 1
            began = self.begin + number / self.load.rate
            is_true = call.is_down and all(
                proof.captured_at >= began + call.down_at[tag] - 1e-4 for tag in call.far_ends
            )
            result.wrong += not is_true
        result.missed = missed.total()
        result.missed_by_ending = dict(missed)
        result.messages = self.receiver.taken
        result.refused = self.receiver.refused.total()
        result.failures = len(self.log.calls)
        result.followed = self.witness.counts.calls
        return result


def enlarge(udp: socket.socket) -> None:
    """Give a socket the receive buffer that docs/hep.md asks for, if need be as root."""
    if set_receive_buffer(udp, BUFFER) < BUFFER:
        try:
            udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
        except OSError:
            print("the receive buffer is small: sysctl -w net.core.rmem_max=8388608")


_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h


def run(load: Load) -> Result:
    """Send a load to a port of this process, and return what became of it."""
    reactor: Any = global_reactor
    receiver = Receiver(load, reactor)
    port = reactor.listenUDP(0, HepUdp(receiver.receiver), "127.0.0.1", maxPacketSize=65535)
    udp = port.getHandle()
    enlarge(udp)
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    sender = context.Process(target=send, args=(load, port.getHost().port, there))
    sender.start()
    receiver.begin = here.recv()
    watching = LoopingCall(receiver.watch_due)
    running = watching.start(0.01)
    counts: list[int] = []

    def stop_when_idle() -> None:
        counts.append(receiver.receiver.received)
        receiver.result.dropped = dropped_datagrams(udp) or 0
        if not sender.is_alive() and counts[-2:-1] == counts[-1:]:
            reactor.stop()
        else:
            reactor.callLater(TAIL, stop_when_idle)

    reactor.callLater(TAIL, stop_when_idle)
    cpu_before = time.process_time()
    reactor.run()
    cpu = time.process_time() - cpu_before
    sender.join()
    assert not running.called, "the watches failed"
    result = receiver.judge()
    result.cpu = cpu / load.seconds
    return result


def mutate(count: int, seed: int = 1) -> Result:
    """Feed changed packets, and return how many exceptions and proofs they caused."""
    random_ = random.Random(seed)
    log: Any = CapturingLogger()
    clock = Clock()
    witness = Witness()
    feed = MessageFeed(witness, Capture(1000, time.time), None, lambda name: False)
    receiver = HepReceiver(
        HepRules(password=PASSWORD, max_packet_rate=2**31), feed.take, clock, log
    )
    proofs: list[ShownDown] = []
    result = Result()
    for call, corpus in _corpora(random_):
        if result.messages >= count:
            break
        result.calls += 1
        clock.advance(1.0)
        now = clock.seconds()
        if not call.is_down:
            # A call that lives on: whatever comes, nothing may show it down.
            for packet in corpus:
                receiver.receive(packet, "127.0.0.1")
            witness.watch(call.call_id, call.tags, since=0.0, now=now, then=proofs.append)
        for _ in range(500):
            result.messages += 1
            receiver.receive(_changed(random_, random_.choice(corpus)), "127.0.0.1")
    result.failures = sum(entry.args[0] == "hep.failed" for entry in log.calls)
    result.proven = len(proofs)
    result.refused = receiver.refused.total()
    result.followed = witness.counts.calls
    return result


def _corpora(random_: random.Random) -> Iterator[tuple[WireCall, Sequence[bytes]]]:
    """Yield calls with random ids, and the packets of each."""
    writer = HepWriter(7, PASSWORD)
    kinds = [(make, ending) for make, ending in KINDS if ending in NOT_FORGED_BY_ONE_OCTET]
    while True:
        make, ending = random_.choice(kinds)
        call = make(f"{random_.getrandbits(64):016x}", ending)
        yield call, [
            writer.write(source, target, 10.0 + at, octets)
            for at, source, target, octets in call.packets
        ]


def _changed(random_: random.Random, packet: bytes) -> bytes:
    octets = bytearray(packet)
    match random_.randrange(8):
        case 0:
            del octets[random_.randrange(len(octets)):]
        case 1:
            at = random_.randrange(len(octets))
            octets[at:at] = random_.randbytes(random_.randint(1, 20))
        case 2:
            at = random_.randrange(len(octets))
            del octets[at:at + random_.randint(1, 40)]
        case _:
            for _ in range(random_.randint(1, 4)):
                octets[random_.randrange(len(octets))] = random_.randrange(256)
    if random_.random() < 0.5:
        octets[4:6] = min(len(octets), 65535).to_bytes(2, "big")  # else most end at the length
    return bytes(octets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000.0, help="calls per second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets lost")
    parser.add_argument("--reorder", type=float, default=0.0, help="share of packets delayed")
    parser.add_argument("--core", type=int, help="run umd's side on this core alone")
    parser.add_argument("--mutations", type=int, default=0, help="changed packets instead")
    arguments = parser.parse_args()
    if arguments.mutations:
        result = mutate(arguments.mutations)
        print(
            f"{result.messages} changed packets of {result.calls} calls: "
            f"{result.failures} exceptions, {result.proven} proofs; "
            f"{result.refused} refused, {result.followed} calls followed"
        )
        raise SystemExit(bool(result.failures or result.proven))
    load = Load(arguments.rate, arguments.seconds, arguments.loss, arguments.reorder)
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    result = run(load)
    print(result)
    for ending, count in sorted(result.missed_by_ending.items()):
        print(f"  missed: {ending}: {count}")
    raise SystemExit(bool(result.wrong or result.failures))


if __name__ == "__main__":
    main()
