"""
A simulated PBX: channels, their far ends, and a control connection that may lie and break.

It is a model in virtual time without I/O and without random numbers. It only acts in `run` and when
one of its methods is called, so a run can be repeated exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Final

from umd.backends.sim_pbx.channel import Channel
from umd.backends.sim_pbx.connections import Connections
from umd.backends.sim_pbx.far_ends import Behaviour, ByeAnswer, FarEnd, FarEnds
from umd.backends.sim_pbx.messages import (
    ChannelInUse,
    ChannelState,
    ChannelView,
    ControlConnection,
    Event,
    EventKind,
    Lie,
    Mirrored,
    Reply,
)
from umd.call.cause import NORMAL_CLEARING, Q850_OF_STATUS, RECOVERY_ON_TIMER_EXPIRY
from umd.call.leg import Direction

BYE_TIMEOUT: Final = 32.0
"""Seconds, 64 T1, until the PBX gives up a BYE (RFC 3261 section 17.1.2.2)."""
TEMPORARY_FAILURE: Final = 41  # Q.850


class Pbx(Connections, ControlConnection):
    """
    The PBX. Methods besides the verbs of `ControlConnection` let it do what umd did not request.

    They take the ids of live channels; for another one they raise KeyError.

    Args:
        seconds: the time now; monotonic.
        far_ends: what far ends do, by the last seven digits of their numbers.
        lies: what it does not do as it says.
        lists_until_answered: whether it lists a channel until its far end is down.
        mirrors: whether it mirrors its SIP messages.
        delay: seconds that an event takes.
        stale_for: the age of the list with `Lie.STALE_LIST`, in seconds.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        *,
        far_ends: Mapping[str, Behaviour] | None = None,
        lies: Iterable[Lie] = (),
        lists_until_answered: bool = False,
        mirrors: bool = True,
        delay: float = 0.01,
        stale_for: float = 5.0,
        wall: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__(seconds, lies, mirrors, delay)
        self.commands = 0
        """Commands to place or to end a call that have arrived."""
        self.far_ends = FarEnds(far_ends)
        self.channels: dict[str, Channel] = {}
        self._wall = wall
        self._lists_until_answered = lists_until_answered
        self._stale_for = stale_for
        self._ending: dict[str, Channel] = {}
        """Channels whose BYE is on the way and that are not listed any more."""
        self._old: list[tuple[float, ChannelView]] = []
        """When a channel ended, and how it was; for stale lists."""
        self._half_ended: set[str] = set()
        """The other channels of bridges of which only one got its BYE."""
        self._serials = count(1)
        self._started = int(wall()) or self.boot
        """Makes ids unique over restarts of the process, as the time does in those of Asterisk."""

    # -- the verbs

    def list(self) -> list[ChannelView]:
        self._check_connected()
        if Lie.STALE_LIST not in self.lies:
            return [channel.view() for channel in self.channels.values()]
        since = self._seconds() - self._stale_for
        self._old = [(ended, view) for ended, view in self._old if ended > since]
        stale = [view for _, view in self._old]
        fresh = [channel for channel in self.channels.values() if channel.created <= since]
        return stale + [channel.view() for channel in fresh]

    def get(self, channel: str) -> ChannelView | None:
        self._check_connected()
        found = self.channels.get(channel)
        return None if found is None else found.view()

    def hang_up(self, channel: str, q850: int) -> Reply:
        self._check_connected()
        self.commands += 1
        found = self.channels.get(channel)
        if found is None:
            return Reply.NO_SUCH_CHANNEL
        if Lie.RINGING_IGNORED in self.lies and found.state is ChannelState.RINGING:
            return Reply.OK
        if channel in self._half_ended:
            self._half_ended.discard(channel)
            return Reply.OK
        self._obey(found, q850)
        return Reply.OK

    def cancel(self, channel: str, q850: int) -> Reply:
        self._check_connected()
        self.commands += 1
        found = self.channels.get(channel)
        if found is None:
            return Reply.NO_SUCH_CHANNEL
        if found.state in (ChannelState.DIALLING, ChannelState.RINGING):
            self._obey(found, q850)
        return Reply.OK

    def originate(self, channel: str, number: str) -> ChannelView:
        self._check_connected()
        self.commands += 1
        if channel in self.channels or channel in self._ending:
            raise ChannelInUse(f"the PBX has a channel {channel!r} already")
        return self._begin(number, Direction.OUTBOUND, channel).view()

    def _obey(self, channel: Channel, q850: int) -> None:
        if Lie.OK_AND_NOTHING_DONE not in self.lies:
            self.end(channel.id, q850)

    # -- what the PBX and its far ends do by themselves

    def new_call(self, number: str, *, labels: tuple[str, ...] = (), owner: str = "") -> str:
        """Begin a call of the PBX's own that is answered; return its channel."""
        channel = self._appear(number, ChannelState.UP, labels, owner)
        self._hang_up_later(channel)
        return channel.id

    def ring(self, number: str, *, labels: tuple[str, ...] = (), owner: str = "") -> str:
        """Begin a call of the PBX's own that rings until `answer`; return its channel."""
        return self._appear(number, ChannelState.RINGING, labels, owner).id

    def answer(self, channel: str) -> None:
        """Let a ringing channel be answered."""
        found = self.channels[channel]
        if found.state in (ChannelState.DIALLING, ChannelState.RINGING):
            self._change(found, state=ChannelState.UP)
            self._hang_up_later(found)

    def bridge(self, channel: str, other: str) -> None:
        """Join two channels."""
        for joined, partner in ((channel, other), (other, channel)):
            self._change(self.channels[joined], partner=partner)

    def unbridge(self, channel: str, other: str) -> None:
        """Part two channels; both stay."""
        for parted in (channel, other):
            self._change(self.channels[parted], partner=None)

    def rename(self, channel: str, name: str) -> None:
        """Give a channel another name; its id stays."""
        self._change(self.channels[channel], name=name)

    def label(self, channel: str, *labels: str) -> None:
        """Give a channel these labels."""
        self._change(self.channels[channel], labels=labels)

    def transfer_blind(self, channel: str, number: str) -> str:
        """Transfer the partner of a channel to a number; return the new channel."""
        stays = self._part(channel)
        target = self.new_call(number)
        self.bridge(stays, target)
        self.end(channel)
        return target

    def transfer_attended(self, channel: str, other: str) -> None:
        """Join the partners of two channels of one party, and end the two."""
        first, second = self._part(channel), self._part(other)
        self.bridge(first, second)
        self.end(channel)
        self.end(other)

    def masquerade(self, channel: str, other: str) -> None:
        """
        Let a channel take over the far end of another, which ends with the first's far end.

        Raises:
            ValueError: one of the channels is ending.
        """
        kept, given = self.channels[channel], self.channels[other]
        if ChannelState.ENDING in (kept.state, given.state):
            raise ValueError(f"of the channels {channel} and {other} one is ending")
        self.far_ends.swap(channel, other)
        name, call_id, number = kept.name, kept.call_id, kept.number
        self._change(kept, name=given.name, call_id=given.call_id, number=given.number)
        self._change(given, name=f"{name}<ZOMBIE>", call_id=call_id, number=number)
        self.end(other)

    def far_end_hangs_up(self, channel: str, q850: int = NORMAL_CLEARING) -> None:
        """Let the far end of a channel send a BYE, or cancel the call that it began."""
        far_end = self.far_ends.on(channel)
        if far_end is None:
            return
        self.far_ends.leave(far_end, "hung up", self._seconds())
        self._mirror(Mirrored(call_id=far_end.call_id, status=None))
        found = self._take(channel) or self._ending.pop(channel, None)
        if found is not None:
            found.q850 = q850
            self._end_partner_of(found)
            self._tell_end(found, by_far_end=True)

    def lose(self, channel: str) -> None:
        """End a channel and its far end, without an event."""
        far_end = self.far_ends.on(channel)
        self._take(channel)
        if far_end is not None:
            self.far_ends.leave(far_end, "was lost", self._seconds())

    def end(self, channel: str, q850: int = NORMAL_CLEARING) -> None:
        """Send the BYE or CANCEL of a channel, and that of its partner."""
        found = self.channels.get(channel)
        if found is None or found.state is ChannelState.ENDING:
            return
        found.q850 = q850
        self._send_bye(found)
        self._end_partner_of(found)

    def restart(self) -> None:
        """Restart the PBX: it forgets all channels, sends no BYE, and its connection breaks."""
        self.boot += 1
        self._started = int(self._wall()) or self.boot
        self.channels.clear()
        self._ending.clear()
        self._old.clear()
        self._half_ended.clear()
        self.break_connection(reachable=self.is_reachable)

    def holds(self, channel: str) -> bool:
        """Return whether the far end of a channel is in its call: the truth."""
        return self.far_ends.on(channel) is not None

    # -- how a channel begins

    def _appear(
        self, number: str, state: ChannelState, labels: tuple[str, ...], owner: str
    ) -> Channel:
        channel = self._add(number, Direction.INBOUND, None, state, labels, owner)
        self._tell(Event(kind=EventKind.NEW, channel=channel.view()))
        return channel

    def _begin(self, number: str, direction: Direction, channel_id: str) -> Channel:
        behaviour = self.far_ends.behaviour_of(number)
        channel = self._add(number, direction, channel_id, ChannelState.DIALLING, (), "")
        self._tell(Event(kind=EventKind.NEW, channel=channel.view()))
        rejects = behaviour.reject_with
        if rejects is None and not any(map(str.isdecimal, number)):
            rejects = 484  # address incomplete
        if rejects is not None:
            status = rejects
            self._later(behaviour.answer_after or 0.0, lambda: self._reject(channel, status))
            return channel
        if behaviour.ring_after is not None:
            self._later(behaviour.ring_after, lambda: self._far_end_rings(channel))
        if behaviour.answer_after is not None:
            self._later(behaviour.answer_after, lambda: self._far_end_answers(channel))
        return channel

    def _add(
        self,
        number: str,
        direction: Direction,
        chosen_id: str | None,
        state: ChannelState,
        labels: tuple[str, ...],
        owner: str,
    ) -> Channel:
        serial = next(self._serials)
        now = self._seconds()
        channel_id = chosen_id or f"{self._started}.{serial}"
        channel = self.channels[channel_id] = Channel(
            id=channel_id,
            name=f"SIM/far-{serial:08}",
            call_id=f"{self._started}-{serial}@pbx.sim",
            number=number,
            state=state,
            direction=direction,
            labels=labels,
            owner=owner,
            began_at=self._wall(),
            created=now,
        )
        behaviour = self.far_ends.behaviour_of(number)
        self.far_ends.join(channel_id, FarEnd(channel.call_id, number, behaviour), now)
        return channel

    def _far_end_rings(self, channel: Channel) -> None:
        if self._is_live(channel) and channel.state is ChannelState.DIALLING:
            self._change(channel, state=ChannelState.RINGING)

    def _far_end_answers(self, channel: Channel) -> None:
        if self._is_live(channel):
            self.answer(channel.id)

    def _hang_up_later(self, channel: Channel) -> None:
        after = self.far_ends.behaviour_of(channel.number).hang_up_after
        far_end = self.far_ends.on(channel.id)
        if after is not None and far_end is not None:
            self._later(after, lambda: self._hang_up_by_itself(far_end))

    def _hang_up_by_itself(self, far_end: FarEnd) -> None:
        if far_end.holds:
            self.far_end_hangs_up(far_end.channel)

    def _reject(self, channel: Channel, status: int) -> None:
        far_end = self.far_ends.on(channel.id)
        if far_end is None or not self._is_live(channel):
            return
        self._answer_final(channel, far_end, status, rejects=True)

    def _is_live(self, channel: Channel) -> bool:
        return self.channels.get(channel.id) is channel

    def _change(self, channel: Channel, **fields: object) -> None:
        for name, value in fields.items():
            setattr(channel, name, value)
        self._tell(Event(kind=EventKind.CHANGED, channel=channel.view()))

    # -- how a channel ends

    def _part(self, channel: str) -> str:
        """Take a channel out of its bridge; return the one that stays."""
        stays = self.channels[channel].partner
        if stays is None:
            raise ValueError(f"channel {channel} is in no bridge")
        self._change(self.channels[channel], partner=None)
        return stays

    def _end_partner_of(self, channel: Channel) -> None:
        partner = self.channels.get(channel.partner or "")
        if partner is None or partner.partner != channel.id:
            return
        if partner.state is ChannelState.ENDING:
            return
        if Lie.ONE_SIDED_BYE in self.lies:
            self._half_ended.add(partner.id)
            self._change(partner, partner=None)
            return
        partner.q850 = channel.q850
        self._send_bye(partner)

    def _send_bye(self, channel: Channel) -> None:
        is_answered = channel.state is ChannelState.UP
        if self._lists_until_answered:
            channel.state = ChannelState.ENDING
        else:
            self._take(channel.id)
            self._ending[channel.id] = channel
        if Lie.END_EVENT_BEFORE_ANSWER in self.lies:
            self._tell_end(channel)
        far_end = self.far_ends.on(channel.id)
        if far_end is None:
            self._finish(channel)
            return
        behaviour = far_end.behaviour
        if behaviour.bye is ByeAnswer.SILENT:
            self._later(BYE_TIMEOUT, lambda: self._time_out(channel))
            return
        status = 481 if behaviour.bye is ByeAnswer.NO_DIALOG else 200 if is_answered else 487
        self._later(
            behaviour.bye_after, lambda: self._answer_final(channel, far_end, status)
        )

    def _answer_final(
        self, channel: Channel, far_end: FarEnd, status: int, *, rejects: bool = False
    ) -> None:
        """Let a far end send the final response after which it is down."""
        if not far_end.holds:
            return
        self.far_ends.leave(far_end, f"answered {status}", self._seconds())
        self._mirror(Mirrored(call_id=far_end.call_id, status=status, rejects=rejects))
        if rejects:
            channel.q850 = Q850_OF_STATUS.get(status, TEMPORARY_FAILURE)
        self._finish(channel)

    def _time_out(self, channel: Channel) -> None:
        channel.q850 = RECOVERY_ON_TIMER_EXPIRY
        if self._lists_until_answered:
            return  # it lists the channel as long as the far end has not answered
        self._finish(channel)

    def _finish(self, channel: Channel) -> None:
        """Forget a channel, and report its end unless that was done."""
        is_known = self._take(channel.id) is not None
        is_known |= self._ending.pop(channel.id, None) is channel
        if is_known:
            self._tell_end(channel)

    def _take(self, channel: str) -> Channel | None:
        taken = self.channels.pop(channel, None)
        self._half_ended.discard(channel)
        if taken is not None and Lie.STALE_LIST in self.lies:
            self._old.append((self._seconds(), taken.view()))
        return taken

    # -- what it tells

    def _tell_end(self, channel: Channel, *, by_far_end: bool = False) -> None:
        if Lie.NO_END_EVENT in self.lies or channel.end_told:
            return
        channel.end_told = True
        view = channel.view()
        self._tell(
            Event(kind=EventKind.ENDED, channel=view, q850=channel.q850, by_far_end=by_far_end)
        )
