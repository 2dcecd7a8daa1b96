"""The open connections of an HTTP front: counted by client network, and awaited at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

from twisted.internet.defer import Deferred

from umd.http.addresses import network_of
from umd.http.limits import Limits


class Wait(StrEnum):
    """What a connection can be waiting for. Each kind has its own deadline in `Limits`."""

    HANDSHAKE = "the TLS handshake"
    REQUEST = "the next request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    WRITE = "the client to take a response"
    CLOSE = "the client to close its side"


class OpenConnection(Protocol):
    """What the front does with a connection."""

    address: str
    """IP address of the client; empty for a unix: socket."""

    @property
    def unanswered(self) -> bool:
        """Whether a complete request has no response yet."""

    def time_out(self, wait: Wait) -> None:
        """React to a deadline that has passed."""

    def close_if_idle(self) -> None:
        """Close now if no request is unanswered."""

    def close(self) -> None:
        """Close as soon as the client has taken what is written."""

    def abort(self) -> None:
        """Close now and drop what the client has not taken."""


class OpenConnections:
    """The open connections of one front."""

    def __init__(self) -> None:
        self.draining = False
        """Whether `wait_until_answered` was called."""
        self._connections: set[OpenConnection] = set()
        self._per_network: Counter[str] = Counter()
        self._all_answered: Deferred[None] | None = None
        self._all_closed: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[OpenConnection]:
        """Iterate over a copy: connections may close meanwhile."""
        return iter(list(self._connections))

    def has_room(self, address: str, limits: Limits) -> bool:
        """Return whether the limits allow one more connection from this address."""
        if len(self._connections) >= limits.max_connections:
            return False
        in_network = self._per_network[network_of(address)] if address else 0
        return in_network < limits.max_connections_per_address

    def add(self, connection: OpenConnection) -> None:
        """Count a new connection."""
        self._connections.add(connection)
        if connection.address:
            self._per_network[network_of(connection.address)] += 1

    def remove(self, connection: OpenConnection) -> None:
        """Stop counting a connection that is lost."""
        self._connections.discard(connection)
        if connection.address:
            network = network_of(connection.address)
            self._per_network[network] -= 1
            if self._per_network[network] <= 0:
                del self._per_network[network]
        self.check_answered()
        if self._all_closed is not None and not self._connections:
            all_closed, self._all_closed = self._all_closed, None
            all_closed.callback(None)

    def check_answered(self) -> None:
        """Wake `wait_until_answered` if no request is left; called after each response."""
        if self._all_answered is not None:
            if not any(connection.unanswered for connection in self._connections):
                all_answered, self._all_answered = self._all_answered, None
                all_answered.callback(None)

    async def wait_until_answered(self) -> None:
        """Return when no connection has an unanswered request."""
        self.draining = True
        if any(connection.unanswered for connection in self._connections):
            self._all_answered = Deferred()
            await self._all_answered

    async def wait_until_closed(self) -> None:
        """Return when no connection is left."""
        if self._connections:
            self._all_closed = Deferred()
            await self._all_closed
