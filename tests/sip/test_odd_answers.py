"""With a far end that sends random requests and responses, each call ends once."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.challenger import Phone, Received
from tests.sip.helpers import ALICE, BOB, NOTHING, OFFER, Party, Reinvite, leftovers
from umd.sip.credentials import MAX_RETRIES, Login
from umd.sip.message import Request
from umd.sip.session import Ended, Gone, Session, State

STORIES = 400
FOUND = (2606, 3341, 3410, 5914)
"""Seeds with which earlier versions failed."""
ASKED = ("BYE", "BYE", "INVITE", "UPDATE", "OPTIONS", "ACK", "CANCEL", "INFO", "FOO")
BODIES = ("", OFFER.decode(), "junk")
TYPES = ("application/sdp", "text/plain", "multipart/mixed;boundary=b")
REQUEST = (
    f"{{0}} sip:alice@{ALICE.host} SIP/2.0\r\nVia: SIP/2.0/UDP {BOB.host};branch=z9hG4bKf{{1}}\r\n"
    f"From: <sip:bob@{BOB.host}>;tag={{2}}\r\nTo: <sip:alice@{ALICE.host}>;tag=t\r\n"
    f"Call-ID: c\r\nCSeq: {{3}} {{0}}\r\nContact: <sip:bob@{BOB.host}>\r\n"
    "Content-Type: {4}\r\nContent-Length: {5}\r\n\r\n{6}"
)
STATUSES = (100, 180, 183, 200, 200, 401, 401, 401, 407, 407, 408, 481, 486, 487, 503)
HOW: tuple[dict[str, Any], ...] = ({}, {"again": True}, {"sent_before": True})
TRY = (
    f"INVITE sip:bob@{BOB.host} SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE.host}:5060;branch=%s;rport\r\n"
    f"From: <sip:alice@{ALICE.host}>;tag=t\r\nTo: <sip:bob@{BOB.host}>\r\n"
    "Call-ID: c\r\nCSeq: %d INVITE\r\n\r\n"
)


class Story:
    """One call with a user and a far end that act at random, by a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.asked = 0
        self.alice, self.phone = Party("a", ALICE), Phone()
        self.requests: list[Received] = []
        """The requests that the far end may answer."""
        how = self.random.choice(HOW)
        self.session: Session = self.alice.endpoint.place(
            f"sip:bob@{BOB.host}",
            BOB,
            0.0,
            from_=f"sip:alice@{ALICE.host}",
            body=OFFER,
            login=self.random.choice((Login("alice", "x"), None)),
            call_id="c",
            tag="t",
            branch="z9hG4bKb",
            **how,
        )
        if "sent_before" in how:  # then nothing leaves, and the tries of before can be answered
            tries = range(1 + MAX_RETRIES)
            self.requests = [
                Received((TRY % ("z9hG4bKb" + n * "a", 1 + n)).encode()) for n in tries
            ]

    def step(self) -> None:
        """Let one random thing happen."""
        if self.random.random() < 0.12:
            self.ask()
        else:
            choices: tuple[Callable[[], None], ...] = (self.hang_up, self.change, self.probe)
            weights = (7, 3, 2, 13, 75)
            (step,) = self.random.choices((*choices, self.wait, self.answer), weights)
            step()
        for message, _ in self.alice.out():
            if isinstance(message, Request) and message.method != "ACK":
                self.requests.append(Received(message.octets()))

    def hang_up(self) -> None:
        self.session.hang_up(self.now)

    def change(self) -> None:
        if self.session.state is State.CONFIRMED:
            Reinvite(self.alice.endpoint, self.session, OFFER, self.now)

    def probe(self) -> None:
        self.session.probe(self.now)

    def wait(self) -> None:
        due = self.alice.endpoint.next_due()
        if due is not None:
            self.now = max(self.now, due)
            self.alice.endpoint.handle_timer(self.now)

    def answer(self) -> None:
        if not self.requests:
            return
        request = self.random.choice(self.requests[-4:])
        status = self.random.choice(STATUSES)
        if status < 200 and request.method == "INVITE" and request.tag:
            return  # a re-INVITE that rings for ever is the user's to end
        lines = []
        if status in (401, 407):
            asks = "WWW" if status == 401 else "Proxy"
            realm, nonce = self.random.choice("ab"), self.random.choice("123456789")
            more = self.random.choice(("", ", stale=true", ", stale=false", ', qop="auth"'))
            lines = [f'{asks}-Authenticate: Digest realm="{realm}", nonce="{nonce}"{more}']
        tag = "" if status == 100 else self.random.choice("xyz")
        answer = self.phone.answer(request, status, *lines, tag=tag)
        self.alice.endpoint.receive_datagram(answer, BOB, self.now)

    def ask(self) -> None:
        """Send a random request of the far end."""
        method, tag = self.random.choice(ASKED), self.random.choice("xyz")
        self.asked += 1
        cseq = self.random.choice((1, 2, self.asked, self.asked + 5))
        body, kind = self.random.choice(BODIES), self.random.choice(TYPES)
        branch = self.asked if self.random.random() < 0.8 else 1
        request = REQUEST.format(method, branch, tag, cseq, kind, len(body), body)
        self.alice.endpoint.receive_datagram(request.encode(), BOB, self.now)

    def finish(self) -> None:
        """Hang up, and let the far end be silent from now on."""
        self.session.hang_up(self.now)
        while self.alice.endpoint.next_due() is not None:
            self.alice.out()
            self.wait()


class OddAnswersTests(SynchronousTestCase):
    def test_each_call_ends_once_and_is_forgotten(self) -> None:
        for seed in (*FOUND, *range(STORIES)):
            story = Story(seed)
            for _ in range(story.random.randrange(5, 60)):
                story.step()
            story.finish()
            ends = [event for _, event in story.alice.take() if isinstance(event, (Ended, Gone))]
            self.assertEqual(len(ends), 1, f"seed {seed}")
            self.assertEqual(leftovers(story.alice), NOTHING, f"seed {seed}")
