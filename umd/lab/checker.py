"""
The checker: observes a run and reports each violation of an invariant.

It judges by what it has observed itself: on the wire, between control and the backend, at the far
end, at the clients and on the virtual disk. It asks neither control nor a SIP session.
"""

from __future__ import annotations

from typing import Final

from umd.backend import Answered, Changed, Ended, Gone, LegEvent, Progressed
from umd.backends.sim.section import Behaviour
from umd.backends.sim.simulation import UMD_HOP
from umd.call.call import Call
from umd.call.cause import EndedBy
from umd.call.events import Disconnected, DisconnectRequested, LifecycleEvent, Lost
from umd.control.control import Control
from umd.control.errors import JournalUnavailable, NoSuchCall
from umd.control.outcome import Outcome
from umd.lab.journal_rules import JournalRules
from umd.lab.observed import ObservedCall, ObservedRequest
from umd.lab.rules import Rule, Violation
from umd.lab.wire_rules import TIME_TOLERANCE, WireRules
from umd.sip.endpoint import Endpoint
from umd.sip.session import Session, State

DOWN: Final = (State.REJECTING, State.CLEARING, State.ENDED)
"""The states of a far end's session in which the call is down there."""


class InvariantChecker:
    """
    Observes one run, and keeps each violation of an invariant.

    Args:
        deadline: Seconds that a Disconnect may wait for its answer.
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
        self.calls: dict[str, ObservedCall] = {}
        """By SIP Call-ID, which is the name of the leg."""
        self.violations: list[Violation] = []
        self.requests: list[ObservedRequest] = []
        """The Disconnects that wait for their answer."""
        self.journal = JournalRules(self, self.calls) if journalled else None
        self.wire = WireRules(self, self.calls, umd_host, timeout, self.journal)
        self._deadline = deadline

    def report(self, rule: Rule, text: str, now: float, call: ObservedCall | None = None) -> None:
        """Keep a violation, by one call or by none in particular."""
        self.violations.append(Violation(rule, text, now, "" if call is None else call.leg))

    def begin(self, leg: str, now: float, behaviour: Behaviour) -> None:
        """Observe a call that is about to be placed."""
        self.calls[leg] = ObservedCall(leg, behaviour, now)

    def far_session(self, session: Session) -> None:
        """Observe the far end's session for an INVITE that has arrived."""
        sessions = self.calls[session.call_id].sessions
        if session not in sessions:
            sessions.append(session)

    # -- control and its clients

    def ask(self, client: str, leg: str, now: float) -> ObservedRequest:
        """Observe that a client asks for the end of a call."""
        call = self.calls[leg]
        if call.first_asked is None:
            call.first_asked = now
        request = ObservedRequest(client, call, now, call.had_ended)
        self.requests.append(request)
        return request

    def answered(self, request: ObservedRequest, outcome: Outcome, now: float) -> None:
        """Check the answer to a Disconnect."""
        call, client = request.call, request.client
        request.answers += 1
        if request.answers > 1:
            text = f"{client} was answered {request.answers} times"
            self.report(Rule.ANSWERED_ONCE, text, now, call)
            return
        self.requests.remove(request)
        if request.gone:
            self.report(Rule.ANSWERED_ONCE, f"{client} was answered after it had left", now, call)
        end, first = call.end, call.first_asked
        if first is None:  # the request was undone by a crash, or refused
            first = request.at
        if end is None and outcome is not Outcome.ENDED_UNCONFIRMED:
            text = f"{client} was told {outcome} before the call's end was on record"
            self.report(Rule.ANSWERED_ONCE, text, now, call)
        if request.had_ended not in (None, outcome is Outcome.ALREADY_ENDED):
            self.report(Rule.TRUTHFUL, f"{client} was told {outcome}", now, call)
        earliest = first + self._deadline - TIME_TOLERANCE
        match outcome:
            case Outcome.ENDED if not call.confirmed:
                text = f"{client} was told ended without a confirmation"
                self.report(Rule.TRUTHFUL, text, now, call)
            case Outcome.ENDED:
                self._check_down(call, f"{client} was told ended", now)
            case Outcome.ENDED_UNCONFIRMED if end is None and now < earliest:
                text = f"{client} was answered before the deadline"
                self.report(Rule.ANSWERED_ONCE, text, now, call)
            case Outcome.ENDED_UNCONFIRMED if call.confirmed:
                text = f"{client} was told unconfirmed of a confirmed end"
                self.report(Rule.TRUTHFUL, text, now, call)
        latest = max(first + self._deadline, request.at)
        if call.crashed or (self.journal is not None and self.journal.trouble_seen):
            # The deadline begins anew when the first request is on record at last.
            latest = request.at + self._deadline
        if now > latest + TIME_TOLERANCE:
            self.report(Rule.ANSWERED_ONCE, f"{client} was answered after the deadline", now, call)
        if self.journal is not None:
            self.journal.answered(call, client, outcome, now)

    def refused(self, request: ObservedRequest, error: BaseException, now: float) -> None:
        """Check an error that answers a Disconnect; only trouble with the journal justifies it."""
        call = request.call
        request.answers += 1
        if request in self.requests:
            self.requests.remove(request)
        if isinstance(error, NoSuchCall) and call.forgotten:
            return
        if isinstance(error, JournalUnavailable) and self.journal is not None:
            if not call.has(DisconnectRequested):
                call.first_asked = None  # nothing was done
            if now > request.at + self._deadline + TIME_TOLERANCE:
                text = f"{request.client} was answered after the deadline"
                self.report(Rule.ANSWERED_ONCE, text, now, call)
            if self.journal.in_trouble():
                return
        self.report(Rule.ANSWERED_ONCE, f"{request.client} got {error!r}", now, request.call)

    def leg_event(self, event: LegEvent, now: float) -> None:
        """Check an event that the backend reports to control."""
        call = self.calls[event.leg]
        if call.leg_ends:
            self.report(Rule.ONE_END, f"{type(event).__name__} after the leg's Ended", now, call)
        match event:
            case Ended(confirmed=confirmed):
                call.leg_ends += 1
                call.confirmed = confirmed
                if confirmed:
                    self._check_down(call, "the backend reported a confirmed end", now)
            case Gone():
                self.report(Rule.ONE_END, "a leg is gone, and no far end was restarted", now, call)
            case Progressed() | Answered() | Changed():
                pass

    def lifecycle(self, known_call: Call, event: LifecycleEvent, now: float) -> None:
        """Check a lifecycle event that control writes down."""
        call = self.calls[known_call.leg]
        call.call = known_call
        if call.end is not None:
            self.report(Rule.ONE_END, f"{type(event).__name__} after the end event", now, call)
        call.events.append(event)
        if event.seq != len(call.events):
            text = f"event {len(call.events)} has the number {event.seq}"
            self.report(Rule.ONE_END, text, now, call)
        if self.journal is None:
            call.durable = call.acted_on = len(call.events)
        if isinstance(event, Lost):
            self.report(Rule.RECOVERED, f"the call was lost: {event.reason}", now, call)
        if not isinstance(event, Disconnected):
            return
        if not call.leg_ends:
            if call.invited:
                self.report(Rule.ONE_END, "Disconnected before its leg has ended", now, call)
            call.leg_ends, call.confirmed = 1, event.confirmed
        if event.confirmed != call.confirmed:
            self.report(Rule.TRUTHFUL, f"Disconnected says confirmed={event.confirmed}", now, call)
        self._check_cause(call, event, now)

    def _check_cause(self, call: ObservedCall, event: Disconnected, now: float) -> None:
        if call.first_asked is not None:
            first = EndedBy.CLIENT
        elif call.heard_end is not None:
            first = EndedBy.FAR_END
        else:
            first = EndedBy.DAEMON
        if event.cause.by is not first:
            self.report(Rule.CAUSE, f"by {event.cause.by}; it was {first}", now, call)
        status = (event.superseded or event.cause).sip_status
        if first is EndedBy.FAR_END:
            true_status = status == call.failed
        elif call.bye_final is not None or call.failed is not None:
            true_status = status == (call.bye_final or call.failed)
        elif event.confirmed and call.crashed and call.cancel_failed is not None:
            true_status = status == call.cancel_failed  # the far end never had the INVITE
        elif event.confirmed:
            true_status = status in (None, 200)  # by the far end's own BYE
        else:
            true_status = status in (408, 503)  # umd's own words for silence
        if not true_status:
            heard = call.bye_final or call.failed or call.heard_end or "nothing"
            self.report(Rule.CAUSE, f"status {status}; the far end sent {heard}", now, call)

    def _check_down(self, call: ObservedCall, claim: str, now: float) -> None:
        for session in call.sessions:
            if session.state not in DOWN:
                self.report(Rule.TRUTHFUL, f"{claim}; the far end is {session.state}", now, call)

    # -- crash and restart

    def crash(self, now: float) -> None:
        """Observe a crash: no client gets its answer, and what is not durable is forgotten."""
        for request in self.requests:
            request.gone = True
        self.requests.clear()
        self.wire.crash()
        assert self.journal is not None
        self.journal.crash(now)

    # -- between the steps, and at the end

    def step_done(self, now: float) -> None:
        """Check what has to follow within the step that is done."""
        self.wire.step_done(now)

    def at_rest(self, now: float, connected: bool) -> None:
        """
        Check a run in which nothing is under way any more; calls may be live.

        Args:
            connected: Whether messages get through in the end, so that both ends must agree.
        """
        for request in self.requests:
            if not request.gone:
                text = f"{request.client} was never answered"
                self.report(Rule.ANSWERED_ONCE, text, now, request.call)
        self.requests.clear()
        self.wire.at_rest(now)
        if self.journal is not None:
            self.journal.at_rest(now)
        for call in self.calls.values():
            self._check_both_ends(call, now, connected)

    def _check_both_ends(self, call: ObservedCall, now: float, connected: bool) -> None:
        up = [session.state.value for session in call.sessions if session.state not in DOWN]
        if call.end is not None and call.confirmed and up:
            text = f"the end was confirmed, and the far end is {', '.join(up)}"
            self.report(Rule.TRUTHFUL, text, now, call)
        elif call.forgotten:
            if up:
                text = "the far end has a call that umd does not know"
                self.report(Rule.RECOVERED, text, now, call)
        elif connected and (call.end is None) != bool(up):
            here = "live" if call.end is None else "ended"
            text = f"the call is {here} here, and the far end is {', '.join(up) or 'down'}"
            self.report(Rule.HEARD, text, now, call)

    def all_over(
        self,
        control: Control,
        ends: dict[str, Endpoint],
        legs: int,
        illegal_events: int,
        now: float,
    ) -> None:
        """
        Check that nothing is left when every call has ended.

        Args:
            control: Control of the umd that runs.
            ends: The SIP endpoints, by the name of their owner.
            legs: How many legs the backend carries.
            illegal_events: How many reports of backends control has refused.
        """
        left = [f"{len(list(control.live_calls()))} calls", f"{legs} legs"]
        for name, end in ends.items():
            sessions = len(list(end.sessions()))
            counts = {
                "transactions": len(end.transactions),
                "dialogs": end.dialogs,
                "sessions": sessions,
                "timers": int(end.next_due() is not None),
            }
            left += [f"{number} {kind} at {name}" for kind, number in counts.items()]
        for count in left:
            if not count.startswith("0 "):
                self.report(Rule.NOTHING_LEFT, f"{count} left", now)
        if illegal_events:
            self.report(Rule.LEGAL, f"control was given {illegal_events} illegal events", now)
        for call in self.calls.values():
            if not call.forgotten and (call.leg_ends != 1 or call.end is None):
                self.report(Rule.ONE_END, f"its leg ended {call.leg_ends} times", now, call)
