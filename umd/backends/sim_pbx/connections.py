"""The time of a simulated PBX, its control connection, and the messages that it mirrors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from umd.backends.sim_pbx.messages import Disconnected, Event, Lie, Listener, Mirrored
from umd.timers import Timers

LATE_EVENT_DELAY: Final = 3.0
"""Seconds that an event takes with `Lie.GONE_OVERTAKES_EVENT`."""
MIRROR_SHARE: Final = 0.5
"""A mirrored message takes this share of the time of an event."""


class Connections:
    """
    What a PBX sends, and when.

    Args:
        seconds: the time now; monotonic.
        lies: what it does not do as it says.
        mirrors: whether it mirrors its SIP messages.
        delay: seconds that an event takes.
    """

    def __init__(
        self, seconds: Callable[[], float], lies: Iterable[Lie], mirrors: bool, delay: float
    ) -> None:
        self.lies = set(lies)
        """May be changed at any time."""
        self.mirrors = mirrors
        """May be changed at any time."""
        self.loses_events = False
        """While it is true, each event is lost, and the connection stays."""
        self.is_reachable = True
        """Whether a control connection can be made."""
        self.boot = 1
        """How often the PBX was started."""
        self.on_work: Callable[[], None] = lambda: None
        """Called when `next_due` may have become earlier."""
        self._seconds = seconds
        self._delay = delay
        self._listener: Listener | None = None
        self._connections = 0
        """How many control connections were made."""
        self._mirror_to: Listener | None = None
        self._timers: Timers[Callable[[], None]] = Timers()

    # -- time

    def next_due(self) -> float | None:
        """Return when to call `run` next; None: there is nothing to do."""
        return self._timers.next_due()

    def run(self, now: float) -> None:
        """Do all that is due at `now`."""
        while (act := self._timers.pop_due(now)) is not None:
            act()

    def _later(self, delay: float, act: Callable[[], None]) -> None:
        self._timers.start(delay, act, self._seconds())
        self.on_work()

    # -- the control connection

    def connect(self, listener: Listener) -> int:
        """
        Make a control connection, and return the number of the PBX's start.

        Raises:
            Disconnected: the PBX cannot be reached.
        """
        if not self.is_reachable:
            raise Disconnected("the PBX cannot be reached")
        self._listener = listener
        self._connections += 1
        return self.boot

    def mirror_to(self, listener: Listener | None) -> None:
        """Mirror messages to this listener from now on; None: to no listener."""
        self._mirror_to = listener

    def disconnect(self) -> None:
        """Take the end of the connection by the other side."""
        self._listener = None

    def break_connection(self, *, reachable: bool = False) -> None:
        """Break the control connection; events under way are lost."""
        self.is_reachable = reachable
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.connection_lost("the connection to the PBX is lost")

    def allow_connection(self) -> None:
        """Let a control connection be made again."""
        self.is_reachable = True

    def _check_connected(self) -> None:
        if self._listener is None:
            raise Disconnected("the control connection to the PBX is broken")

    # -- what it sends

    def _tell(self, event: Event) -> None:
        if self._listener is None or self.loses_events:
            return
        late = Lie.GONE_OVERTAKES_EVENT in self.lies
        delay = LATE_EVENT_DELAY if late else self._delay
        connection = self._connections
        for _ in range(2 if Lie.DOUBLE_EVENTS in self.lies else 1):
            self._later(delay, lambda: self._deliver(connection, event))

    def _deliver(self, connection: int, event: Event) -> None:
        if self._listener is not None and self._connections == connection:
            self._listener.pbx_event(event)

    def _mirror(self, message: Mirrored) -> None:
        listener = self._mirror_to
        if self.mirrors and listener is not None:
            self._later(self._delay * MIRROR_SHARE, lambda: self._show(listener, message))

    def _show(self, listener: Listener, message: Mirrored) -> None:
        if self._mirror_to is listener:
            listener.mirrored(message)
