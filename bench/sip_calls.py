"""
Calls per second through both ends' SIP cores: `python -m bench.sip_calls [--calls N] [--profile]`.

A call is INVITE, 180, 200, ACK, BYE, 200, every message taken by a whole endpoint: transactions,
timers, dialog, session, events. Once as message objects, once as octets. A virtual clock runs along
(`--rate` calls per virtual second), so that lingering transactions and their timers cost what they
cost in service.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import time
import tracemalloc
from itertools import count

from umd.sip.endpoint import Endpoint
from umd.sip.session import Ended, Session
from umd.sip.transaction import Hop

CALLER = Hop("192.0.2.1", 5060)
CALLEE = Hop("192.0.2.2", 5060)
OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
)


class Bench:
    """Two endpoints, and calls from one to the other."""

    def __init__(self, octets: bool, rate: float) -> None:
        numbers = count(16**10)
        self.caller = Endpoint(CALLER.host, CALLER.port, lambda: f"{next(numbers):x}")
        self.callee = Endpoint(CALLEE.host, CALLEE.port, lambda: f"{next(numbers):x}")
        self.octets = octets
        self.step = 1.0 / rate
        self.now = 0.0
        self.ended = 0

    def move(self, sender: Endpoint, receiver: Endpoint, source: Hop) -> None:
        """Bring over what there is to send."""
        if self.octets:
            for data, _ in sender.datagrams_to_send():
                receiver.receive_datagram(data, source, self.now)
        else:
            for message, _ in sender.messages_to_send():
                receiver.receive_message(message, source, self.now)

    def there(self) -> None:
        """Caller to callee."""
        self.move(self.caller, self.callee, CALLER)

    def back(self) -> None:
        """Callee to caller."""
        self.move(self.callee, self.caller, CALLEE)

    def drain(self, endpoint: Endpoint) -> Session | None:
        """Take the events; the session of the last."""
        session = None
        while (item := endpoint.next_event()) is not None:
            session, event = item
            if isinstance(event, Ended):
                self.ended += 1
        return session

    def set_up(self) -> Session:
        """INVITE, 180, 200, ACK."""
        now = self.now
        leg = self.caller.place(
            "sip:bob@192.0.2.2", CALLEE, now, from_="sip:alice@192.0.2.1", body=OFFER
        )
        self.there()
        callee = self.drain(self.callee)
        assert callee is not None
        callee.progress(180, now)
        self.back()
        callee.answer(now, body=OFFER)
        self.back()
        self.there()
        self.drain(self.caller)
        self.drain(self.callee)
        return leg

    def tear_down(self, leg: Session) -> None:
        """BYE, 200."""
        leg.hang_up(self.now)
        self.there()
        self.back()
        self.drain(self.caller)
        self.drain(self.callee)

    def call(self) -> None:
        """One call, and what is due."""
        self.tear_down(self.set_up())
        self.now += self.step
        self.caller.handle_timer(self.now)
        self.callee.handle_timer(self.now)


def rate_of(octets: bool, calls: int, rate: float, *, collect: bool = True) -> float:
    """
    Calls per second of processor time, the linger of the calls before included.

    Without `collect` the cyclic garbage collector rests, as it mostly does in a daemon that has set
    its thresholds high: a call leaves no cycle behind once its transactions are gone.
    """
    bench = Bench(octets, rate)
    for _ in range(calls // 10):
        bench.call()
    gc.collect()
    if not collect:
        gc.disable()
    start = time.process_time()
    for _ in range(calls):
        bench.call()
    spent = time.process_time() - start
    gc.enable()
    assert bench.ended == 2 * (calls + calls // 10)
    return calls / spent


def linger_octets(octets: bool, calls: int) -> float:
    """Octets per transaction that only absorbs repetitions (four a call)."""
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
    options.add_argument("--calls", type=int, default=20_000)
    options.add_argument("--rate", type=float, default=2_000.0, help="calls per virtual second")
    options.add_argument("--profile", choices=("objects", "octets"))
    chosen = options.parse_args()
    if chosen.profile:
        profile = cProfile.Profile()
        profile.enable()
        rate_of(chosen.profile == "octets", chosen.calls, chosen.rate)
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
        return
    for name, octets in (("objects", False), ("octets", True)):
        for collect in (True, False):
            best = max(
                rate_of(octets, chosen.calls, chosen.rate, collect=collect) for _ in range(5)
            )
            how = "as set by Python" if collect else "resting"
            print(f"{name}: {best:,.0f} calls/s per core, collector {how} (best of 5)")
        print(f"{name}: {linger_octets(octets, 5_000):,.0f} octets per lingering transaction")


if __name__ == "__main__":
    main()
