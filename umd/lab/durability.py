"""The invariants of the journal: nothing is acknowledged before its record is durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from umd.call.call_id import CallId
from umd.call.events import Connected, DisconnectRequested
from umd.call.record import decode
from umd.control.control import Control
from umd.control.errors import NoSuchCall
from umd.control.outcome import Outcome
from umd.journal.store import Step, Stored
from umd.lab.case import Case
from umd.lab.rules import Rule
from umd.sip.message import Request, Response


class ReportsViolations(Protocol):
    """Takes the violations."""

    def wrong(self, rule: Rule, said: str, now: float, case: Case | None = None) -> None:
        """A rule is violated, by one call or by none in particular."""


class Durability:
    """
    Judges what leaves umd by the records that are durable.

    Args:
        referee: Takes the violations.
        cases: The calls, by SIP Call-ID.
    """

    def __init__(self, referee: ReportsViolations, cases: Mapping[str, Case]) -> None:
        self.wrong = referee.wrong
        self.in_trouble: Callable[[], bool] = lambda: False
        """Whether a commit has failed or hangs, so that umd may say that it cannot record."""
        self.trouble_seen = False
        """A commit has failed or hung in this run."""
        self._cases = cases
        self._case_of: dict[str, Case] = {}

    # -- the disk

    def records_durable(self, records: Sequence[Stored], now: float) -> None:
        """Records are durable; umd does not know yet."""
        for stored in records:
            case = self._find(stored)
            case.durable += 1
            seq = decode(stored.record)["seq"]
            if seq != case.durable:
                said = f"record {case.durable} of the call has the number {seq}"
                self.wrong(Rule.ONE_END, said, now, case)

    def records_acted_on(self, records: Sequence[Stored]) -> None:
        """umd was told that records are durable."""
        for stored in records:
            self._find(stored).acted_on += 1

    def _find(self, stored: Stored) -> Case:
        case = self._case_of.get(stored.call)
        if case is None:
            case = self._case_of[stored.call] = self._cases[decode(stored.record)["leg"]]
        return case

    # -- what leaves umd

    def request_sent(self, case: Case, request: Request, now: float) -> None:
        """umd sends a request."""
        method = request.method
        if case.behaviour.forks > 1 and method == "BYE":
            return  # to a phone that answered too late; nobody has asked for that
        if method == "ACK" and request.to_tag not in case.answered_at:
            # Of a failure. Where other phones may ring on, the call goes on after it.
            if case.end is not None and not case.end_is_durable:
                self._too_early(case, f"ACK of {case.failed} left", now)
            return
        if case.end is not None and method != "INVITE":
            return  # what is left to be cleared up after the end, such as the 2xx of another phone
        match method:
            case "INVITE":
                recorded = case.durable > 0
            case "ACK":
                recorded = case.has_durable(Connected)
            case "CANCEL" | "BYE":
                recorded = case.has_durable(DisconnectRequested)
            case _:
                return
        if not recorded:
            self._too_early(case, f"{method} left", now)

    def response_sent(self, case: Case, response: Response, now: float) -> None:
        """umd sends a response."""
        if response.cseq.method == "BYE" and response.status == 200 and not case.end_is_durable:
            self._too_early(case, "200 to BYE left", now)

    def answered(self, case: Case, client: str, outcome: Outcome, now: float) -> None:
        """A Disconnect is answered."""
        if case.end is not None and outcome is not Outcome.ENDED_UNCONFIRMED:
            recorded = case.end_is_durable
        else:
            recorded = case.has_durable(DisconnectRequested) or case.end_is_durable
        if not recorded:
            self._too_early(case, f"{client} was told {outcome}", now)

    def placed(self, case: Case, now: float) -> None:
        """The client that has placed a call is told its CallId."""
        case.acknowledged = True
        if not case.durable:
            self._too_early(case, "its client was told its CallId", now)

    def _too_early(self, case: Case, said: str, now: float) -> None:
        self.wrong(Rule.DURABLE, f"{said} before the record was durable", now, case)

    # -- crash and restart

    def crash(self, now: float) -> None:
        """umd is killed."""
        for case in self._cases.values():
            case.crash()
            if case.forgotten and case.acknowledged:
                self.wrong(Rule.RECOVERED, "an acknowledged call is on no record", now, case)

    def restarted(self, control: Control, now: float) -> None:
        """A new umd has started."""
        for case in self._cases.values():
            if case.call is None or case.forgotten:
                continue
            try:
                call = control.find(CallId(case.call.id))
            except NoSuchCall:
                self.wrong(Rule.RECOVERED, "the new umd does not know the call", now, case)
                continue
            if call.ended != (case.end is not None):
                said = f"the new umd has the call {call.state}, on record it is not so"
                self.wrong(Rule.RECOVERED, said, now, case)

    # -- at rest, and at the end

    def at_rest(self, now: float) -> None:
        """Nothing is under way any more."""
        for case in self._cases.values():
            if case.forgotten:
                continue
            if case.durable != len(case.events):
                self.wrong(Rule.RECOVERED, "an event was never put on record", now, case)
            if case.end is None and case.has(DisconnectRequested):
                said = "an end that was requested on record was never carried out"
                self.wrong(Rule.RECOVERED, said, now, case)

    def all_over(
        self, records: Mapping[str, Sequence[tuple[Stored, int]]], now: float
    ) -> None:
        """Every call has ended: its records have one beginning and one end, in this order."""
        for case in self._cases.values():
            if case.call is None or case.forgotten:
                continue
            steps = [step for _, step in records.get(case.call.id, ())]
            middle = set(steps[1:-1])
            if steps[:1] != [Step.BEGINS] or steps[-1:] != [Step.ENDS] or middle - {Step.GOES_ON}:
                self.wrong(Rule.ONE_END, f"the records of the call are {steps}", now, case)
