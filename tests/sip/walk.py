"""
Random walks: two endpoints, a bad network, and users who act at random.

`python -m tests.sip.walk --steps 100000 --seed 1`. A step is one thing that happens: a call placed,
a user's verb, a message delivered, lost, doubled or overtaken, or time passing. At the end all
calls are hung up, the network stays bad, and time runs on until no timer is left.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable

from tests.sip.helpers import ALICE, ANSWER, BOB, OFFER, Party, Reinvite, label
from umd.sip.session import Ended, IllegalInput, Incoming, Session, State
from umd.sip.transaction import Hop, Send


class Walk:
    """One walk with its own seed; `failures` says what went wrong."""

    def __init__(
        self, seed: int, *, loss: float = 0.1, double: float = 0.05, reliable: bool = False
    ) -> None:
        self.random = random.Random(seed)
        self.loss = 0.0 if reliable else loss
        self.double = 0.0 if reliable else double
        self.reliable = reliable
        transport = ("TCP", 1) if reliable else ("UDP", 0)
        self.alice = Party("a", Hop(ALICE.host, ALICE.port, *transport))
        self.bob = Party("b", Hop(BOB.host, BOB.port, *transport))
        self.parties = (self.alice, self.bob)
        self.wire: list[tuple[Party, Send]] = []
        self.now = 0.0
        self.live: list[Session] = []
        self.seen: dict[int, Session] = {}
        self.ended: Counter[int] = Counter()
        self.calls = 0
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []

    def other(self, party: Party) -> Party:
        return self.bob if party is self.alice else self.alice

    def step(self, calling: bool = True) -> None:
        """Let one thing happen."""
        dice = self.random.random()
        if self.wire and dice < 0.72:
            self.deliver()
        elif dice < 0.80 and calling and len(self.live) < 40:
            self.place()
        elif dice < 0.92 and self.live:
            self.act(self.random.choice(self.live))
        else:
            self.wait()
        self.collect()

    def place(self) -> None:
        party = self.random.choice(self.parties)
        session = party.call(self.other(party), self.now)
        self.calls += 1
        self.live.append(session)
        self.seen[id(session)] = session

    def act(self, session: Session) -> None:
        """A user's verb at random; the state may not have it."""
        verbs: list[Callable[[], None]] = [
            lambda: session.hang_up(self.now),
            lambda: session.progress(self.random.choice((180, 183)), self.now),
            lambda: session.answer(self.now, body=ANSWER),
            lambda: session.answer(self.now, body=ANSWER),
            lambda: session.reject(486, self.now),
            lambda: self.change(session),
        ]
        try:
            self.random.choice(verbs)()
        except IllegalInput:
            self.counts["not in this state"] += 1

    def change(self, session: Session) -> None:
        """Send a re-INVITE in a call that is up."""
        if session.state is not State.CONFIRMED:
            raise IllegalInput("no re-INVITE in this state")
        party = self.alice if session.local_tag.startswith("a") else self.bob
        Reinvite(party.endpoint, session, OFFER, self.now)

    def deliver(self) -> None:
        """The oldest message, or any; perhaps lost, perhaps twice."""
        overtakes = not self.reliable and self.random.random() < 0.2
        at = self.random.randrange(len(self.wire)) if overtakes else 0
        party, send = self.wire.pop(at)
        dice = self.random.random()
        if dice < self.loss:
            self.counts["lost"] += 1
            return
        if dice < self.loss + self.double:
            self.counts["doubled"] += 1
            self.wire.insert(self.random.randrange(len(self.wire) + 1), (party, send))
        self.counts[label(send.message)] += 1
        receiver = self.other(party).endpoint
        if self.random.random() < 0.5:
            receiver.receive_datagram(send.message.octets(), party.hop, self.now)
        else:
            receiver.receive_message(send.message, party.hop, self.now)

    def wait(self) -> None:
        """Time passes, mostly a little, sometimes to the next timer or well over it."""
        dice = self.random.random()
        if dice < 0.7:
            self.now += self.random.random() * 0.2
        elif dice < 0.99:
            dues = [due for p in self.parties if (due := p.endpoint.next_due()) is not None]
            self.now = max([self.now, *([min(dues)] if dues else [])])
        else:
            self.now += self.random.random() * 5
        for party in self.parties:
            party.endpoint.handle_timer(self.now)

    def collect(self) -> None:
        for party in self.parties:
            self.wire += [(party, send) for send in party.endpoint.messages_to_send()]
            while (item := party.endpoint.next_event()) is not None:
                session, event = item
                self.counts[type(event).__name__] += 1
                if isinstance(event, Incoming):
                    self.live.append(session)
                    self.seen[id(session)] = session
                elif self.ended[id(session)]:
                    self.failures.append(f"{event} after the end of {session}")
                if isinstance(event, Ended):
                    self.ended[id(session)] += 1
                    self.live.remove(session)
                    if not event.confirmed:
                        self.counts["unconfirmed"] += 1

    def finish(self) -> None:
        """Hang up everything and let time run until nothing is left."""
        for session in list(self.live):
            session.hang_up(self.now)
        self.collect()
        limit = self.now + 1000.0
        while self.now < limit:
            while self.wire:
                self.deliver()
                self.collect()
            for session in list(self.live):  # calls that came in meanwhile
                session.hang_up(self.now)
                self.collect()
            dues = [due for p in self.parties if (due := p.endpoint.next_due()) is not None]
            if self.wire:
                continue
            if not dues:
                break
            self.now = max(self.now, min(dues))
            for party in self.parties:
                party.endpoint.handle_timer(self.now)
            self.collect()
        self.check()

    def check(self) -> None:
        for party in self.parties:
            endpoint = party.endpoint
            left = [f"{each.key} {each.state}" for each in endpoint.transactions]
            if left or endpoint.dialogs or endpoint.next_due() is not None:
                self.failures.append(f"left: {left}, {endpoint.dialogs} dialogs")
        for key, session in self.seen.items():
            if self.ended[key] != 1 or session.state is not State.ENDED:
                self.failures.append(f"{session} has ended {self.ended[key]} times")


def walk(steps: int, seed: int, *, reliable: bool = False, loss: float = 0.1) -> Walk:
    """A whole walk."""
    found = Walk(seed, reliable=reliable, loss=loss)
    for _ in range(steps):
        found.step()
    found.finish()
    return found


def main() -> None:
    """Walk and say what happened."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--loss", type=float, default=0.1)
    options.add_argument("--reliable", action="store_true")
    chosen = options.parse_args()
    start = time.monotonic()
    found = walk(chosen.steps, chosen.seed, reliable=chosen.reliable, loss=chosen.loss)
    print(f"{chosen.steps} steps, seed {chosen.seed}, loss {chosen.loss}: {found.calls} calls,")
    print(f"{len(found.seen)} sessions, {found.now:.0f} virtual seconds,")
    print(f"{time.monotonic() - start:.1f} s")
    for name, number in sorted(found.counts.items()):
        print(f"  {number:8} {name}")
    for failure in found.failures[:20]:
        print("FAILED:", failure)
    raise SystemExit(1 if found.failures else 0)


if __name__ == "__main__":
    main()
