"""The simulated far ends: they answer, reject and end calls as their behaviour says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from umd.backends.sim.directory import Directory
from umd.backends.sim.section import Behaviour
from umd.call.call import CallState
from umd.sip import build
from umd.sip import session as sip
from umd.sip.dialog import Dialog
from umd.sip.endpoint import Endpoint
from umd.sip.fields import FieldError, Uri
from umd.sip.framing import read_datagram
from umd.sip.message import Message, Request
from umd.sip.session import CalleeSession, Session, State
from umd.sip.timing import Timing
from umd.sip.transaction import Hop, Send, response_hop
from umd.timers import Timer, Timers

SHORTEST_DELAY: Final = 0.001  # seconds


class _Party:
    """The far end of one call."""

    __slots__ = ("behaviour", "timer")

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.timer: Timer[Callable[[float], None]] | None = None
        """The next thing that it does by itself."""


class FarEnds:
    """
    All far ends, on one SIP endpoint, which is one end of the network.

    Args:
        hop: the address of the endpoint.
        new_id: returns a new tag or branch.
        random: for `answer_spread`.
        directory: the far end of each number.
        description: the session description of every answer.
        timing: T1, T2 and T4.
    """

    def __init__(
        self,
        hop: Hop,
        new_id: Callable[[], str],
        random: Random,
        directory: Directory,
        description: bytes = b"",
        timing: Timing | None = None,
    ) -> None:
        self.endpoint = Endpoint(hop.host, hop.port, new_id, timing=timing)
        self.put_into: CallState | None = None
        """If set, every new call goes into this state at once, whatever its far end would do."""
        self._new_id = new_id
        self._random = random
        self._directory = directory
        self._description = description
        self._timers: Timers[Callable[[float], None]] = Timers()
        self._cancels: dict[str, Session] = {}
        """Calls whose far end treats a CANCEL specially, by Call-ID."""
        self._byes: dict[str, tuple[Session, Behaviour]] = {}
        """Calls whose far end treats a BYE specially, by Call-ID."""

    # -- an end of the network

    def receive_message(self, message: Message, source: Hop, now: float) -> None:
        if isinstance(message, Request) and not self._takes(message, source, now):
            return
        self.endpoint.receive_message(message, source, now)
        self._react(now)

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        message = read_datagram(data)
        if message is None:
            return
        if isinstance(message, Request) and not self._takes(message, source, now):
            return
        self.endpoint.receive_parsed(message, source, now)
        self._react(now)

    def messages_to_send(self) -> list[Send]:
        return self.endpoint.messages_to_send()

    def send_failed(self, message: Message, now: float) -> None:
        self.endpoint.send_failed(message, now)
        self._react(now)

    def next_due(self) -> float | None:
        due, endpoint_due = self._timers.next_due(), self.endpoint.next_due()
        if due is None or (endpoint_due is not None and endpoint_due < due):
            return endpoint_due
        return due

    def handle_timer(self, now: float) -> None:
        while (act := self._timers.pop_due(now)) is not None:
            act(now)
        self.endpoint.handle_timer(now)
        self._react(now)

    def release(self, session: Session) -> None:
        """Cancel what the far end of this call would do next by itself. The race lab drives it."""
        if isinstance(session.user, _Party) and session.user.timer is not None:
            session.user.timer.cancel()

    def restore(self, dialog: Dialog, number: str) -> Session:
        """Restore a call that a far end answered before a restart."""
        behaviour = self._directory.find(number)
        session = self.endpoint.restore(dialog, body=self._description)
        if behaviour.bye == "answers" and behaviour.hang_up_after is None:
            return session
        session.user = _Party(behaviour)
        if behaviour.bye != "answers":
            self._byes[session.call_id] = (session, behaviour)
        return session

    def hang_up_later(self, session: Session, age: float, now: float) -> None:
        """Let a restored far end hang up by itself. Its call was placed `age` seconds ago."""
        after = self._behaviour(session).hang_up_after
        if after is not None:
            self._later(session, max(after - age, SHORTEST_DELAY), _hang_up, now)

    # -- behaviour

    def _react(self, now: float) -> None:
        while (item := self.endpoint.next_event()) is not None:
            session, event = item
            match event:
                case sip.Incoming():
                    self._begin(session, now)
                case sip.Answered():
                    self._talk(session, now)
                case sip.Ended() | sip.Gone():
                    self._forget(session)
                case sip.Progressed() | sip.Probed():
                    pass

    def _begin(self, session: Session, now: float) -> None:
        assert session.request is not None
        behaviour = self._directory.find(_user_of(session.request.uri))
        session.user = _Party(behaviour)
        if behaviour.cancel != "obeys" or behaviour.forks > 1:
            self._cancels[session.call_id] = session
        if behaviour.bye != "answers":
            self._byes[session.call_id] = (session, behaviour)
        if self.put_into is CallState.CONNECTED:
            self._answer(session, now)
        elif self.put_into is CallState.ALERTING:
            self._ring(session, now)
        elif behaviour.ring_after is not None:
            self._later(session, behaviour.ring_after, self._ring, now)
        else:
            self._decide(session, now)

    def _ring(self, session: Session, now: float) -> None:
        behaviour = self._behaviour(session)
        session.progress(180, now)
        request = session.request
        for _ in range(behaviour.forks - 1):
            assert request is not None and session.invite is not None
            tag = self._new_id()
            ringing = build.response(request, 180, to_tag=tag, contact=self.endpoint.contact)
            self.endpoint.respond(session.invite, ringing, now)
        self._decide(session, now)

    def _decide(self, session: Session, now: float) -> None:
        """Answer or reject when it is time; or wait for the caller to give up."""
        behaviour = self._behaviour(session)
        after = behaviour.answer_after
        if behaviour.reject_with is not None:
            self._later(session, after or 0.0, self._reject, now)
        elif after is not None:
            after += self._random.random() * (behaviour.answer_spread or 0.0)
            self._later(session, after, self._answer, now)

    def _answer(self, session: Session, now: float) -> None:
        session.answer(now, body=self._description)

    def _reject(self, session: Session, now: float) -> None:
        behaviour = self._behaviour(session)
        assert behaviour.reject_with is not None
        contact = behaviour.redirect_to
        headers = () if contact is None else (("Contact", contact),)
        session.reject(behaviour.reject_with, now, headers=headers)

    def _talk(self, session: Session, now: float) -> None:
        behaviour = self._behaviour(session)
        self._cancels.pop(session.call_id, None)
        if behaviour.hang_up_after is not None:
            self._later(session, behaviour.hang_up_after, _hang_up, now)
        elif session.call_id not in self._byes:
            session.user = None  # it does nothing more by itself

    def _forget(self, session: Session) -> None:
        self._cancels.pop(session.call_id, None)
        self._byes.pop(session.call_id, None)
        self.release(session)
        session.user = None

    # -- far ends with a special CANCEL or BYE

    def _takes(self, request: Request, source: Hop, now: float) -> bool:
        """Carry out special behaviour; return whether the endpoint still gets the request."""
        if request.method == "CANCEL" and self._cancels:
            session = self._cancels.pop(request.call_id, None)
            if session is not None and session.state is State.OFFERED:
                return self._takes_cancel(session, request, source, now)
        elif request.method == "BYE" and self._byes:
            entry = self._byes.get(request.call_id)
            if entry is not None:
                return self._takes_bye(*entry, request, source, now)
        return True

    def _takes_cancel(self, session: Session, request: Request, source: Hop, now: float) -> bool:
        if self._behaviour(session).cancel != "obeys":
            self.release(session)
            self._answer(session, now)
            return True
        # Several phones ring: the forking proxy answers the CANCEL with its own To tag.
        answer = build.response(request, 200, to_tag=self._new_id())
        self.endpoint.send(answer, response_hop(request, source))
        assert isinstance(session, CalleeSession)
        session.on_cancel(request, now)
        return False

    def _takes_bye(
        self, session: Session, behaviour: Behaviour, request: Request, source: Hop, now: float
    ) -> bool:
        match behaviour.bye:
            case "answers":
                return True
            case "crosses":
                del self._byes[request.call_id]
                session.hang_up(now)
                return True
            case "silent":
                self._leave(session, now)
                return False
            case status:
                self._leave(session, now)
                refusal = build.response(request, int(status))
                self.endpoint.send(refusal, response_hop(request, source))
                return False

    def _leave(self, session: Session, now: float) -> None:
        """Leave without a BYE. Further BYEs are treated the same way until they have timed out."""
        if session.state is not State.ENDED:
            session.abandon()
            self.release(session)
            timeout = self.endpoint.timing.timeout
            self._timers.start(2 * timeout, partial(self._forget_bye, session.call_id), now)

    def _forget_bye(self, call_id: str, now: float) -> None:
        self._byes.pop(call_id, None)

    # -- steps

    def _behaviour(self, session: Session) -> Behaviour:
        assert isinstance(session.user, _Party)
        return session.user.behaviour

    def _later(
        self, session: Session, after: float, act: Callable[[Session, float], None], now: float
    ) -> None:
        if self.put_into is not None:
            # The call must stay in the state that it was put into until the clock advances.
            after = max(after, SHORTEST_DELAY)
        elif after == 0.0:
            act(session, now)
            return
        party = session.user
        assert isinstance(party, _Party)
        party.timer = self._timers.start(after, lambda then: act(session, then), now)


def _hang_up(session: Session, now: float) -> None:
    session.hang_up(now)


def _user_of(uri: str) -> str:
    try:
        return Uri.parse(uri).user or ""
    except FieldError:
        return ""
