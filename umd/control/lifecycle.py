"""Applies the events that backends report to the calls, and records the lifecycle events."""

from __future__ import annotations

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from umd.backend import Gone, LegEvent, LegId
from umd.call.call import Call, CallState, IllegalEvent
from umd.call.call_id import CallId
from umd.call.events import Connected, Disconnected, LifecycleEvent, Lost
from umd.call.leg import Answered, Ended, Progressed
from umd.control.journal import CallJournal
from umd.control.leases import Leases
from umd.control.links import BackendLink
from umd.control.registry import Registry
from umd.control.settings import ControlSettings
from umd.control.teardowns import Teardowns


class Lifecycle:
    """
    Begins calls, applies leg events to them, and ends each once.

    Args:
        registry: the calls by CallId.
        leases: the timers of calls with limits.
        teardowns: record each end and answer the clients that wait for it.
        journal: records the events.
        wall: the time written into events, seconds since the epoch.
        log: for what backends do wrong.
    """

    def __init__(
        self,
        registry: Registry,
        leases: Leases,
        teardowns: Teardowns,
        journal: CallJournal,
        wall: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self.settings = ControlSettings()
        """Used here: `max_age` and `ring_time`. Replaced on reload."""
        self.refused_events = 0
        """Events from backends that are illegal, such as a second end of a call."""
        self._registry = registry
        self._leases = leases
        self._teardowns = teardowns
        self._journal = journal
        self._wall = wall
        self._log = log

    def new_call(
        self,
        call_id: CallId,
        link: BackendLink,
        leg: LegId,
        number: str,
        owner: str = "",
        state: CallState = CallState.CONNECTING,
    ) -> Call:
        """Return a new call that begins now, with the limits in force."""
        return Call(
            id=call_id,
            leg=leg,
            backend=link.name,
            number=number,
            owner=owner,
            at=self._wall(),
            state=state,
            max_age=self.settings.max_age,
            ring_time=self.settings.ring_time,
        )

    def begin(self, link: BackendLink, call: Call) -> None:
        """Add a new call to the registry, and start the timers of its limits."""
        self._registry.add(link, call)
        if call.max_age or call.ring_time:
            self._leases.grant(call)

    def leg_event(self, link: BackendLink, event: LegEvent) -> None:
        """Apply an event that a backend reports. An illegal event is logged and changes nothing."""
        call = link.calls.get(event.leg)
        if call is None:
            self._refuse(link, event, "no live call has this leg")
        elif isinstance(event, Gone):
            self.lose(call, event.reason)
        else:
            self._apply(link, call, event)

    def lose(self, call: Call, reason: str) -> None:
        """End a call as `Lost`: its leg cannot be found any more."""
        self._end(call, call.lose(reason, self._wall()))

    def record(self, call: Call, event: LifecycleEvent, leg_record: bytes | None = None) -> None:
        """Record an event that nothing waits for."""
        self._journal.append(call, event, leg_record, None, None)

    def leg_record(self, link: BackendLink, call: Call) -> bytes | None:
        """
        Return what its backend needs to restore the leg after a restart.

        If the backend fails to return it, the call goes on, and can be ended until umd stops.
        """
        if link.restores is None:
            return None
        try:
            record = link.restores.leg_record(call.leg)
            if record is None or isinstance(record, bytes):
                return record
            raise TypeError(f"a leg record is bytes, not {type(record).__name__}")
        except Exception:
            self._log.exception(
                "leg.record-failed", backend=link.name, call=call.id, leg=call.leg
            )
            return None

    def _apply(
        self, link: BackendLink, call: Call, event: Progressed | Answered | Ended
    ) -> None:
        try:
            happened = call.apply(event, self._wall())
        except IllegalEvent as error:
            self._refuse(link, event, str(error))
            return
        if happened is None:
            return
        if isinstance(happened, Disconnected):
            self._end(call, happened)
        elif isinstance(happened, Connected):
            if call.ring_time:
                self._leases.answered(call)
            self.record(call, happened, self.leg_record(link, call))
        else:
            self.record(call, happened)

    def _end(self, call: Call, event: Disconnected | Lost) -> None:
        if call.max_age or call.ring_time:
            self._leases.end(call)
        self._registry.retire(call)
        self._teardowns.record_end(call, event)

    def _refuse(self, link: BackendLink, event: LegEvent, why: str) -> None:
        self.refused_events += 1
        self._log.error(
            "backend.illegal-event", backend=link.name, leg_event=type(event).__name__, why=why
        )
