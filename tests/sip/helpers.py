"""Two endpoints without a network: tests deliver or lose their messages, and set the time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from umd.sip.credentials import Login
from umd.sip.endpoint import Endpoint
from umd.sip.message import Message, Request, Response
from umd.sip.session import Ended, Event, Session
from umd.sip.transaction import Hop, Send, Transaction

ALICE = Hop("192.0.2.1", 5060)
BOB = Hop("192.0.2.2", 5060)
CAROL = Hop("192.0.2.3", 5060)

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 0 8\r\n"
)
ANSWER = (
    b"v=0\r\no=- 2 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n"
    b"m=audio 42000 RTP/AVP 0\r\n"
)


def ids(prefix: str) -> Callable[[], str]:
    """Return a function that makes readable tokens: a1, a2, ..."""
    numbers = count(1)
    return lambda: f"{prefix}{next(numbers)}"


class Party:
    """One endpoint with its address and all events that it has reported."""

    def __init__(self, name: str, hop: Hop, answer: str = "objects") -> None:
        self.hop = hop
        self.endpoint = Endpoint(hop.host, hop.port, ids(name))
        self.events: list[tuple[Session, Event]] = []
        self.sent: list[Send] = []
        """Every message it has sent, in order."""

    def take_events(self) -> list[Event]:
        """Return the events since the last call, without the sessions."""
        return [event for _, event in self.take()]

    def take(self) -> list[tuple[Session, Event]]:
        """Return the events since the last call, with their sessions."""
        found = []
        while (item := self.endpoint.next_event()) is not None:
            found.append(item)
        self.events += found
        return found

    def out(self) -> list[Send]:
        """Return the messages that it sends now."""
        sends = self.endpoint.messages_to_send()
        self.sent += sends
        return sends

    def call(
        self,
        other: Party,
        now: float = 0.0,
        login: Login | None = None,
    ) -> Session:
        """Place a call to the other party."""
        return self.endpoint.place(
            f"sip:bob@{other.hop.host}",
            other.hop,
            now,
            from_=f"sip:alice@{self.hop.host}",
            body=OFFER,
            login=login,
        )

    def incoming(self) -> Session:
        """Return the session of the last event."""
        self.take()
        return self.events[-1][0]


class Reinvite:
    """
    A re-INVITE that `endpoint` sends in its `session`.

    The sessions of umd answer one and never send one. So this object is the user of its transaction
    and sends the ACK of a 2xx.
    """

    def __init__(self, endpoint: Endpoint, session: Session, body: bytes, now: float) -> None:
        assert session.dialog is not None
        self.status: int | None = None
        """The final status; 408 after a timeout. None before that."""
        self.answer = b""
        """The session description in the 2xx."""
        self._endpoint = endpoint
        self._dialog = session.dialog
        self._request = self._dialog.request(
            "INVITE", self._endpoint, contact=self._endpoint.contact, body=body
        )
        self._endpoint.transactions.send_request(self._request, self._dialog.hop, now, self)

    def on_response(self, transaction: Transaction, response: Response, now: float) -> None:
        if response.status >= 200:
            self.status = response.status
        if 200 <= response.status < 300:
            self.answer = response.body
            cseq = self._request.cseq_number
            ack = self._dialog.request("ACK", self._endpoint, cseq=cseq)
            self._endpoint.send(ack, self._dialog.hop)

    def on_no_response(self, transaction: Transaction, status: int, now: float) -> None:
        self.status = status

    def on_failure_acknowledged(self, transaction: Transaction) -> None:
        raise AssertionError("a client transaction sends no final response")

    def on_no_ack(self, transaction: Transaction) -> None:
        raise AssertionError("a client transaction sends no final response")

    def on_terminated(self, transaction: Transaction) -> None:
        pass


def label(message: Message) -> str:
    """Return the method, or the status and method of a response: "INVITE", "180 INVITE"."""
    if isinstance(message, Response):
        return f"{message.status} {message.cseq.method}"
    assert isinstance(message, Request)
    return message.method


def flow(party: Party) -> list[str]:
    """Return the labels of all messages that a party has sent."""
    return [label(send.message) for send in party.sent]


def transfer(sender: Party, receiver: Party, now: float, *, octets: bool = True) -> list[str]:
    """Deliver what `sender` sends to `receiver`; return the labels."""
    sends = sender.out()
    for message, _ in sends:
        if octets:
            receiver.endpoint.receive_datagram(message.octets(), sender.hop, now)
        else:
            receiver.endpoint.receive_message(message, sender.hop, now)
    return [label(send.message) for send in sends]


def drop(sender: Party) -> list[str]:
    """Lose what `sender` sends; return the labels."""
    return [label(send.message) for send in sender.out()]


def converse(one: Party, other: Party, now: float, *, octets: bool = True) -> None:
    """Transfer both ways until neither party sends anything."""
    while transfer(one, other, now, octets=octets) or transfer(other, one, now, octets=octets):
        pass


def run(parties: tuple[Party, ...], now: float, until: float, *, lost: bool = False) -> float:
    """Let time pass to `until`; deliver each message at once to its receiver, or lose it."""
    while True:
        deliver(parties, now, lost=lost)
        due = [each for p in parties if (each := p.endpoint.next_due()) is not None]
        if not due or min(due) > until:
            return until
        now = max(now, min(due))
        for party in parties:
            party.endpoint.handle_timer(now)


def deliver(parties: tuple[Party, ...], now: float, *, lost: bool = False) -> None:
    """Deliver each message to the party with its address, until no party sends anything."""
    by_host = {party.hop.host: party for party in parties}
    busy = True
    while busy:
        busy = False
        for party in parties:
            for message, hop in party.out():
                busy = True
                receiver = by_host.get(hop.host)
                if receiver is not None and not lost:
                    receiver.endpoint.receive_datagram(message.octets(), party.hop, now)


def leftovers(party: Party) -> tuple[int, int, float | None, list[Send]]:
    """Return transactions, dialogs, next timer and unsent messages; `NOTHING` if none is left."""
    endpoint = party.endpoint
    return len(endpoint.transactions), endpoint.dialogs, endpoint.next_due(), party.out()


NOTHING: tuple[int, int, None, list[Send]] = (0, 0, None, [])


class CallCase(SynchronousTestCase):
    """Alice, the caller, and Bob; each test ends with `finish`."""

    octets = True

    def setUp(self) -> None:
        self.alice = Party("a", ALICE)
        self.bob = Party("b", BOB)
        self.parties = (self.alice, self.bob)

    def there(self, now: float = 0.0) -> list[str]:
        """Transfer from Alice to Bob."""
        return transfer(self.alice, self.bob, now, octets=self.octets)

    def back(self, now: float = 0.0) -> list[str]:
        """Transfer from Bob to Alice."""
        return transfer(self.bob, self.alice, now, octets=self.octets)

    def settle(self, now: float = 0.0) -> None:
        """Transfer both ways until neither party sends anything."""
        converse(self.alice, self.bob, now, octets=self.octets)

    def offered(self) -> tuple[Session, Session]:
        """Return both sessions of a call that has reached Bob and is not answered."""
        caller = self.alice.call(self.bob)
        self.there()
        return caller, self.bob.incoming()

    def answered(self) -> tuple[Session, Session]:
        """Return both sessions of a call answered at 0 s, with all events taken."""
        caller, callee = self.offered()
        callee.answer(0.0, body=ANSWER)
        self.settle()
        self.alice.take()
        self.bob.take()
        return caller, callee

    def finish(self, now: float, sessions: int = 1) -> None:
        """Let time run on; check that nothing is left and each session has ended once."""
        run(self.parties, now, now + 200.0)
        for party in self.parties:
            self.assertEqual(leftovers(party), NOTHING)
            party.take()
            ended = [session for session, event in party.events if isinstance(event, Ended)]
            self.assertEqual(len(ended), sessions)
            self.assertEqual(len({id(each) for each in ended}), sessions)

    def check_ends(self, alice: Ended, bob: Ended) -> None:
        """Check the last event of both sides."""
        self.alice.take()
        self.bob.take()
        self.assertEqual(self.alice.events[-1][1], alice)
        self.assertEqual(self.bob.events[-1][1], bob)
