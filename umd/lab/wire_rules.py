"""The invariants of the wire: what may be sent when, and what must follow from what has arrived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from umd.backends.sim.network import Flight
from umd.call.events import Connected
from umd.lab.case import Case
from umd.lab.durability import Durability
from umd.lab.rules import Rule
from umd.sip.message import Request, Response

MOMENT: Final = 1e-3
"""Seconds by which two times may differ and still count as the same."""
UMD, FAR_SIDE = 0, 1
SIDES: Final = ("umd", "the far end")


class ReportsViolations(Protocol):
    """Takes the violations."""

    def wrong(self, rule: Rule, said: str, now: float, case: Case | None = None) -> None:
        """A rule is violated, by one call or by none in particular."""


class WireRules:
    """
    Judges the messages of one run.

    Args:
        referee: Takes the violations.
        cases: The calls, by SIP Call-ID.
        umd_host: The host of umd's own address.
        timeout: 64*T1, in seconds.
        durability: The rules of the journal; None where nothing is put on record.
    """

    def __init__(
        self,
        referee: ReportsViolations,
        cases: Mapping[str, Case],
        umd_host: str,
        timeout: float,
        durability: Durability | None,
    ) -> None:
        self.wrong = referee.wrong
        self._cases = cases
        self._umd_host = umd_host
        self._timeout = timeout
        self._durability = durability
        self._said_over: list[Case] = []
        """The calls whose far end has ended them in this step."""
        self._to_ack: list[Case] = []
        """The calls whose 2xx has arrived in this step."""

    def sent(self, flight: Flight, now: float) -> None:
        """A message leaves."""
        message = flight.message
        case = self._cases.get(message.call_id)
        if case is None:
            return
        side = UMD if flight.source.host == self._umd_host else FAR_SIDE
        if isinstance(message, Request):
            branch = message.via.branch or ""
            if side == UMD and self._durability is not None:
                self._durability.request_sent(case, message, now)
            if (branch, message.method) not in case.seen:
                case.seen.add((branch, message.method))
                self._see_request(case, side, message, now)
            elif message.method == "ACK":
                case.unacked = None
            return
        assert isinstance(message, Response)
        if side == UMD:
            if self._durability is not None:
                self._durability.response_sent(case, message, now)
        elif message.cseq.method == "INVITE":
            if message.status >= 300:
                case.declined.add(message.to_tag or "")
            elif message.status >= 200:
                case.answered_at.setdefault(message.to_tag or "", now)

    def _see_request(self, case: Case, side: int, request: Request, now: float) -> None:
        """A new request, not a repetition."""
        tag = (request.to_tag if side == UMD else request.from_tag) or ""
        match request.method:
            case "INVITE" if not request.to_tag:
                pass
            case "CANCEL":
                if not case.provisional and not case.crashed:
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
        knows = tag in case.over[side] and not (side == UMD and tag in case.over_while_held)
        if knows and not self._crosses(case, side):
            self.wrong(Rule.DEAD_DIALOG, f"{who} into a dialog that it knew to be over", now, case)
        if side == UMD:
            if tag not in case.acked and not case.crashed:
                self.wrong(Rule.PROTOCOL, f"{who} before its ACK", now, case)
            return
        if tag in case.declined:
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
        case = self._cases.get(message.call_id)
        if case is None:
            return
        side = UMD if flight.target.host == self._umd_host else FAR_SIDE
        if isinstance(message, Request):
            self._request_landed(case, side, message)
            return
        assert isinstance(message, Response)
        method, status = message.cseq.method, message.status
        if method == "BYE" and status >= 200:
            if side == UMD and (case.bye_final is None or case.crashed):
                case.bye_final = status  # after a crash there are two BYEs; the later one counts
            tag = message.to_tag if side == UMD else message.from_tag
            case.over[side].add(tag or "")
        elif method == "CANCEL" and side == UMD and status >= 300:
            case.cancel_failed = status
        elif method == "INVITE" and side == UMD:
            self._invite_answered(case, message, now)

    def _request_landed(self, case: Case, side: int, request: Request) -> None:
        if request.method == "BYE":
            if side == UMD:
                tag = request.from_tag or ""
                # Without a response from this phone umd has no dialog with it, and answers 481.
                if self._durability is not None and not case.has_durable(Connected):
                    case.over_while_held.add(tag)
                if tag in case.known_tags:
                    self._over(case, "BYE")
            else:
                tag = request.to_tag or ""
            case.over[side].add(tag)
        elif request.method == "ACK" and side == FAR_SIDE:
            case.ack_got.add(request.to_tag or "")

    def _invite_answered(self, case: Case, response: Response, now: float) -> None:
        case.heard_at = min(case.heard_at, now)
        case.known_tags.add(response.to_tag or "")
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
        if case.heard is None and case.end is None:
            case.heard = what
        if at_once:
            self._said_over.append(case)

    def at_rest(self, now: float) -> None:
        """Nothing is under way any more: an ACK that has waited for its record has left."""
        self._see_acks(now)

    def crash(self) -> None:
        """umd has crashed: what it had received and not put on record is as if it was lost."""
        self._said_over.clear()
        self._to_ack.clear()

    def _see_acks(self, now: float) -> None:
        for case in self._to_ack:
            if case.unacked is not None:
                self.wrong(Rule.PROTOCOL, "a 2xx to INVITE got no ACK", now, case)
                case.unacked = None
        self._to_ack.clear()

    def step_done(self, now: float) -> None:
        """A step is done: what has to follow at once has followed, or never will."""
        if self._to_ack and self._durability is None:  # else the ACK waits for the record
            self._see_acks(now)
        if self._said_over:
            for case in self._said_over:
                if case.end is None:
                    said = f"the far end said {case.heard}, and the call goes on"
                    self.wrong(Rule.HEARD, said, now, case)
            self._said_over.clear()
