"""The link to each backend: its live calls, its availability, and the sink that it reports to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from umd.backend import (
    BackendUnavailable,
    CarriesMedia,
    FollowsPbx,
    FoundLeg,
    LegBackend,
    LegEvent,
    LegId,
    LegSink,
    RestoresLegs,
    ShowsMessages,
)
from umd.call.call import Call


class RecoveredCall(NamedTuple):
    """A live call of the journal, until its backend says whether the leg is still there."""

    call: Call
    leg_record: bytes | None
    """What `RestoresLegs.leg_record` returned last."""
    heard_at: float
    """Wall time of the last event of the leg, in seconds since the epoch."""


class LinkEvents(Protocol):
    """Takes the reports of the links; the first argument says of which link."""

    def leg_found(self, link: BackendLink, found: FoundLeg) -> None:
        """Take a leg that umd did not place."""

    def leg_event(self, link: BackendLink, event: LegEvent) -> None:
        """Take an event of a leg."""

    def when_recorded(self, then: Callable[[Any], None], argument: Any) -> None:
        """Call `then(argument)` once everything so far is on record."""

    def backend_down(self, link: BackendLink, reason: str) -> None:
        """A backend cannot be reached."""

    def backend_up(self, link: BackendLink) -> None:
        """A backend can be reached again."""


class BackendLink(LegSink):
    """
    One backend, its live calls, and whether it can be reached.

    Args:
        control: takes the reports of the backend.
        durable: whether the journal survives a restart. Only then does the backend restore legs.
    """

    def __init__(
        self, name: str, backend: LegBackend, control: LinkEvents, durable: bool
    ) -> None:
        self.name = name
        self.backend = backend
        self.carries_media = backend if isinstance(backend, CarriesMedia) else None
        self.shows_messages = isinstance(backend, ShowsMessages)
        self.restores = backend if durable and isinstance(backend, RestoresLegs) else None
        self.follows = backend if isinstance(backend, FollowsPbx) else None
        self.started = False
        self.down: str | None = None
        """Why it cannot be reached; None while it can."""
        self.calls: dict[LegId, Call] = {}
        """Its live calls."""
        self.recovered: list[RecoveredCall] = []
        """Its calls from before the restart, until the backend returns its legs."""
        self.forgotten: set[LegId] = set()
        """
        The legs of calls that an operator gave up, as long as the backend may list them. What it
        reports of them changes nothing.
        """
        self.refused: set[str] = set()
        """The legs of the last list that cannot become calls, so that each is logged once."""
        self.over: set[LegId] = set()
        """The legs of the last list whose calls have ended, so that their events say nothing."""
        self.heard: set[LegId] | None = None
        """The legs that had an event since umd asked for the list; None: it has not asked."""
        self.compare_again = False
        """Whether the list must be requested once more, since events may have been lost."""
        self.outages = 0
        """How often the backend could not be reached."""
        self._control = control

    def leg_found(self, found: FoundLeg) -> None:
        leg = getattr(found, "leg", None)
        if self.heard is not None and isinstance(leg, str):
            self.heard.add(LegId(leg))
        self._control.leg_found(self, found)

    def leg_event(self, event: LegEvent) -> None:
        if self.heard is not None:
            self.heard.add(event.leg)
        self._control.leg_event(self, event)

    def when_recorded(self, then: Callable[[Any], None], argument: Any) -> None:
        self._control.when_recorded(then, argument)

    def backend_down(self, reason: str) -> None:
        self._control.backend_down(self, reason)

    def backend_up(self) -> None:
        self._control.backend_up(self)

    def unavailable(self) -> BackendUnavailable:
        """Return the error for a request that this backend did not accept."""
        why = self.down or "it failed to end the call (backend.failed in the log)"
        return BackendUnavailable(f"backend {self.name} cannot be reached: {why}")


Links: TypeAlias = Mapping[str, BackendLink]
"""The links by the name of their section, `lab` for `[backend.lab]`."""
