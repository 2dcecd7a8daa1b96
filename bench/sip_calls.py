"""
Measures the calls per second of two SIP endpoints: `python -m bench.sip_calls [--calls N]`.

A call is INVITE, 180, 200, ACK, BYE, 200. Each message passes a complete endpoint at both ends:
transactions, timers, dialog, session, events. Messages are passed once as objects and once as
bytes.
A virtual clock advances (`--rate` calls per virtual second). It runs for longer than any SIP timer
before the measurement, so for each new call an old one is forgotten, as in service.

The rate is per second of CPU time on one core, the median of several runs in one process. Python's
garbage collector has its default settings; it costs little, because calls leave no cycles behind.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import time
import tracemalloc
from itertools import count
from statistics import median

from umd.sip import compiled
from umd.sip.endpoint import Endpoint
from umd.sip.session import Ended, Session
from umd.sip.transaction import Hop

WARM_UP = 33.0
"""Virtual seconds; a little longer than the longest timers, J, L and M (64 T1)."""
CALLER = Hop("192.0.2.1", 5060)
CALLEE = Hop("192.0.2.2", 5060)
OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
)


class Bench:
    """Two endpoints, one of which calls the other."""

    def __init__(self, octets: bool, rate: float) -> None:
        new_id = map("{:x}".format, count(16**10)).__next__
        self.caller = Endpoint(CALLER.host, CALLER.port, new_id)
        self.callee = Endpoint(CALLEE.host, CALLEE.port, new_id)
        self.octets = octets
        self.step = 1.0 / rate
        self.now = 0.0
        self.ended = 0

    def move(self, sender: Endpoint, receiver: Endpoint, source: Hop) -> None:
        """Pass the messages that one endpoint has to send to the other."""
        if self.octets:
            for message, _ in sender.messages_to_send():
                data = message.octets()
                receiver.receive_datagram(data, source, self.now)
        else:
            for message, _ in sender.messages_to_send():
                receiver.receive_message(message, source, self.now)

    def to_callee(self) -> None:
        """Pass the messages of the caller to the callee."""
        self.move(self.caller, self.callee, CALLER)

    def to_caller(self) -> None:
        """Pass the messages of the callee to the caller."""
        self.move(self.callee, self.caller, CALLEE)

    def drain(self, endpoint: Endpoint) -> Session | None:
        """Take all events; return the session of the last one."""
        session = None
        while (item := endpoint.next_event()) is not None:
            session, event = item
            if isinstance(event, Ended):
                self.ended += 1
        return session

    def set_up(self) -> Session:
        """Set up a call: INVITE, 180, 200, ACK."""
        now = self.now
        leg = self.caller.place(
            "sip:bob@192.0.2.2", CALLEE, now, from_="sip:alice@192.0.2.1", body=OFFER
        )
        self.to_callee()
        callee = self.drain(self.callee)
        assert callee is not None
        callee.progress(180, now)
        self.to_caller()
        callee.answer(now, body=OFFER)
        self.to_caller()
        self.to_callee()
        self.drain(self.caller)
        self.drain(self.callee)
        return leg

    def tear_down(self, leg: Session) -> None:
        """End a call: BYE, 200."""
        leg.hang_up(self.now)
        self.to_callee()
        self.to_caller()
        self.drain(self.caller)
        self.drain(self.callee)

    def call(self) -> None:
        """Set up and end one call, advance the clock, and let the timers expire."""
        self.tear_down(self.set_up())
        self.now += self.step
        self.caller.handle_timer(self.now)
        self.callee.handle_timer(self.now)


def rates_of(octets: bool, calls: int, rate: float, runs: int = 5) -> list[float]:
    """Return the calls per second of CPU time in each of several runs."""
    bench = Bench(octets, rate)
    warm_up_calls = int(WARM_UP * rate)
    for _ in range(warm_up_calls):
        bench.call()
    rates = []
    for _ in range(runs):
        start = time.process_time()
        for _ in range(calls):
            bench.call()
        rates.append(calls / (time.process_time() - start))
    assert bench.ended == 2 * (warm_up_calls + runs * calls)
    return rates


def linger_octets(octets: bool, calls: int) -> float:
    """Return the bytes of a transaction that only absorbs retransmissions (four per call)."""
    tracemalloc.start()
    bench = Bench(octets, 1e9)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(calls):
        bench.call()
    gc.collect()
    spent = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    transactions = len(bench.caller.transactions) + len(bench.callee.transactions)
    assert transactions == 4 * calls
    return spent / transactions


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, default=10_000, help="in each run")
    options.add_argument("--rate", type=float, default=1_000.0, help="calls per virtual second")
    options.add_argument("--profile", choices=("objects", "octets"))
    chosen = options.parse_args()
    if chosen.profile:
        profile = cProfile.Profile()
        profile.enable()
        rates_of(chosen.profile == "octets", chosen.calls, 1.0, 1)
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
        return
    print("SIP core:", "compiled" if compiled() else "pure Python")
    for name, octets in (("objects", False), ("octets", True)):
        rates = rates_of(octets, chosen.calls, chosen.rate)
        print(
            f"{name}: {median(rates):,.0f} calls/s per core "
            f"(median of {len(rates)}, {min(rates):,.0f} to {max(rates):,.0f})"
        )
        print(f"{name}: {linger_octets(octets, 5_000):,.0f} octets per lingering transaction")


if __name__ == "__main__":
    main()
