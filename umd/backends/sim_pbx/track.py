"""What the follower knows of one leg, and what follows from it: how it ended, and what shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from umd.backend import FoundLeg, LegId
from umd.backends.sim_pbx.messages import ChannelState, ChannelView, Event, Mirrored
from umd.call.alias import SIP_CALL_ID
from umd.call.call import CallState
from umd.call.cause import NORMAL_CLEARING, Cause, EndedBy, rejection
from umd.call.leg import Proof
from umd.timers import Timer

CALL_STATE: Final = {
    ChannelState.DIALLING: CallState.CONNECTING,
    ChannelState.RINGING: CallState.ALERTING,
    ChannelState.UP: CallState.CONNECTED,
}
_ORDER: Final = (CallState.CONNECTING, CallState.ALERTING, CallState.CONNECTED)


@dataclass(slots=True, eq=False, kw_only=True)
class Track:
    """A leg that the follower tracks until its end is reported."""

    view: ChannelView
    """The channel as the PBX showed it last."""
    told: FoundLeg
    """The leg as umd knows it."""
    announced: bool
    """Whether umd knows the leg."""
    asked: Cause | None = None
    """What `hang_up` was given, while the leg ends."""
    commanded: bool = False
    """Whether a command went to the PBX on the present connection."""
    commanded_call_id: str | None = None
    """The Call-ID that the PBX showed just before the last command."""
    commanded_at: float = 0.0
    """When that was."""
    tries: int = 0
    """Commands that went to the PBX."""
    was_gone: bool = False
    """Whether the PBX did not have the channel when the first command came."""
    event: Event | None = None
    """The PBX's report of the end."""
    missing_since: float | None = None
    """When a look first did not find the channel; None: the PBX had it when it was asked last."""
    deadline: float | None = None
    """When to end the leg by what is known; None: it is not ending."""
    interval: float = 0.0
    """Seconds until the next look."""
    timer: Timer[Callable[[], None]] | None = None
    """The next look."""
    former: list[tuple[LegId, float]] = field(default_factory=list)
    """Partners that have ended, and when."""

    @property
    def is_ending(self) -> bool:
        """Whether anything says that the leg ends or has ended."""
        return (self.asked or self.event or self.missing_since) is not None

    @property
    def last_call_id(self) -> str:
        """
        The Call-ID of the dialog in which the leg ends.

        The events that come after a command may be older than what the PBX showed before it.
        """
        if self.event is not None:
            return self.event.channel.call_id
        return self.commanded_call_id or self.view.call_id

    @property
    def rings(self) -> bool:
        """Whether the leg is not answered yet."""
        return self.told.state is not CallState.CONNECTED


def found_leg(
    view: ChannelView, partners: tuple[LegId, ...], before: CallState | None = None
) -> FoundLeg:
    """
    Return a channel as umd knows it.

    Args:
        view: the channel as the PBX shows it.
        partners: the live legs with which it is bridged.
        before: its state before. A leg never goes back, though an event may be late.
    """
    state = CALL_STATE.get(view.state, before or CallState.CONNECTED)
    if before is not None and _ORDER.index(before) > _ORDER.index(state):
        state = before
    return FoundLeg(
        leg=LegId(view.id),
        state=state,
        number=view.number,
        aliases={SIP_CALL_ID: view.call_id, "channel": view.id, "channel-name": view.name},
        partners=partners,
        labels=view.labels,
        owner=view.owner,
        direction=view.direction,
        began_at=view.began_at,
    )


def cause_of(track: Track, down: Mirrored | None, caused_by: LegId | None) -> Cause:
    """
    Return why a leg ended.

    Args:
        track: the leg.
        down: the message by which its far end left; None: none was seen.
        caused_by: the partner whose end brought this one about.
    """
    q850 = NORMAL_CLEARING if track.event is None else track.event.q850
    status = None if down is None else down.status
    if down is not None and down.rejects and status is not None:
        return rejection(status)
    if far_end_left(track, down) or track.was_gone:
        return Cause(by=EndedBy.FAR_END, q850=q850)
    if track.asked is not None:
        return Cause(by=track.asked.by, q850=track.asked.q850, sip_status=status)
    by = EndedBy.FAR_END if caused_by is None else EndedBy.PARTNER
    return Cause(by=by, q850=q850, sip_status=status)


def far_end_left(track: Track, down: Mirrored | None) -> bool:
    """Return whether the far end ended the leg by itself."""
    if down is not None:
        return down.status is None or down.rejects
    return track.event is not None and track.event.by_far_end


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """
    Judges whether a leg is over, and by what proof.

    Args:
        witness: whether the PBX mirrors the messages of its far ends.
        lists_until_answered: whether the PBX lists a channel until its far end is down.
        grace: seconds that an event may be later than the list.
        grace_with_message: the same if the event would complete the proof.
    """

    witness: bool
    lists_until_answered: bool
    grace: float
    grace_with_message: float

    def proof(
        self, track: Track, down: Mirrored | None, down_at: float, now: float
    ) -> Proof | None:
        """
        Return what shows the end of a leg; None: wait.

        A mirrored message alone shows no end, since a channel may have got another far end without
        an event of that. It does if the PBX's report names the same Call-ID, or if the PBX showed
        it just before the command that ended the channel, and no other one since.

        Args:
            track: the leg.
            down: the message by which its far end left; None: none was seen.
            down_at: when it came.
            now: the time now.
        """
        overdue = track.deadline is not None and now >= track.deadline
        if track.event is None and track.missing_since is None:
            return Proof.NONE if overdue else None
        is_linked = (
            track.commanded_call_id == track.view.call_id and down_at >= track.commanded_at
        )
        if self._event_may_come(track, down, is_linked, now) and not overdue:
            return None
        if down is not None and (track.event is not None or is_linked):
            return Proof.FAR_END
        if self.lists_until_answered:
            if track.missing_since is not None:
                return Proof.SECOND_LOOK
            return Proof.PBX if overdue else None
        return None if self.witness and down is None and not overdue else Proof.PBX

    def _event_may_come(
        self, track: Track, down: Mirrored | None, is_linked: bool, now: float
    ) -> bool:
        """Whether to wait for the event, which has the cause, and says whose far end is down."""
        if track.event is not None or track.missing_since is None:
            return False
        incomplete = down is not None and not is_linked
        grace = self.grace_with_message if incomplete else self.grace
        return now < track.missing_since + grace
