"""Who the client of one HTTP connection is: authenticates a request, and remembers the result."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from umd.call.principal import Principal
from umd.http.authentication import Authenticator
from umd.http.exchange import Reply
from umd.http.head import Head
from umd.http.verdict import Denied


class ClientIdentity:
    """
    The principal that the last request of a connection was authenticated as.

    Clients repeat the same head on a connection. The principal of a head that repeats needs no
    second authentication until its time is over or the rules change.

    Args:
        address: IP address of the client; empty for a unix: socket.
    """

    __slots__ = ("principal", "_address", "_head", "_valid_until", "_rules_generation")

    def __init__(self, address: str) -> None:
        self.principal = Principal.anonymous(address)
        self._address = address
        self._head: Head | None = None
        self._valid_until = 0.0
        self._rules_generation = 0

    def remembered(self, head: Head, authenticator: Authenticator, now: float) -> Principal | None:
        """Return the principal if this very head was authenticated before and still is, or None."""
        if (
            head is self._head
            and now < self._valid_until
            and authenticator.generation == self._rules_generation
        ):
            return self.principal
        return None

    async def authenticate(
        self, head: Head, authenticator: Authenticator, certificate_subject: str | None
    ) -> Principal | Denied | Reply:
        """
        Authenticate a request.

        Returns:
            The principal, or the response to the client, which is to be delayed if it is `Denied`.
        """
        generation = authenticator.generation
        verdict = authenticator.authenticate(
            head.headers, self._address, certificate_subject, head.repeated
        )
        if isinstance(verdict, Deferred):
            verdict = await verdict
        if isinstance(verdict, (Denied, Reply)):
            return verdict
        self.principal, self._valid_until = verdict
        self._head, self._rules_generation = head, generation
        return self.principal
