"""
The referee: observes a run and reports each violation of an invariant.

It judges by what it has observed itself: on the wire, between control and the backend, at the far
end, at the clients and on the virtual disk. It asks neither control nor a SIP session.
"""

from __future__ import annotations

from typing import Final

from umd.backend import Answered, Ended, Gone, LegEvent, Progressed
from umd.backends.sim.section import Behaviour
from umd.backends.sim.simulation import UMD_HOP
from umd.call.call import Call
from umd.call.cause import EndedBy
from umd.call.events import Disconnected, DisconnectRequested, LifecycleEvent, Lost
from umd.control.control import Control
from umd.control.errors import JournalUnavailable, NoSuchCall
from umd.control.outcome import Outcome
from umd.lab.case import Asked, Case
from umd.lab.durability import Durability
from umd.lab.rules import Rule, Violation
from umd.lab.wire_rules import MOMENT, WireRules
from umd.sip.endpoint import Endpoint
from umd.sip.session import Session, State

DOWN: Final = (State.REJECTING, State.CLEARING, State.ENDED)
"""Where a far end's session is when its party has hung up, declined or heard of the end."""


class Referee:
    """
    Judges one run.

    Args:
        deadline: How long a Disconnect may wait, in seconds.
        timeout: 64*T1, in seconds.
        umd_host: The host of umd's own SIP address.
        journalled: Whether umd keeps a journal, so that records must be durable first.
    """

    def __init__(
        self,
        deadline: float,
        timeout: float = 32.0,
        umd_host: str = UMD_HOP.host,
        journalled: bool = False,
    ) -> None:
        self.cases: dict[str, Case] = {}
        """By SIP Call-ID, which is the name of the leg."""
        self.violations: list[Violation] = []
        self.requests: list[Asked] = []
        """The Disconnects that were not answered yet."""
        self.durability = Durability(self, self.cases) if journalled else None
        self.wire = WireRules(self, self.cases, umd_host, timeout, self.durability)
        self._deadline = deadline

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
        end, first = case.end, case.first_asked
        if first is None:  # the request was undone by a crash, or refused
            first = asked.at
        if end is None and outcome is not Outcome.ENDED_UNCONFIRMED:
            said = f"{who} was told {outcome} before the call's end was on record"
            self.wrong(Rule.ANSWERED_ONCE, said, now, case)
        if asked.had_ended not in (None, outcome is Outcome.ALREADY_ENDED):
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
        latest = max(first + self._deadline, asked.at)
        if case.crashed or (self.durability is not None and self.durability.trouble_seen):
            # Since the first request the deadline has begun anew, when that was on record.
            latest = asked.at + self._deadline
        if now > latest + MOMENT:
            self.wrong(Rule.ANSWERED_ONCE, f"{who} was answered after the deadline", now, case)
        if self.durability is not None:
            self.durability.answered(case, who, outcome, now)

    def refused(self, asked: Asked, error: BaseException, now: float) -> None:
        """A Disconnect was answered by an error; only trouble with the journal justifies one."""
        case = asked.case
        asked.answers += 1
        if asked in self.requests:
            self.requests.remove(asked)
        if isinstance(error, NoSuchCall) and case.forgotten:
            return
        if isinstance(error, JournalUnavailable) and self.durability is not None:
            if not case.has(DisconnectRequested):
                case.first_asked = None  # nothing was done
            if now > asked.at + self._deadline + MOMENT:
                said = f"{asked.client} was answered after the deadline"
                self.wrong(Rule.ANSWERED_ONCE, said, now, case)
            if self.durability.in_trouble():
                return
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
        if case.end is not None:
            self.wrong(Rule.ONE_END, f"{type(event).__name__} after the end event", now, case)
        case.events.append(event)
        if event.seq != len(case.events):
            said = f"event {len(case.events)} has the number {event.seq}"
            self.wrong(Rule.ONE_END, said, now, case)
        if self.durability is None:
            case.durable = case.acted_on = len(case.events)
        if isinstance(event, Lost):
            self.wrong(Rule.RECOVERED, f"the call was lost: {event.reason}", now, case)
        if not isinstance(event, Disconnected):
            return
        if not case.ends:
            if case.invited:
                self.wrong(Rule.ONE_END, "Disconnected without an Ended of its leg", now, case)
            case.ends, case.confirmed = 1, event.confirmed
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
        status = (event.superseded or event.cause).sip_status
        if first is EndedBy.FAR_END:
            right = status == case.failed
        elif case.bye_final is not None or case.failed is not None:
            right = status == (case.bye_final or case.failed)
        elif event.confirmed and case.crashed and case.cancel_failed is not None:
            right = status == case.cancel_failed  # the far end never had the INVITE
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

    # -- crash and restart

    def crash(self, now: float) -> None:
        """umd is killed: its clients get no answer, and what is not durable is forgotten."""
        for asked in self.requests:
            asked.left = True
        self.requests.clear()
        self.wire.crash()
        assert self.durability is not None
        self.durability.crash(now)

    # -- between the steps, and at the end

    def step_done(self, now: float) -> None:
        """A step is done: what has to follow at once has followed, or never will."""
        self.wire.step_done(now)

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
        self.wire.at_rest(now)
        if self.durability is not None:
            self.durability.at_rest(now)
        for case in self.cases.values():
            self._see_both_ends(case, now, connected)

    def _see_both_ends(self, case: Case, now: float, connected: bool) -> None:
        up = [session.state.value for session in case.far if session.state not in DOWN]
        if case.end is not None and case.confirmed and up:
            said = f"the end was confirmed, and the far end is {', '.join(up)}"
            self.wrong(Rule.TRUTHFUL, said, now, case)
        elif case.forgotten:
            if up:
                self.wrong(Rule.RECOVERED, "the far end has a call that umd forgot", now, case)
        elif connected and (case.end is None) != bool(up):
            here = "live" if case.end is None else "ended"
            said = f"the call is {here} here, and the far end is {', '.join(up) or 'down'}"
            self.wrong(Rule.HEARD, said, now, case)

    def all_over(
        self,
        control: Control,
        ends: dict[str, Endpoint],
        legs: int,
        illegal_events: int,
        now: float,
    ) -> None:
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
        if illegal_events:
            self.wrong(Rule.LEGAL, f"control was told {illegal_events} illegal events", now)
        for case in self.cases.values():
            if not case.forgotten and (case.ends != 1 or case.end is None):
                self.wrong(Rule.ONE_END, f"its leg ended {case.ends} times", now, case)
