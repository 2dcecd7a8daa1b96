"""
Calls per second through both ends' SIP cores: `python -m bench.sip_calls [--calls N] [--profile]`.

A call is INVITE, 180, 200, ACK, BYE, 200, every message taken by a whole endpoint: transactions,
timers, dialog, session, events. Once as message objects, once as octets. A virtual clock runs along
(`--rate` calls per virtual second) and has run for longer than any timer before something is
measured: so for each call that begins, one is also forgotten, as in service.

The rate is that of processor time on one core, the median of several stretches in one process. The
garbage collector is left as Python sets it; what it costs is measured too, next to nothing: as many
objects go as come, and a call leaves no cycle behind.
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

LONGEST_TIMER = 33.0  # seconds, and a little more: J, L and M
CALLER = Hop("192.0.2.1", 5060)
CALLEE = Hop("192.0.2.2", 5060)
OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
)


class Bench:
    """Two endpoints, and calls from one to the other."""

    def __init__(self, octets: bool, rate: float) -> None:
        new_id = map("{:x}".format, count(16**10)).__next__
        self.caller = Endpoint(CALLER.host, CALLER.port, new_id)
        self.callee = Endpoint(CALLEE.host, CALLEE.port, new_id)
        self.octets = octets
        self.step = 1.0 / rate
        self.now = 0.0
        self.ended = 0

    def move(self, sender: Endpoint, receiver: Endpoint, source: Hop) -> None:
        """Bring over what there is to send."""
        if self.octets:
            for message, _ in sender.messages_to_send():
                data = message.octets()
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


def rates_of(octets: bool, calls: int, rate: float, stretches: int = 5) -> list[float]:
    """Calls per second of processor time in each stretch of so many calls."""
    bench = Bench(octets, rate)
    settled = int(LONGEST_TIMER * rate)
    for _ in range(settled):
        bench.call()
    rates = []
    for _ in range(stretches):
        start = time.process_time()
        for _ in range(calls):
            bench.call()
        rates.append(calls / (time.process_time() - start))
    assert bench.ended == 2 * (settled + stretches * calls)
    return rates


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
    options.add_argument("--calls", type=int, default=10_000, help="in each stretch")
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
