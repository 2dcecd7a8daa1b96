"""Makes calls of the legs that umd did not place: those a backend lists, and those that appear."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from structlog.typing import FilteringBoundLogger

from umd.backend import Direction, FoundLeg
from umd.call.alias import NO_ALIASES, InvalidAlias, check_aliases, check_labels
from umd.call.call import Call, CallState
from umd.call.call_id import CallId, make_call_id
from umd.call.events import LifecycleEvent
from umd.call.principal import is_valid_name
from umd.control.lifecycle import MAX_FOUND_NUMBER, Lifecycle
from umd.control.links import BackendLink
from umd.control.registry import Registry
from umd.control.settings import ControlSettings
from umd.errors import UmdError

MAX_LEG_NAME: Final = 255
"""Characters in the name of a found leg."""


class UnusableLeg(UmdError):
    """A leg that a backend carries and that cannot become a call."""


class FoundLegs:
    """
    Begins calls whose legs umd did not place.

    Args:
        registry: gets the calls.
        lifecycle: begins them.
        wall: seconds since the epoch.
        log: for legs that are refused.
    """

    def __init__(
        self,
        registry: Registry,
        lifecycle: Lifecycle,
        wall: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self.settings = ControlSettings()
        """Used here: `owners`. Replaced on reload."""
        self._registry = registry
        self._lifecycle = lifecycle
        self._wall = wall
        self._log = log

    def usable(
        self, link: BackendLink, listed: Iterable[FoundLeg], refused: set[str]
    ) -> list[FoundLeg]:
        """
        Return the listed legs that can become calls, and log the others.

        Args:
            refused: gets the names of the others. Those of the list before are not logged again.
        """
        usable = []
        for found in listed:
            try:
                _check_found(found)
            except UnusableLeg as error:
                name = repr(getattr(found, "leg", None))
                refused.add(name)
                if name not in link.refused:
                    self._refuse(link, found, error)
            else:
                usable.append(found)
        return usable

    def appeared(self, link: BackendLink, found: FoundLeg) -> None:
        """Begin the call of a leg that a backend reports while umd runs, unless it is known."""
        try:
            _check_found(found)
            if found.leg not in link.calls:
                self._begin(link, found, Call.find)
        except UnusableLeg as error:
            self._refuse(link, found, error)

    def listed(self, link: BackendLink, found: FoundLeg, *, at_start: bool) -> bool:
        """Begin the call of a usable leg that is listed and not known; return whether it did."""
        try:
            return self._begin(link, found, Call.resume if at_start else Call.find)
        except UnusableLeg as error:
            self._refuse(link, found, error)
            return False

    def _begin(
        self, link: BackendLink, found: FoundLeg, first_event: Callable[[Call], LifecycleEvent]
    ) -> bool:
        if found.leg in link.forgotten:
            return False
        if found.state is CallState.DISCONNECTING:
            raise UnusableLeg("it is ending already")
        call_id = self._call_id_of(found, link)
        if call_id is None:
            link.over.add(found.leg)
            return False
        call = self._lifecycle.new_call(
            call_id,
            link,
            found.leg,
            found.number[:MAX_FOUND_NUMBER],
            self._owner_of(found),
            found.state,
        )
        self._describe(link, found, call)
        self._lifecycle.begin(link, call)
        self._lifecycle.record(call, first_event(call), self._lifecycle.leg_record(link, call))
        if found.partners:
            self._lifecycle.join(link, call, found.partners)
        return True

    def _describe(self, link: BackendLink, found: FoundLeg, call: Call) -> None:
        """Take over what the PBX says of a leg. What is not valid is logged and left out."""
        call.direction = found.direction if isinstance(found.direction, Direction) else None
        began_at = found.began_at
        if isinstance(began_at, (int, float)) and 0.0 < began_at < call.began_at:
            call.began_at = float(began_at)
            if call.connected_at:
                # Its first event has this time, from which a restart takes both.
                call.connected_at = call.began_at
        try:
            call.labels = check_labels(found.labels)
            call.aliases = check_aliases(found.aliases)
        except InvalidAlias as error:
            call.aliases = NO_ALIASES
            self._lifecycle.refuse_alias(link, call, error)

    def _owner_of(self, found: FoundLeg) -> str:
        """Return the principal to whom a found leg belongs; empty: to none."""
        owner = found.owner
        if not owner or not isinstance(owner, str):
            return ""
        if self.settings.owners is not None:
            owner = self.settings.owners.get(owner, "")
        return owner if is_valid_name(owner) else ""

    def _call_id_of(self, found: FoundLeg, link: BackendLink) -> CallId | None:
        """
        Return the CallId of a leg that begins a call; None: its call has ended, and it is no other.

        A PBX may list a leg for a while after its end was confirmed. A leg whose end was not
        confirmed, or that was lost, is a call again, with a CallId of its own.

        Raises:
            UnusableLeg: the journal cannot record it, or no client could send it back.
        """
        call_id = _first_call_id(found, link)
        lives = 1
        while call_id in self._registry:
            known = self._registry.find(call_id)
            if known.leg != found.leg or known.backend != link.name or not known.ended:
                raise UnusableLeg(f"another call has its CallId {call_id}")
            if known.confirmed:
                return None
            lives += 1
            call_id = make_call_id(f"{found.leg};life={lives}", link.name)
        return call_id

    def _refuse(self, link: BackendLink, leg: FoundLeg, why: UnusableLeg) -> None:
        name = getattr(leg, "leg", None)
        self._log.error("backend.leg-refused", backend=link.name, leg=name, why=str(why))


def _first_call_id(found: FoundLeg, link: BackendLink) -> CallId:
    """
    Return the CallId of a found leg: the one that its backend remembers, or a new one.

    Raises:
        UnusableLeg
    """
    if found.call_id is not None:
        if not (found.call_id.isascii() and found.call_id.isprintable()):
            raise UnusableLeg("its CallId is not printable ASCII")
        return found.call_id
    try:
        return make_call_id(found.leg, link.name)
    except UnicodeEncodeError:
        raise UnusableLeg("its name is not valid Unicode") from None


def _check_found(found: FoundLeg) -> None:
    """
    Check the types of a found leg: a backend may pass on what it got from elsewhere.

    Raises:
        UnusableLeg
    """
    if not isinstance(found, FoundLeg):
        raise UnusableLeg(f"{type(found).__name__} is not a FoundLeg")
    if not isinstance(found.leg, str) or not 0 < len(found.leg) <= MAX_LEG_NAME:
        raise UnusableLeg(f"its name is not a string of 1 to {MAX_LEG_NAME} characters")
    if not isinstance(found.state, CallState) or found.state is CallState.DISCONNECTED:
        raise UnusableLeg(f"{found.state!r} is not the state of a live leg")
    if not isinstance(found.number, str):
        raise UnusableLeg("its number is not a string")
    if found.call_id is not None and not (isinstance(found.call_id, str) and found.call_id):
        raise UnusableLeg("its CallId is not a string of 1 or more characters")
    if not isinstance(found.aliases, Mapping):
        raise UnusableLeg("its aliases are not a mapping")
    if not isinstance(found.labels, tuple) or not isinstance(found.partners, tuple):
        raise UnusableLeg("its labels and partners are not tuples")
