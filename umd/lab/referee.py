"""
The referee: sees everything that happens in a world, and knows what must never be.

It judges by what it saw itself on the wire, at the door of the backend, at the far end and at the
clients; it asks neither control nor a session what they think of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final

from umd.backend import Answered, Ended, Gone, LegEvent, Progressed
from umd.backends.sim.network import Flight
from umd.backends.sim.section import Behaviour
from umd.backends.sim.simulation import UMD_HOP
from umd.call.call import Call
from umd.call.cause import EndedBy
from umd.call.events import Disconnected, LifecycleEvent
from umd.control.control import Control
from umd.control.outcome import Outcome
from umd.sip.endpoint import Endpoint
from umd.sip.message import Request, Response
from umd.sip.session import Session, State

MOMENT: Final = 1e-3
"""Seconds by which times may differ that are meant to be the same."""
DOWN: Final = (State.REJECTING, State.CLEARING, State.ENDED)
"""Where a far end's session is when its party has hung up, declined or heard of the end."""
UMD, FAR_SIDE = 0, 1
SIDES: Final = ("umd", "the far end")


class Rule(StrEnum):
    """What must hold in every run."""

    ONE_END = "one end"
    """Each leg and each call ends exactly once, and nothing follows."""
    ANSWERED_ONCE = "answered once"
    """Each Disconnect is answered once: not before the teardown or the deadline, nor after both."""
    TRUTHFUL = "truthful"
    """What is called ended and confirmed is down at the far end."""
    CAUSE = "cause"
    """The cause names whoever was first."""
    HEARD = "heard"
    """Once the far end has said that it is over, the call is over; both ends agree in the end."""
    DEAD_DIALOG = "dead dialog"
    """No request goes into a dialog whose end its sender knows."""
    PROTOCOL = "protocol"
    """CANCEL after a provisional, BYE after the ACK, an ACK for each 2xx."""
    NOTHING_LEFT = "nothing left"
    """In the end there is no call, leg, session, dialog, transaction or timer, at neither end."""
    LEGAL = "legal"
    """Control was told nothing that cannot be."""
    RAISED = "raised"
    """Nothing raises."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule was broken."""

    rule: Rule
    said: str
    at: float
    leg: str = ""
    """Of which call; empty: of none in particular."""


class Asked:
    """One request of a client to end a call."""

    __slots__ = ("client", "case", "at", "had_ended", "answers", "left")

    def __init__(self, client: str, case: Case, at: float) -> None:
        self.client = client
        self.case = case
        self.at = at
        self.had_ended = case.disconnected is not None
        self.answers = 0
        self.left = False


class Case:
    """All that the referee knows of one call."""

    __slots__ = (
        "leg", "behaviour", "placed_at", "call", "far", "ends", "confirmed", "disconnected", "seq",
        "first_asked", "heard", "failed", "seen", "provisional", "final", "acked", "unacked",
        "bye_final", "ack_got", "answered_at", "over", "declined", "cancelled_at", "heard_at",
    )  # fmt: skip

    def __init__(self, leg: str, at: float, behaviour: Behaviour) -> None:
        self.leg = leg
        self.behaviour = behaviour
        self.placed_at = at
        self.call: Call | None = None
        self.far: list[Session] = []
        """Its sessions at the far end; more than one would be a ghost."""
        self.ends = 0
        self.confirmed = False
        self.disconnected: Disconnected | None = None
        self.seq = 0
        self.first_asked: float | None = None
        self.heard: str | None = None
        """What told umd first that the far end has ended it."""
        # The wire, as each side knows it.
        self.seen: set[tuple[str, str]] = set()
        """`(branch, method)` of the requests that were sent: the next one like it is a copy."""
        self.provisional = False
        """The caller has heard a provisional."""
        self.heard_at = inf
        """When the caller first heard anything."""
        self.final = False
        """The caller has heard a final."""
        self.bye_final: int | None = None
        """What answered umd's BYE."""
        self.failed: int | None = None
        """The failure that the caller has heard."""
        self.acked: set[str] = set()
        """The far end's tags whose 2xx the caller has acknowledged."""
        self.unacked: str | None = None
        """The tag of a 2xx that came in this step, until its ACK goes."""
        self.ack_got: set[str] = set()
        """The tags for which the callee has its ACK."""
        self.answered_at: dict[str, float] = {}
        """When the callee sent its first 2xx, by tag."""
        self.over: tuple[set[str], set[str]] = (set(), set())
        """The far end's tags of the dialogs that each side knows to be over."""
        self.declined = False
        """The callee has sent a failure."""
        self.cancelled_at: float | None = None
        """When the caller sent its CANCEL."""


class Referee:
    """
    Judges one world.

    Args:
        deadline: how long a Disconnect may wait, in seconds.
        timeout: 64*T1.
    """

    def __init__(self, deadline: float, timeout: float = 32.0) -> None:
        self.cases: dict[str, Case] = {}
        """By SIP Call-ID, which is the leg's name."""
        self.violations: list[Violation] = []
        self.requests: list[Asked] = []
        """Those that were not answered yet."""
        self._deadline = deadline
        self._timeout = timeout
        self._said_over: list[Case] = []
        """Whose far end has said in this step that it is over."""
        self._to_ack: list[Case] = []

    def wrong(self, rule: Rule, said: str, now: float, case: Case | None = None) -> None:
        """A rule is broken, by one case or by all together."""
        self.violations.append(Violation(rule, said, now, "" if case is None else case.leg))

    def begin(self, leg: str, now: float, behaviour: Behaviour) -> None:
        """A call is about to be placed."""
        self.cases[leg] = Case(leg, now, behaviour)

    def far_session(self, session: Session) -> None:
        """The far end has a session for an INVITE that has arrived."""
        far = self.cases[session.call_id].far
        if session not in far:
            far.append(session)

    # -- control and its clients

    def ask(self, client: str, call: Call, now: float) -> Asked:
        """A client asks for the end of a call."""
        case = self.cases[call.leg]
        if case.first_asked is None:
            case.first_asked = now
        asked = Asked(client, case, now)
        self.requests.append(asked)
        return asked

    def answered(self, asked: Asked, outcome: Outcome, now: float) -> None:
        """It has its answer."""
        case, who = asked.case, asked.client
        asked.answers += 1
        if asked.answers > 1:
            self.wrong(Rule.ANSWERED_ONCE, f"{who} was answered {asked.answers} times", now, case)
            return
        self.requests.remove(asked)
        if asked.left:
            self.wrong(Rule.ANSWERED_ONCE, f"{who} had left and was answered", now, case)
        end, first = case.disconnected, case.first_asked
        assert first is not None
        if end is None and outcome is not Outcome.ENDED_UNCONFIRMED:
            said = f"{who} was told {outcome} before the call's end was on record"
            self.wrong(Rule.ANSWERED_ONCE, said, now, case)
        if asked.had_ended != (outcome is Outcome.ALREADY_ENDED):
            self.wrong(Rule.TRUTHFUL, f"{who} was told {outcome}", now, case)
        match outcome:
            case Outcome.ENDED if not case.confirmed:
                self.wrong(Rule.TRUTHFUL, f"{who} was told ended; nothing confirmed it", now, case)
            case Outcome.ENDED:
                self._see_down(case, f"{who} was told ended", now)
            case Outcome.ENDED_UNCONFIRMED if end is None and now < first + self._deadline - MOMENT:
                self.wrong(Rule.ANSWERED_ONCE, f"{who} was answered before the deadline", now, case)
            case Outcome.ENDED_UNCONFIRMED if case.confirmed:
                self.wrong(Rule.TRUTHFUL, f"{who} was told unconfirmed; it is not so", now, case)
        if now > max(first + self._deadline, asked.at) + MOMENT:
            self.wrong(Rule.ANSWERED_ONCE, f"{who} was answered after the deadline", now, case)

    def refused(self, asked: Asked, error: BaseException, now: float) -> None:
        """It got an error for an answer: there is none that any run deserves."""
        asked.answers += 1
        if asked in self.requests:
            self.requests.remove(asked)
        self.wrong(Rule.ANSWERED_ONCE, f"{asked.client} got {error!r}", now, asked.case)

    def leg_event(self, event: LegEvent, now: float) -> None:
        """The backend reports."""
        case = self.cases[event.leg]
        if case.ends:
            self.wrong(Rule.ONE_END, f"{type(event).__name__} after the leg's Ended", now, case)
        match event:
            case Ended(confirmed=confirmed):
                case.ends += 1
                case.confirmed = confirmed
                if confirmed:
                    self._see_down(case, "the backend said Ended, confirmed", now)
            case Gone():
                self.wrong(Rule.ONE_END, "a leg is gone, and no far end was restarted", now, case)
            case Progressed() | Answered():
                pass

    def lifecycle(self, call: Call, event: LifecycleEvent, now: float) -> None:
        """Control writes a lifecycle event."""
        case = self.cases[call.leg]
        case.call = call
        case.seq += 1
        if event.seq != case.seq:
            self.wrong(Rule.ONE_END, f"event {case.seq} has the number {event.seq}", now, case)
        if case.disconnected is not None:
            self.wrong(Rule.ONE_END, f"{type(event).__name__} after Disconnected", now, case)
        if not isinstance(event, Disconnected):
            return
        case.disconnected = event
        if not case.ends:
            self.wrong(Rule.ONE_END, "Disconnected without an Ended of its leg", now, case)
        if event.confirmed != case.confirmed:
            self.wrong(Rule.TRUTHFUL, f"Disconnected says confirmed={event.confirmed}", now, case)
        self._see_cause(case, event, now)

    def _see_cause(self, case: Case, event: Disconnected, now: float) -> None:
        if case.first_asked is not None:
            first = EndedBy.CLIENT
        elif case.heard is not None:
            first = EndedBy.FAR_END
        else:
            first = EndedBy.DAEMON
        if event.cause.by is not first:
            self.wrong(Rule.CAUSE, f"by {event.cause.by}; it was {first}", now, case)
        status = event.cause.sip_status
        if first is EndedBy.FAR_END:
            right = status == case.failed
        elif case.bye_final is not None or case.failed is not None:
            right = status == (case.bye_final or case.failed)
        elif event.confirmed:
            right = status in (None, 200)  # by the far end's own BYE
        else:
            right = status in (408, 503)  # umd's own words for silence
        if not right:
            heard = case.bye_final or case.failed or case.heard or "nothing"
            self.wrong(Rule.CAUSE, f"status {status}; the far end said {heard}", now, case)

    def _see_down(self, case: Case, what: str, now: float) -> None:
        for session in case.far:
            if session.state not in DOWN:
                self.wrong(Rule.TRUTHFUL, f"{what}; the far end is {session.state}", now, case)

    # -- the wire

    def sent(self, flight: Flight, now: float) -> None:
        """A message leaves."""
        message = flight.message
        case = self.cases.get(message.call_id)
        if case is None:
            return
        side = UMD if flight.source.host == UMD_HOP.host else FAR_SIDE
        if isinstance(message, Request):
            branch = message.via.branch or ""
            if (branch, message.method) not in case.seen:
                case.seen.add((branch, message.method))
                self._see_request(case, side, message, now)
            elif message.method == "ACK":
                case.unacked = None
        elif side == FAR_SIDE and message.cseq.method == "INVITE":
            assert isinstance(message, Response)
            if message.status >= 300:
                case.declined = True
            elif message.status >= 200:
                case.answered_at.setdefault(message.to_tag or "", now)

    def _see_request(self, case: Case, side: int, request: Request, now: float) -> None:
        """A new request, not a repetition."""
        tag = (request.to_tag if side == UMD else request.from_tag) or ""
        match request.method:
            case "INVITE" if not request.to_tag:
                pass
            case "CANCEL":
                if not case.provisional:
                    self.wrong(Rule.PROTOCOL, "CANCEL before any provisional response", now, case)
                if case.final:
                    self.wrong(Rule.PROTOCOL, "CANCEL after the final response", now, case)
                case.cancelled_at = now
            case "ACK":
                case.unacked = None
                if case.failed is None or tag in case.answered_at:
                    case.acked.add(tag)
            case method:
                self._see_dialog(case, side, tag, method, now)

    def _see_dialog(self, case: Case, side: int, tag: str, method: str, now: float) -> None:
        who = f"{SIDES[side]} sent {method}"
        if tag in case.over[side] and not self._crosses(case, side):
            self.wrong(Rule.DEAD_DIALOG, f"{who} into a dialog that it knew to be over", now, case)
        if side == UMD:
            if tag not in case.acked:
                self.wrong(Rule.PROTOCOL, f"{who} before its ACK", now, case)
            return
        if case.declined:
            self.wrong(Rule.DEAD_DIALOG, f"{who} after its own failure response", now, case)
        if tag not in case.ack_got:
            answered_at = case.answered_at.get(tag)
            if answered_at is None:
                self.wrong(Rule.PROTOCOL, f"{who} before it answered", now, case)
            elif now < answered_at + self._timeout - MOMENT:
                self.wrong(Rule.PROTOCOL, f"{who} before it had the ACK", now, case)

    def _crosses(self, case: Case, side: int) -> bool:
        """That kind of far end pretends to have hung up just before our BYE came."""
        return side == FAR_SIDE and case.behaviour.bye == "crosses"

    def landed(self, flight: Flight, now: float) -> None:
        """A message arrives."""
        message = flight.message
        case = self.cases.get(message.call_id)
        if case is None:
            return
        side = UMD if flight.target.host == UMD_HOP.host else FAR_SIDE
        if isinstance(message, Request):
            self._request_landed(case, side, message)
            return
        assert isinstance(message, Response)
        method, status = message.cseq.method, message.status
        if method == "BYE" and status >= 200:
            if side == UMD and case.bye_final is None:
                case.bye_final = status
            tag = message.to_tag if side == UMD else message.from_tag
            case.over[side].add(tag or "")
        elif method == "INVITE" and side == UMD:
            self._invite_answered(case, message, now)

    def _request_landed(self, case: Case, side: int, request: Request) -> None:
        if request.method == "BYE":
            if side == UMD:
                tag = request.from_tag or ""
                # Without a response from it umd has no dialog, and says 481.
                if case.provisional or case.final:
                    self._over(case, "BYE")
            else:
                tag = request.to_tag or ""
            case.over[side].add(tag)
        elif request.method == "ACK" and side == FAR_SIDE:
            case.ack_got.add(request.to_tag or "")

    def _invite_answered(self, case: Case, response: Response, now: float) -> None:
        case.heard_at = min(case.heard_at, now)
        if response.status < 200:
            case.provisional = True
            return
        case.final = True
        if response.status < 300:
            if not self._given_up(case, now):
                case.unacked = response.to_tag or ""
                self._to_ack.append(case)
        else:
            if case.failed is None:
                case.failed = response.status
            # Where several phones rang, the final of one does not always show that all are down.
            self._over(case, str(response.status), at_once=case.behaviour.forks == 1)

    def _given_up(self, case: Case, now: float) -> bool:
        """
        Whether the INVITE's transaction is gone: 64*T1 without a response, or after its CANCEL.

        What comes then is nobody's (RFC 3261 sections 17.1.1.2 and 9.1); the callee will give up
        waiting for its ACK.
        """
        since = case.cancelled_at
        if since is None and case.heard_at > case.placed_at + self._timeout - MOMENT:
            since = case.placed_at
        return since is not None and now > since + self._timeout - MOMENT

    def _over(self, case: Case, what: str, *, at_once: bool = True) -> None:
        if case.heard is None and case.disconnected is None:
            case.heard = what
        if at_once:
            self._said_over.append(case)

    # -- between the steps, and at the end

    def step_done(self, now: float) -> None:
        """A step is done: what has to follow at once has followed, or never will."""
        if self._to_ack:
            for case in self._to_ack:
                if case.unacked is not None:
                    self.wrong(Rule.PROTOCOL, "a 2xx to INVITE got no ACK", now, case)
                    case.unacked = None
            self._to_ack.clear()
        if self._said_over:
            for case in self._said_over:
                if case.disconnected is None:
                    said = f"the far end said {case.heard}, and the call goes on"
                    self.wrong(Rule.HEARD, said, now, case)
            self._said_over.clear()

    def at_rest(self, now: float, connected: bool) -> None:
        """
        Nothing is under way any more; calls may be live.

        Args:
            connected: whether messages get through at all, now and then.
        """
        for asked in self.requests:
            if not asked.left:
                said = f"{asked.client} was never answered"
                self.wrong(Rule.ANSWERED_ONCE, said, now, asked.case)
        self.requests.clear()
        for case in self.cases.values():
            self._see_both_ends(case, now, connected)

    def _see_both_ends(self, case: Case, now: float, connected: bool) -> None:
        up = [session.state.value for session in case.far if session.state not in DOWN]
        if case.disconnected is not None and case.confirmed and up:
            said = f"the end was confirmed, and the far end is {', '.join(up)}"
            self.wrong(Rule.TRUTHFUL, said, now, case)
        elif connected and (case.disconnected is None) != bool(up):
            here = "live" if case.disconnected is None else "ended"
            said = f"the call is {here} here, and the far end is {', '.join(up) or 'down'}"
            self.wrong(Rule.HEARD, said, now, case)

    def all_over(self, control: Control, ends: dict[str, Endpoint], legs: int, now: float) -> None:
        """Everything was ended and has come to rest: nothing may be left."""
        left = [f"{len(list(control.live_calls()))} calls", f"{legs} legs"]
        for name, end in ends.items():
            sessions = len(list(end.sessions()))
            counts = {
                "transactions": len(end.transactions),
                "dialogs": end.dialogs,
                "sessions": sessions,
                "timers": int(end.next_due() is not None),
            }
            left += [f"{number} {what} at {name}" for what, number in counts.items()]
        for words in left:
            if not words.startswith("0 "):
                self.wrong(Rule.NOTHING_LEFT, f"{words} left", now)
        illegal = control.counts().refused_events
        if illegal:
            self.wrong(Rule.LEGAL, f"control was told {illegal} illegal events", now)
        for case in self.cases.values():
            if case.ends != 1 or case.disconnected is None:
                self.wrong(Rule.ONE_END, f"its leg ended {case.ends} times", now, case)
