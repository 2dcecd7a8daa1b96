"""
Follows the channels of a PBX that may lie: which legs there are, and how each of them ended.

It has no I/O. The caller passes on what the PBX sends, and calls `run` when `next_due` says so. The
word of the PBX confirms no end: the message of a far end does, or a second look on a PBX that lists
a channel until its far end is down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from umd.backend import (
    Answered,
    BackendUnavailable,
    Changed,
    Ended,
    FoundLeg,
    Gone,
    LegEvent,
    LegId,
    LegInUse,
    NoSuchLeg,
    Progressed,
)
from umd.backends.sim_pbx.messages import (
    ChannelState,
    ChannelView,
    ControlConnection,
    Disconnected,
    Event,
    EventKind,
    Mirrored,
    Reply,
)
from umd.backends.sim_pbx.track import Track, Verdicts, cause_of, far_end_left, found_leg
from umd.call.call import CallState
from umd.call.cause import RECOVERY_ON_TIMER_EXPIRY, Cause
from umd.call.leg import Proof
from umd.timers import Timers

GIVE_UP_AFTER: Final = 32.0
"""Seconds, 64 T1: after that a far end sends no more answer (RFC 3261 section 17.1.2.2)."""
LOOK_AFTER: Final = 1.0
"""Seconds from a command to the first look; each later look takes twice as long."""
LONGEST_INTERVAL: Final = 8.0  # seconds
GRACE: Final = 1.0
"""Seconds that an event may be later than the list."""
LATE_EVENT: Final = 4.0
"""The same if the far end is seen to be down, since the event then completes the proof."""
RELIST_AFTER: Final = 10.0
"""Seconds from a new connection to the second list, as the first one may be stale."""
REMEMBERED_FOR: Final = 64.0
"""Seconds for which an ended leg is known. One that is listed after that is a leg again."""
PARTNER_WITHIN: Final = 5.0
"""Seconds in which the end of a leg may end its partner."""


class Reports(Protocol):
    """Takes what the follower reports; the sink of umd."""

    def leg_found(self, found: FoundLeg) -> None:
        """Take a leg that umd did not place."""

    def leg_event(self, event: LegEvent) -> None:
        """Take an event of a leg."""


class Follower:
    """
    The legs of one PBX.

    Args:
        pbx: the verbs of the PBX.
        reports: takes legs and events.
        seconds: the time now; monotonic.
        witness: whether the PBX mirrors the messages of its far ends.
        lists_until_answered: whether it lists a channel until its far end is down.
    """

    def __init__(
        self,
        pbx: ControlConnection,
        reports: Reports,
        seconds: Callable[[], float],
        *,
        witness: bool,
        lists_until_answered: bool,
    ) -> None:
        self._pbx = pbx
        self._reports = reports
        self._seconds = seconds
        self._verdicts = Verdicts(
            witness=witness,
            lists_until_answered=lists_until_answered,
            grace=GRACE,
            grace_with_message=LATE_EVENT,
        )
        self._tracks: dict[LegId, Track] = {}
        self._by_call_id: dict[str, Track] = {}
        self._ended: dict[LegId, tuple[float, bool]] = {}
        """When a leg ended, and whether that was confirmed."""
        self._down: dict[str, tuple[float, Mirrored]] = {}
        """The messages by which far ends left, by SIP Call-ID, and when they came."""
        self._timers: Timers[Callable[[], None]] = Timers()
        self._is_connected = False
        self._boot = 0

    # -- time

    def next_due(self) -> float | None:
        """Return when to call `run` next; None: there is nothing to do."""
        return self._timers.next_due()

    def run(self, now: float) -> None:
        """Do all that is due at `now`."""
        while (act := self._timers.pop_due(now)) is not None:
            act()

    # -- what umd calls

    def legs(self) -> list[FoundLeg]:
        """
        Ask for the list, and return the live legs.

        Raises:
            BackendUnavailable
        """
        self._merge(self._list(), announce=False)
        for track in self._tracks.values():
            track.announced = True
        return [track.told for track in self._tracks.values()]

    def look_up(self, leg: LegId) -> FoundLeg | None:
        """
        Ask the PBX for one leg.

        Raises:
            BackendUnavailable
        """
        self._check_connected()
        track = self._tracks.get(leg)
        if track is None:
            return None
        self._look(track)
        if track.missing_since is not None:
            self._begin_to_end(track)
            return None
        return track.told

    def place(self, leg: LegId, number: str) -> None:
        """
        Let the PBX dial.

        Raises:
            BackendUnavailable
            LegInUse
        """
        self._check_connected()
        if leg in self._tracks:
            raise LegInUse(f"the leg {leg!r} is live already")
        view = self._pbx.originate(leg, number)
        self._ended.pop(leg, None)
        self._track(view, announced=True)

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        """
        Begin to end a leg.

        Raises:
            NoSuchLeg
            BackendUnavailable
        """
        track = self._tracks.get(leg)
        if track is None:
            if not self._is_connected:
                raise BackendUnavailable("the PBX cannot be reached")
            raise NoSuchLeg(f"no leg {leg!r}")
        self._check_connected()
        if track.commanded:
            return
        if track.asked is None:
            track.asked = cause
        self._command(track)
        self._begin_to_end(track)

    # -- the connection

    def connected(self, boot: int) -> None:
        """
        Take over the channels of a PBX after a control connection was made.

        It reports the legs that have ended or changed meanwhile.

        Args:
            boot: the number of the PBX's start.
        """
        self._is_connected = True
        restarted, self._boot = self._boot not in (0, boot), boot
        if restarted:
            for track in list(self._tracks.values()):
                self._forget(track, "the PBX was restarted, and has forgotten its calls")
        for track in list(self._tracks.values()):
            self._look_after_outage(track)
        self._merge(self._list(), announce=False)
        self._timers.start(RELIST_AFTER, self._relist, self._seconds())

    def announce(self) -> None:
        """Report the legs that umd does not know yet."""
        for track in list(self._tracks.values()):
            if not track.announced:
                track.announced = True
                self._reports.leg_found(track.told)

    def disconnected(self) -> None:
        """Note that nothing is known of the PBX until `connected`."""
        self._is_connected = False
        for track in self._tracks.values():
            track.commanded = False

    def pause(self) -> None:
        """Stop: forget all legs, since the next list has them."""
        self._is_connected = False
        self._tracks.clear()
        self._by_call_id.clear()
        self._timers = Timers()

    # -- what the PBX sends

    def pbx_event(self, event: Event) -> None:
        """Take an event of the control connection."""
        leg = LegId(event.channel.id)
        if leg in self._ended:
            return
        track = self._tracks.get(leg)
        if track is None:
            if event.kind is not EventKind.ENDED:
                self._find(event.channel)
            return
        self._update(track, event.channel)
        if event.kind is EventKind.ENDED and track.event is None:
            track.event = event
            self._review(track)

    def mirrored(self, message: Mirrored) -> None:
        """Take a message by which a far end leaves its call."""
        self._down.setdefault(message.call_id, (self._seconds(), message))
        track = self._by_call_id.get(message.call_id)
        if track is not None:
            # At once: the channel may have another far end by now, without an event of that.
            self._review(track)

    # -- which legs there are

    def _list(self) -> list[ChannelView]:
        self._check_connected()
        return list(self._pbx.list())

    def _relist(self) -> None:
        if self._is_connected:
            self._merge(self._list(), announce=True)

    def _merge(self, listed: Iterable[ChannelView], *, announce: bool) -> None:
        """Take over a list, which may be older than the events that have come."""
        views = {LegId(view.id): view for view in listed}
        self._forget_ended(views)
        for leg, view in views.items():
            if leg not in self._tracks and leg not in self._ended:
                self._track(view, announced=False)
        for leg, track in list(self._tracks.items()):
            # By a look of its own, since a list may be stale.
            if track.event is None and (leg not in views or views[leg] != track.view):
                self._look(track)
                if track.missing_since is not None:
                    self._begin_to_end(track)
        if announce:
            self.announce()

    def _forget_ended(self, listed: Iterable[LegId]) -> None:
        """Forget old legs that ended, but not those whose end is confirmed and that are listed."""
        since = self._seconds() - REMEMBERED_FOR
        still = set(listed)
        self._ended = {
            leg: (at, confirmed)
            for leg, (at, confirmed) in self._ended.items()
            if at > since or (confirmed and leg in still)
        }
        self._down = {
            call_id: (at, message)
            for call_id, (at, message) in self._down.items()
            if at > since or call_id in self._by_call_id
        }

    def _find(self, view: ChannelView) -> None:
        self._track(view, announced=True)
        self._reports.leg_found(self._tracks[LegId(view.id)].told)

    def _track(self, view: ChannelView, *, announced: bool) -> None:
        told = found_leg(view, self._partners(view))
        track = Track(view=view, told=told, announced=announced)
        self._tracks[told.leg] = self._by_call_id[view.call_id] = track

    def _partners(self, view: ChannelView) -> tuple[LegId, ...]:
        partner = view.partner
        if partner is None or partner == view.id or LegId(partner) in self._ended:
            return ()
        return (LegId(partner),)

    def _update(self, track: Track, view: ChannelView) -> None:
        """Take over how the PBX shows a channel now, and report what has changed."""
        if self._by_call_id.get(track.view.call_id) is track:
            del self._by_call_id[track.view.call_id]
        self._by_call_id[view.call_id] = track
        track.view = view
        before = track.told
        track.told = found_leg(view, self._partners(view), before.state)
        if not track.announced:
            return
        for event in _changes(before, track.told):
            self._reports.leg_event(event)

    # -- how a leg ends

    def _command(self, track: Track) -> None:
        """Send a command to end a leg; one that rings gets another verb the second time."""
        track.tries += 1
        self._look(track)
        is_there = track.missing_since is None
        track.commanded_call_id = track.view.call_id if is_there else None
        track.commanded_at = self._seconds()
        assert track.asked is not None
        cancels = track.rings and track.tries % 2 == 0
        verb = self._pbx.cancel if cancels else self._pbx.hang_up
        reply = verb(track.view.id, track.asked.q850)
        track.commanded = True
        if reply is Reply.NO_SUCH_CHANNEL:
            # Its partner's end may have ended it, which is what umd asked for.
            track.was_gone |= track.tries == 1 and self._cause_leg(track) is None
            self._look(track)

    def _begin_to_end(self, track: Track) -> None:
        """Look at a leg again and again until it has ended."""
        if track.deadline is None:
            track.deadline = self._seconds() + GIVE_UP_AFTER
        if not track.interval:
            track.interval = LOOK_AFTER
            self._look_later(track)

    def _look_later(self, track: Track) -> None:
        assert track.deadline is not None
        now = self._seconds()
        left = track.deadline - now
        delay = min(track.interval, left) if left > 0 else track.interval
        track.timer = self._timers.start(delay, lambda: self._look_again(track), now)

    def _carry_on(self, track: Track) -> None:
        """Take a leg for live again."""
        track.interval, track.deadline = 0.0, None
        if track.timer is not None:
            track.timer.cancel()

    def _look_again(self, track: Track) -> None:
        """Look at a leg that should be ending, and command again if the PBX has done nothing."""
        if self._tracks.get(track.told.leg) is not track:
            return
        track.interval = min(2 * track.interval, LONGEST_INTERVAL)
        if self._is_connected and self._review(track):
            return
        if not track.is_ending:
            self._carry_on(track)
            return
        if self._is_connected and _ignores_command(track):
            self._command(track)
        self._look_later(track)

    def _review(self, track: Track) -> bool:
        """Look at a leg, and end it if that is shown; return whether it has ended."""
        if not self._is_connected:
            return False
        self._look(track)
        if self._settle(track):
            return True
        if track.is_ending:
            self._begin_to_end(track)
        return False

    def _look(self, track: Track) -> None:
        """Ask the PBX for a channel, and note whether it has it."""
        try:
            view = self._pbx.get(track.view.id)
        except Disconnected:
            return
        if view is None:
            if track.missing_since is None:
                track.missing_since = self._seconds()
        else:
            track.missing_since = None
            if track.event is None:
                self._update(track, view)

    def _settle(self, track: Track) -> bool:
        """End a leg if that is shown, or if it is time to give up."""
        down_at, down = self._down.get(track.last_call_id, (0.0, None))
        proof = self._verdicts.proof(track, down, down_at, self._seconds())
        if proof is None:
            return False
        if proof is Proof.PBX and (track.event or track.asked or down) is None:
            self._forget(track, "the PBX no longer has the channel, and reported no end")
            return True
        caused_by = None if track.asked or far_end_left(track, down) else self._cause_leg(track)
        cause = cause_of(track, down, caused_by)
        if proof is Proof.NONE:
            cause.q850 = RECOVERY_ON_TIMER_EXPIRY
        self._end(track, Ended(track.told.leg, cause, shown_by=proof, caused_by=caused_by))
        return True

    def _cause_leg(self, track: Track) -> LegId | None:
        """Return the partner whose end has brought about the end of a leg."""
        for partner in track.told.partners:
            other = self._tracks.get(partner)
            if other is not None and other.is_ending:
                return partner
        since = self._seconds() - PARTNER_WITHIN
        return next((leg for leg, at in reversed(track.former) if at >= since), None)

    def _look_after_outage(self, track: Track) -> None:
        """End a leg that has ended while the PBX could not be reached."""
        self._look(track)
        if track.missing_since is None and track.event is None:
            track.asked = None  # umd asks again
            self._carry_on(track)
            return
        if track.event is None:
            track.missing_since = self._seconds() - LATE_EVENT  # an event can no longer come
        if self._settle(track):
            return
        if track.asked is None and track.event is None:
            self._forget(track, "it was gone when the PBX could be reached again")

    def _forget(self, track: Track, reason: str) -> None:
        self._end(track, Gone(track.told.leg, reason))

    def _end(self, track: Track, event: Ended | Gone) -> None:
        """Report the last event of a leg, and tell its partners that it is gone."""
        leg, now = track.told.leg, self._seconds()
        del self._tracks[leg]
        if track.timer is not None:
            track.timer.cancel()
        if self._by_call_id.get(track.view.call_id) is track:
            del self._by_call_id[track.view.call_id]
        confirmed = isinstance(event, Ended) and event.confirmed
        self._ended[leg] = (now, confirmed)
        if track.announced:
            self._reports.leg_event(event)
        for partner in track.told.partners:
            other = self._tracks.get(partner)
            if other is not None and leg in other.told.partners:
                other.former.append((leg, now))
                self._update(other, other.view)

    def _check_connected(self) -> None:
        if not self._is_connected:
            raise BackendUnavailable("the PBX cannot be reached")


def _changes(before: FoundLeg, now: FoundLeg) -> Iterable[LegEvent]:
    """Yield the events that say what has changed of a leg."""
    if now.state is not before.state:
        if now.state is CallState.ALERTING:
            yield Progressed(now.leg)
        elif now.state is CallState.CONNECTED:
            yield Answered(now.leg)
    aliases = None if now.aliases == before.aliases else now.aliases
    partners = None if now.partners == before.partners else now.partners
    labels = None if now.labels == before.labels else now.labels
    number = None if now.number == before.number else now.number
    if (aliases, partners, labels, number) != (None, None, None, None):
        yield Changed(
            leg=now.leg, aliases=aliases, partners=partners, labels=labels, number=number
        )


def _ignores_command(track: Track) -> bool:
    """Return whether the PBX has a channel as before, although it was told to end it."""
    if not track.commanded or track.event is not None or track.missing_since is not None:
        return False
    return track.view.state is not ChannelState.ENDING
