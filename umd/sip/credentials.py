"""
Credentials of one call for the servers that challenge it (RFC 3261 §22.2, §22.3).

After a challenge is answered, every later request of the same Call-ID carries credentials too, each
time with the next nonce count, so most servers challenge a call once. Credentials are kept only in
memory: after a restart umd answers the next challenge.

A challenged request is sent again if the password may still be right: the server challenges it for
the first time, or says that the nonce was stale. Otherwise umd gives up, since a server may lock an
account after some attempts with a wrong password.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from umd.sip import auth
from umd.sip.auth import DigestSession
from umd.sip.dialog import Dialog
from umd.sip.fields import Challenge, parse_challenges
from umd.sip.message import ExtraHeaders, Response
from umd.sip.outgoing import OwnRequest
from umd.sip.transaction import Key

MAX_RETRIES: Final = 6
"""Retries of one request: enough for a proxy and a server with two stale nonces each."""
MAX_REALMS: Final = 8
"""Protection spaces with credentials at one time; a new one replaces the oldest."""
MAX_INVITES: Final = 2 * (MAX_RETRIES + 1)
"""INVITEs whose credentials are kept for their ACKs."""

CHALLENGES: Final = (401, 407)
"""Statuses that challenge a request."""
_CHALLENGE_FIELDS: Final = (
    ("WWW-Authenticate", "Authorization"),
    ("Proxy-Authenticate", "Proxy-Authorization"),
)
"""Header field of a challenge, and header field of the credentials that answer it."""
_INFO_FIELDS: Final = (
    ("Authentication-Info", "Authorization"),
    ("Proxy-Authentication-Info", "Proxy-Authorization"),
)
"""Header field that may give the next nonce, and header field of the credentials it is for."""

Space: TypeAlias = tuple[str, str]
"""A protection space: the header field of its credentials, and the realm."""


@dataclass(frozen=True, slots=True)
class Login:
    """User name and password for the servers that challenge umd (RFC 3261 §22)."""

    username: str
    password: str = field(repr=False)


class Attempt:
    """A request of umd that a server may challenge, and its retries so far."""

    __slots__ = ("request", "dialog", "retries", "nonces", "nonce_changed")

    def __init__(self, request: OwnRequest, dialog: Dialog | None) -> None:
        self.request = request
        """The request as it was sent last."""
        self.dialog = dialog
        """The dialog of the request; None for the INVITE that begins the call."""
        self.retries = 0
        """How many times the request was sent again."""
        self.nonces: dict[Space, str] = {}
        """The nonce of the last challenge by each protection space."""
        self.nonce_changed: set[Space] = set()
        """The spaces that have once sent a new nonce without a `stale` parameter."""

    def may_retry(self, space: Space, challenge: Challenge) -> bool:
        """
        Whether the password may still be right in spite of this challenge.

        It may if the space challenges this request for the first time, or says that the nonce was
        stale (RFC 7616 §3.3). Some servers change the nonce without saying why: umd takes that for
        a stale nonce once.
        """
        last_nonce = self.nonces.get(space)
        stale = auth.is_stale(challenge)
        if last_nonce is None or stale:
            return True
        if stale is False or challenge.param("nonce") == last_nonce or space in self.nonce_changed:
            return False
        self.nonce_changed.add(space)
        return True


class CredentialCache:
    """
    The digest credentials that requests with one Call-ID send.

    Args:
        login: the user name and password for every server that challenges such a request.
        new_cnonce: returns a new random token.
    """

    __slots__ = ("_login", "_new_cnonce", "_sessions", "_pending", "_of_invites")

    def __init__(self, login: Login, new_cnonce: Callable[[], str]) -> None:
        self._login = login
        self._new_cnonce = new_cnonce
        self._sessions: dict[Space, DigestSession] = {}
        self._pending: dict[Key, Attempt] = {}
        """The requests without a final response, by transaction."""
        self._of_invites: dict[int, ExtraHeaders] = {}
        """The credentials of the last INVITEs that had some, by CSeq."""

    def headers(self, method: str, uri: str, body: bytes = b"") -> ExtraHeaders:
        """Return the header fields for the next request, one for each protection space."""
        return tuple(
            (name, str(session.next(method, uri, body)))
            for (name, _), session in self._sessions.items()
        )

    def of_invite(self, cseq: int) -> ExtraHeaders:
        """Return the credentials of the INVITE with this CSeq, for its ACK (§22.1)."""
        return self._of_invites.get(cseq, ())

    def sent(self, attempt: Attempt) -> None:
        """Note that the request has been sent and may be challenged."""
        request = attempt.request
        self._pending[request.branch, request.method] = attempt
        if request.method == "INVITE" and (credentials := request.credentials):
            self._of_invites[request.cseq_number] = credentials
            if len(self._of_invites) > MAX_INVITES:
                del self._of_invites[next(iter(self._of_invites))]

    def settled(self, key: Key) -> Attempt | None:
        """Forget and return the request of a transaction that has ended; None if unknown."""
        return self._pending.pop(key, None)

    def take_challenges(self, response: Response, attempt: Attempt) -> bool:
        """Answer the challenges in a 401 or 407; return whether to send the request again."""
        if attempt.retries == MAX_RETRIES:
            return False
        challenges = _answerable_challenges(response)
        for space, challenge in challenges.items():
            if not attempt.may_retry(space, challenge):
                return False
        for space, challenge in challenges.items():
            self._answer(space, challenge)
            attempt.nonces[space] = self._sessions[space].nonce
        attempt.retries += 1
        return bool(challenges)

    def take_next_nonce(self, response: Response) -> None:
        """Use the nonce that a 2xx gives for the next request (RFC 7616 §3.5, RFC 7615)."""
        for field_name, name in _INFO_FIELDS:
            info = response.get(field_name)
            sessions = [session for space, session in self._sessions.items() if space[0] == name]
            # The field names no realm, so it is clear only with one protection space.
            if info is None or len(sessions) != 1:
                continue
            # Its parameters have the syntax of a challenge without the scheme.
            for parsed in parse_challenges(f"Digest {info}"):
                sessions[0].take_next_nonce(parsed.param("nextnonce") or "")

    def _answer(self, space: Space, challenge: Challenge) -> None:
        known = self._sessions.pop(space, None)
        if len(self._sessions) == MAX_REALMS:
            del self._sessions[next(iter(self._sessions))]
        session = DigestSession(
            challenge,
            username=self._login.username,
            password=self._login.password,
            cnonce=self._new_cnonce(),
        )
        if known is not None and known.nonce == session.nonce:
            session.count = known.count  # the server may have accepted these counts
        self._sessions[space] = session


def _answerable_challenges(response: Response) -> dict[Space, Challenge]:
    """
    Return the challenges to answer: for each protection space the topmost that umd can answer.

    A response may have challenges in both header fields: a forking proxy collects the challenges of
    its branches in one response (§16.7).
    """
    answerable: dict[Space, Challenge] = {}
    for field_name, name in _CHALLENGE_FIELDS:
        for value in response.all(field_name):
            for challenge in parse_challenges(value):
                space = (name, challenge.param("realm") or "")
                if space in answerable or len(answerable) == MAX_REALMS:
                    continue
                if auth.can_answer(challenge):
                    answerable[space] = challenge
    return answerable
