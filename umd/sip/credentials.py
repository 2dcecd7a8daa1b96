"""
What a session of ours knows of the servers that challenge it (RFC 3261 §22.2, §22.3).

The credentials that answered a challenge go into every later request with the same Call-ID as well,
each time with the next nonce count, so that most servers challenge a call once. They are held in
memory alone: after a restart the next challenge is answered anew.

A request is sent again while its challenges leave hope that the password is right: a server has not
asked before, or says that the nonce was stale. Whoever repeats a password that was refused gets the
account locked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from umd.sip import auth
from umd.sip.auth import DigestSession
from umd.sip.dialog import Dialog
from umd.sip.fields import Challenge, parse_challenges
from umd.sip.message import ExtraHeaders, Response
from umd.sip.outgoing import OwnRequest
from umd.sip.transaction import Key

MAX_TRIES: Final = 6
"""How often one request is sent again: to a proxy and a server, each of them stale twice."""
MAX_REALMS: Final = 8
"""How many protection spaces are known at once; one more displaces the oldest."""
MAX_INVITES: Final = 2 * (MAX_TRIES + 1)
"""For how many INVITEs the credentials are kept, which their ACKs carry too."""

CHALLENGES: Final = (401, 407)
_ANSWERED_BY: Final = (
    ("WWW-Authenticate", "Authorization"),
    ("Proxy-Authenticate", "Proxy-Authorization"),
)
_INFO: Final = (
    ("Authentication-Info", "Authorization"),
    ("Proxy-Authentication-Info", "Proxy-Authorization"),
)


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to a server that challenges us (RFC 3261 §22)."""

    username: str
    password: str = field(repr=False)


class Attempt:
    """A request of ours that may be challenged, and what its challenges have come to so far."""

    __slots__ = ("request", "dialog", "tries", "nonces", "doubtful")

    def __init__(self, request: OwnRequest, dialog: Dialog | None) -> None:
        self.request = request
        """The last try."""
        self.dialog = dialog
        """The one that the request is in; None for the first INVITE."""
        self.tries = 0
        """How often it was sent again."""
        self.nonces: dict[tuple[str, str], str] = {}
        """Which nonce each protection space asked it for last."""
        self.doubtful: set[tuple[str, str]] = set()
        """The spaces that have changed the nonce without a word on whether the old was stale."""

    def leaves_hope(self, space: tuple[str, str], challenge: Challenge) -> bool:
        """
        Whether this challenge says less than that the password is wrong.

        Stale is what the server calls so (RFC 7616 §3.3). Some servers change an old nonce and do
        not say why: that is taken for stale once. A server that got the nonce of an earlier request
        has not judged the password yet: it counts as one that asks for the first time.
        """
        before = self.nonces.get(space)
        stale = auth.is_stale(challenge)
        if before is None or stale:
            return True
        if stale is False or challenge.param("nonce") == before or space in self.doubtful:
            return False
        self.doubtful.add(space)
        return True


class CredentialCache:
    """
    The credentials of one Call-ID.

    Args:
        login: Who we are, to every server of the call.
        new_cnonce: Gives an unpredictable token at every call.
    """

    __slots__ = ("_login", "_new_cnonce", "_spaces", "_open", "_invites")

    def __init__(self, login: Login, new_cnonce: Callable[[], str]) -> None:
        self._login = login
        self._new_cnonce = new_cnonce
        self._spaces: dict[tuple[str, str], DigestSession] = {}
        """By protection space: the header field that answers it, and the realm."""
        self._open: dict[Key, Attempt] = {}
        """By the key of the transaction, the requests that have no final response yet."""
        self._invites: dict[int, ExtraHeaders] = {}
        """By CSeq, the credentials of the last INVITEs that had some."""

    def headers(self, method: str, uri: str, body: bytes = b"") -> ExtraHeaders:
        """The header fields for a request that is sent now, one for each protection space."""
        return tuple(
            (name, str(session.next(method, uri, body)))
            for (name, _), session in self._spaces.items()
        )

    def of_invite(self, cseq: int) -> ExtraHeaders:
        """What the INVITE with this CSeq carried: its ACK carries the same (§22.1)."""
        return self._invites.get(cseq, ())

    def sent(self, attempt: Attempt) -> None:
        """Its request has been sent: expect the final response."""
        request = attempt.request
        self._open[request.branch, request.method] = attempt
        if request.method == "INVITE" and (credentials := request.credentials):
            self._invites[request.cseq_number] = credentials
            if len(self._invites) > MAX_INVITES:
                del self._invites[next(iter(self._invites))]

    def settled(self, key: Key) -> Attempt | None:
        """The final response in this transaction has come, or none will come."""
        return self._open.pop(key, None)

    def take_challenges(self, response: Response, attempt: Attempt) -> bool:
        """Take the challenges of a 401 or 407; whether the request is to be sent again."""
        if attempt.tries == MAX_TRIES:
            return False
        asked = _choose_in(response)
        for space, challenge in asked.items():
            if not attempt.leaves_hope(space, challenge):
                return False
        for space, challenge in asked.items():
            self._answer(space, challenge)
            attempt.nonces[space] = self._spaces[space].nonce
        attempt.tries += 1
        return bool(asked)

    def take_next_nonce(self, response: Response) -> None:
        """Take the nonce that a 2xx gives for the next request (RFC 7616 §3.5, RFC 7615)."""
        for field_name, name in _INFO:
            info = response.get(field_name)
            sessions = [each for space, each in self._spaces.items() if space[0] == name]
            if info is None or len(sessions) != 1:  # it names no realm
                continue
            for read in parse_challenges(f"Digest {info}"):  # the parameters are written alike
                sessions[0].take_next_nonce(read.param("nextnonce") or "")

    def _answer(self, space: tuple[str, str], challenge: Challenge) -> None:
        known = self._spaces.pop(space, None)
        if len(self._spaces) == MAX_REALMS:
            del self._spaces[next(iter(self._spaces))]
        session = DigestSession(
            challenge,
            username=self._login.username,
            password=self._login.password,
            cnonce=self._new_cnonce(),
        )
        if known is not None and known.nonce == session.nonce:
            session.count = known.count  # the server may know the counts so far
        self._spaces[space] = session


def _choose_in(response: Response) -> dict[tuple[str, str], Challenge]:
    """
    The challenges to answer, by protection space: of those of one realm the topmost that we can.

    A proxy that has forked joins what its branches ask for, also in both header fields (§16.7).
    """
    found: dict[tuple[str, str], Challenge] = {}
    for asks, name in _ANSWERED_BY:
        for value in response.all(asks):
            for challenge in parse_challenges(value):
                space = (name, challenge.param("realm") or "")
                if space not in found and len(found) < MAX_REALMS and auth.can_answer(challenge):
                    found[space] = challenge
    return found
