"""Applies the events that backends report to the calls, and records the lifecycle events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from structlog.typing import FilteringBoundLogger

from umd.backend import Changed, FoundLeg, Gone, LegEvent, LegId
from umd.call.alias import InvalidAlias, check_aliases, check_labels
from umd.call.call import Call, CallState, IllegalEvent
from umd.call.call_id import CallId
from umd.call.events import Connected, Disconnected, EndEvent, LifecycleEvent
from umd.call.leg import Answered, Ended, Progressed, Proof
from umd.control.held_ends import HeldEnds
from umd.control.journal import CallJournal
from umd.control.leases import Leases
from umd.control.links import BackendLink
from umd.control.registry import Registry
from umd.control.settings import ControlSettings
from umd.control.teardowns import Teardowns

MAX_FOUND_NUMBER: Final = 1024
"""Characters in the number of a leg that umd did not place; the rest is cut off."""
MAX_PARTNERS: Final = 1000
"""Legs with which a leg is bridged; umd ignores the others."""


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
        held: ends that wait for a witness.
    """

    def __init__(
        self,
        registry: Registry,
        leases: Leases,
        teardowns: Teardowns,
        journal: CallJournal,
        wall: Callable[[], float],
        log: FilteringBoundLogger,
        held: HeldEnds,
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
        self._held = held
        held.finish = self._happen

    def new_call(
        self,
        call_id: CallId,
        link: BackendLink,
        leg: LegId,
        number: str,
        owner: str = "",
        state: CallState = CallState.CONNECTING,
        *,
        labels: Sequence[str] = (),
        lease: float | None = None,
    ) -> Call:
        """
        Return a new call that begins now, with the limits in force.

        Raises:
            InvalidAlias: a text cannot be a label.
        """
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
            labels=check_labels(labels) if labels else (),
            lease=lease,
        )

    def begin(self, link: BackendLink, call: Call) -> None:
        """Add a new call to the registry, and start the timers of its limits."""
        self._registry.add(link, call)
        if call.aliases:
            self._teardowns.summarise(call)
        if call.max_age or call.ring_time or call.lease:
            self._leases.grant(call)

    def leg_event(self, link: BackendLink, event: LegEvent) -> None:
        """Apply an event that a backend reports. An illegal event is logged and changes nothing."""
        call = link.calls.get(event.leg)
        if call is None:
            if event.leg not in link.forgotten and event.leg not in link.over:
                self._refuse(link, event, "no live call has this leg")
        elif call.id in self._held.by_call and not isinstance(event, (Gone, Changed)):
            self._refuse(link, event, f"the end of call {call.id} was reported already")
        elif isinstance(event, Gone):
            self.lose(call, event.reason)
        elif isinstance(event, Changed):
            self._change(link, call, event)
        else:
            self._apply(link, call, event)

    def lose(self, call: Call, reason: str) -> None:
        """End a call as `Lost`: its leg cannot be found any more, and no end was reported."""
        if call.id in self._held.by_call:
            return
        self._end(call, call.lose(reason, self._wall()))

    def forget(self, call: Call, principal: str, request_id: str, reason: str) -> None:
        """End the record of a call that an operator gives up; its backend is not told."""
        self._end(call, call.forget(principal, request_id, reason, self._wall()))

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

    def join(self, link: BackendLink, call: Call, partners: tuple[LegId, ...]) -> None:
        """Record with which legs of its backend a call is bridged now."""
        changed = call.change(self._wall(), partners=self._partners_of(link, call, partners))
        if changed is not None:
            self.record(call, changed)

    def catch_up(self, link: BackendLink, call: Call, found: FoundLeg) -> bool:
        """
        Take over what a backend says of a leg now, where umd has not heard of it.

        Returns:
            Whether anything has changed.
        """
        before = call.seq
        if found.state is CallState.CONNECTED and not call.connected_at:
            self._apply(link, call, Answered(call.leg))
        elif found.state is CallState.ALERTING and call.state is CallState.CONNECTING:
            self._apply(link, call, Progressed(call.leg))
        if link.follows is not None:
            self._change(link, call, _what_differs(call, found))
        return call.seq != before

    def refuse_alias(self, link: BackendLink, call: Call, error: InvalidAlias) -> None:
        """Log that a backend reported an alias or a label that cannot be one."""
        self.refused_events += 1
        self._log.error("backend.alias-refused", backend=link.name, call=call.id, why=str(error))

    def _change(self, link: BackendLink, call: Call, event: Changed) -> None:
        """Take over what has changed of a leg. What is not valid is logged and left as it was."""
        aliases = labels = None
        try:
            if event.aliases is not None:
                aliases = check_aliases(event.aliases)
            if event.labels is not None:
                labels = check_labels(event.labels)
        except InvalidAlias as error:
            self.refuse_alias(link, call, error)
        partners = self._partners_of(link, call, event.partners)
        number = event.number[:MAX_FOUND_NUMBER] if isinstance(event.number, str) else None
        changed = self._registry.change(
            call,
            lambda: call.change(
                self._wall(), aliases=aliases, partners=partners, labels=labels, number=number
            ),
        )
        if changed is not None:
            if changed.aliases:
                self._teardowns.summarise(call)
            self.record(call, changed)

    def _partners_of(
        self, link: BackendLink, call: Call, legs: object
    ) -> tuple[CallId, ...] | None:
        """Return the calls of the legs that a backend names: each once, and not the call itself."""
        if not isinstance(legs, tuple):
            return None
        named = [leg for leg in legs[:MAX_PARTNERS] if isinstance(leg, str)]
        ids = (self._registry.id_of_leg(link, LegId(leg)) for leg in named if leg != call.leg)
        return tuple(dict.fromkeys(ids))

    def _apply(
        self, link: BackendLink, call: Call, event: Progressed | Answered | Ended
    ) -> None:
        if (
            isinstance(event, Ended)
            and call.caused_by is None
            and isinstance(event.caused_by, str)
        ):
            call.caused_by = self._registry.id_of_leg(link, event.caused_by)
        if (
            isinstance(event, Ended)
            and event.shown_by is Proof.PBX
            and self._held.hold(link, call, event)
        ):
            return
        self._happen(link, call, event, self._wall())

    def _happen(
        self, link: BackendLink, call: Call, event: Progressed | Answered | Ended, at: float
    ) -> None:
        try:
            happened = call.apply(event, at)
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

    def _end(self, call: Call, event: EndEvent) -> None:
        if call.max_age or call.ring_time or call.lease:
            self._leases.end(call)
        self._registry.retire(call)
        self._teardowns.record_end(call, event)

    def _refuse(self, link: BackendLink, event: LegEvent, why: str) -> None:
        self.refused_events += 1
        self._log.error(
            "backend.illegal-event", backend=link.name, leg_event=type(event).__name__, why=why
        )


def _what_differs(call: Call, found: FoundLeg) -> Changed:
    """Return what a list of a PBX adds to what umd knows of a call."""
    aliases = labels = None
    if not found.aliases.items() <= call.aliases.items():
        # A PBX may not list all ids of a leg at once, such as its Call-ID.
        aliases = {**call.aliases, **found.aliases}
    if any(label not in call.labels for label in found.labels):
        labels = (*call.labels, *found.labels)
    partners = found.partners if found.partners or call.partners else None
    return Changed(leg=call.leg, aliases=aliases, partners=partners, labels=labels)
