"""The invariants of the journal: nothing is acknowledged before its record is durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from umd.call.call_id import CallId
from umd.call.events import Connected, DisconnectRequested
from umd.call.record import decode
from umd.control.control import Control
from umd.control.errors import NoSuchCall
from umd.control.outcome import Outcome
from umd.journal.store import Step, Stored
from umd.lab.observed import ObservedCall
from umd.lab.rules import Rule, TakesViolations
from umd.sip.message import Request, Response


class JournalRules:
    """
    Judges what leaves umd, and what a new umd knows after a crash, by the records that are durable.

    Args:
        checker: Takes the violations.
        calls: The observed calls, by SIP Call-ID.
    """

    def __init__(self, checker: TakesViolations, calls: Mapping[str, ObservedCall]) -> None:
        self.report = checker.report
        self.in_trouble: Callable[[], bool] = lambda: False
        """Whether a commit has failed or hangs, so that umd may answer that it cannot record."""
        self.trouble_seen = False
        """A commit has failed or hung in this run."""
        self._calls = calls
        self._call_of: dict[str, ObservedCall] = {}

    # -- the disk

    def records_durable(self, records: Sequence[Stored], now: float) -> None:
        """Observe that records are durable; umd does not know yet."""
        for stored in records:
            call = self._find(stored)
            call.durable += 1
            seq = decode(stored.record)["seq"]
            if seq != call.durable:
                text = f"record {call.durable} of the call has the number {seq}"
                self.report(Rule.ONE_END, text, now, call)

    def records_acted_on(self, records: Sequence[Stored]) -> None:
        """Observe that umd knows that records are durable."""
        for stored in records:
            self._find(stored).acted_on += 1

    def _find(self, stored: Stored) -> ObservedCall:
        call = self._call_of.get(stored.call)
        if call is None:
            call = self._call_of[stored.call] = self._calls[decode(stored.record)["leg"]]
        return call

    # -- what leaves umd

    def request_sent(self, call: ObservedCall, request: Request, now: float) -> None:
        """Check a request that umd sends."""
        method = request.method
        if call.behaviour.forks > 1 and method == "BYE":
            return  # to a phone that answered too late, without a request of a client
        if method == "ACK" and request.to_tag not in call.answered_at:
            # The ACK of a failure. The call goes on after it if other phones may still ring; what
            # is acknowledged then may be acknowledged again.
            repeated = (request.via.branch or "", method) in call.sent
            if call.end is not None and not call.end_is_durable and not repeated:
                self._report_too_early(call, f"ACK of {call.failed} left", now)
            return
        if call.end is not None and method != "INVITE":
            return  # clears up after the end, such as the 2xx of another phone
        match method:
            case "INVITE":
                recorded = call.durable > 0
            case "ACK":
                recorded = call.has_durable(Connected)
            case "CANCEL" | "BYE":
                recorded = call.has_durable(DisconnectRequested)
            case _:
                return
        if not recorded:
            self._report_too_early(call, f"{method} left", now)

    def response_sent(self, call: ObservedCall, response: Response, now: float) -> None:
        """Check a response that umd sends."""
        if response.cseq.method == "BYE" and response.status == 200 and not call.end_is_durable:
            self._report_too_early(call, "200 to BYE left", now)

    def answered(self, call: ObservedCall, client: str, outcome: Outcome, now: float) -> None:
        """Check the answer to a Disconnect."""
        if call.end is not None and outcome is not Outcome.ENDED_UNCONFIRMED:
            recorded = call.end_is_durable
        else:
            recorded = call.has_durable(DisconnectRequested) or call.end_is_durable
        if not recorded:
            self._report_too_early(call, f"{client} was told {outcome}", now)

    def placed(self, call: ObservedCall, now: float) -> None:
        """Check that the client that placed a call may have its CallId now."""
        call.acknowledged = True
        if not call.durable:
            self._report_too_early(call, "the client has the CallId", now)

    def _report_too_early(self, call: ObservedCall, text: str, now: float) -> None:
        self.report(Rule.DURABLE, f"{text} before the record was durable", now, call)

    # -- crash and restart

    def crash(self, now: float) -> None:
        """Observe a crash: what is not durable is forgotten."""
        for call in self._calls.values():
            call.crash()
            if call.forgotten and call.acknowledged:
                self.report(Rule.RECOVERED, "an acknowledged call is on no record", now, call)

    def restarted(self, control: Control, now: float) -> None:
        """Check what a new umd knows."""
        for call in self._calls.values():
            if call.call is None or call.forgotten:
                continue
            try:
                found = control.find(CallId(call.call.id))
            except NoSuchCall:
                self.report(Rule.RECOVERED, "the new umd does not know the call", now, call)
                continue
            if found.ended != (call.end is not None):
                text = f"in the new umd the call is {found.state}, which is not what is on record"
                self.report(Rule.RECOVERED, text, now, call)

    # -- at rest, and at the end

    def at_rest(self, now: float) -> None:
        """Check a run in which nothing is under way any more."""
        for call in self._calls.values():
            if call.forgotten:
                continue
            if call.durable != len(call.events):
                self.report(Rule.RECOVERED, "an event was never put on record", now, call)
            if call.end is None and call.has(DisconnectRequested):
                text = "an end that was requested on record was never carried out"
                self.report(Rule.RECOVERED, text, now, call)

    def all_over(self, records: Mapping[str, Sequence[tuple[Stored, int]]], now: float) -> None:
        """
        Check the disk when every call has ended: each call has one beginning and one end on record.

        Args:
            records: The records of each call with their steps, in order.
        """
        for call in self._calls.values():
            if call.call is None or call.forgotten:
                continue
            steps = [step for _, step in records.get(call.call.id, ())]
            middle = set(steps[1:-1])
            if steps[:1] != [Step.BEGINS] or steps[-1:] != [Step.ENDS] or middle - {Step.GOES_ON}:
                self.report(Rule.ONE_END, f"the records of the call are {steps}", now, call)
