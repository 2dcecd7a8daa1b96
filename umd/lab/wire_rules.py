"""The invariants of the wire: what may be sent when, and what must follow from what has arrived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from umd.backends.sim.network import Flight
from umd.call.events import Connected
from umd.lab.journal_rules import JournalRules
from umd.lab.observed import ObservedCall
from umd.lab.rules import Rule, TakesViolations
from umd.sip.message import Request, Response

TIME_TOLERANCE: Final = 1e-3
"""Seconds by which two times may differ and still count as the same."""
UMD, FAR_SIDE = 0, 1
SIDES: Final = ("umd", "the far end")


class WireRules:
    """
    Judges the messages of one run.

    Args:
        checker: Takes the violations.
        calls: The observed calls, by SIP Call-ID.
        umd_host: The host of umd's own SIP address.
        timeout: 64*T1, in seconds.
        journal: The rules of the journal; None if umd keeps no journal.
    """

    def __init__(
        self,
        checker: TakesViolations,
        calls: Mapping[str, ObservedCall],
        umd_host: str,
        timeout: float,
        journal: JournalRules | None,
    ) -> None:
        self.report = checker.report
        self._calls = calls
        self._umd_host = umd_host
        self._timeout = timeout
        self._journal = journal
        self._ended_by_far_end: list[ObservedCall] = []
        """The calls of which umd has learned in this step that the far end has ended them."""
        self._to_ack: list[ObservedCall] = []
        """The calls whose 2xx has arrived in this step."""

    def sent(self, flight: Flight, now: float) -> None:
        """Check a message that leaves."""
        message = flight.message
        call = self._calls.get(message.call_id)
        if call is None:
            return
        side = UMD if flight.source.host == self._umd_host else FAR_SIDE
        if isinstance(message, Request):
            branch = message.via.branch or ""
            if side == UMD and self._journal is not None:
                self._journal.request_sent(call, message, now)
            if (branch, message.method) not in call.sent:
                call.sent.add((branch, message.method))
                self._check_request(call, side, message, now)
            elif message.method == "ACK":
                call.unacked = None
            return
        assert isinstance(message, Response)
        if side == UMD:
            if self._journal is not None:
                self._journal.response_sent(call, message, now)
        elif message.cseq.method == "INVITE":
            if message.status >= 300:
                call.declined.add(message.to_tag or "")
            elif message.status >= 200:
                call.answered_at.setdefault(message.to_tag or "", now)

    def _check_request(self, call: ObservedCall, side: int, request: Request, now: float) -> None:
        """Check a request that is no retransmission."""
        tag = (request.to_tag if side == UMD else request.from_tag) or ""
        match request.method:
            case "INVITE" if not request.to_tag:
                pass
            case "CANCEL":
                if not call.provisional and not call.crashed:
                    self.report(Rule.PROTOCOL, "CANCEL before any provisional response", now, call)
                if call.final:
                    self.report(Rule.PROTOCOL, "CANCEL after the final response", now, call)
                call.cancelled_at = now
            case "ACK":
                call.unacked = None
                if call.failed is None or tag in call.answered_at:
                    call.acked.add(tag)
            case method:
                self._check_dialog(call, side, tag, method, now)

    def _check_dialog(
        self, call: ObservedCall, side: int, tag: str, method: str, now: float
    ) -> None:
        """Check a request within a dialog."""
        sender = f"{SIDES[side]} sent {method}"
        knows = tag in call.over[side] and not (side == UMD and tag in call.over_while_held)
        if knows and not self._may_cross(call, side):
            text = f"{sender} into a dialog that it knew to be over"
            self.report(Rule.DEAD_DIALOG, text, now, call)
        if side == UMD:
            if tag not in call.acked and not call.crashed:
                self.report(Rule.PROTOCOL, f"{sender} before its ACK", now, call)
            return
        if tag in call.declined:
            self.report(Rule.DEAD_DIALOG, f"{sender} after its own failure response", now, call)
        if tag not in call.ack_received:
            answered_at = call.answered_at.get(tag)
            if answered_at is None:
                self.report(Rule.PROTOCOL, f"{sender} before it answered", now, call)
            elif now < answered_at + self._timeout - TIME_TOLERANCE:
                self.report(Rule.PROTOCOL, f"{sender} before it had the ACK", now, call)

    def _may_cross(self, call: ObservedCall, side: int) -> bool:
        """Whether the far end is of the kind that sends its own BYE when umd's BYE arrives."""
        return side == FAR_SIDE and call.behaviour.bye == "crosses"

    def arrived(self, flight: Flight, now: float) -> None:
        """Observe a message that arrives."""
        message = flight.message
        call = self._calls.get(message.call_id)
        if call is None:
            return
        side = UMD if flight.target.host == self._umd_host else FAR_SIDE
        if isinstance(message, Request):
            self._request_arrived(call, side, message)
            return
        assert isinstance(message, Response)
        method, status = message.cseq.method, message.status
        if method == "BYE" and status >= 200:
            if side == UMD and (call.bye_final is None or call.crashed):
                call.bye_final = status  # after a crash there are two BYEs; the later one counts
            tag = message.to_tag if side == UMD else message.from_tag
            call.over[side].add(tag or "")
        elif method == "CANCEL" and side == UMD and status >= 300:
            call.cancel_failed = status
        elif method == "INVITE" and side == UMD:
            self._invite_answered(call, message, now)

    def _request_arrived(self, call: ObservedCall, side: int, request: Request) -> None:
        if request.method == "BYE":
            if side == UMD:
                tag = request.from_tag or ""
                # Without a response from this phone umd has no dialog with it, and answers 481.
                if self._journal is not None and not call.has_durable(Connected):
                    call.over_while_held.add(tag)
                if tag in call.known_tags:
                    self._note_end(call, "BYE")
            else:
                tag = request.to_tag or ""
            call.over[side].add(tag)
        elif request.method == "ACK" and side == FAR_SIDE:
            call.ack_received.add(request.to_tag or "")

    def _invite_answered(self, call: ObservedCall, response: Response, now: float) -> None:
        call.first_response_at = min(call.first_response_at, now)
        call.known_tags.add(response.to_tag or "")
        if response.status < 200:
            call.provisional = True
            return
        call.final = True
        if response.status < 300:
            if not self._has_no_transaction(call, now):
                call.unacked = response.to_tag or ""
                self._to_ack.append(call)
        else:
            if call.failed is None:
                call.failed = response.status
            # If several phones rang, the final response of one does not show that all are down.
            self._note_end(call, str(response.status), at_once=call.behaviour.forks == 1)

    def _has_no_transaction(self, call: ObservedCall, now: float) -> bool:
        """
        Whether the transaction of the INVITE is gone: 64*T1 without a response, or after CANCEL.

        A 2xx that arrives later belongs to no transaction (RFC 3261 sections 17.1.1.2 and 9.1). It
        gets no ACK, and the callee gives up waiting for one.
        """
        timeout = self._timeout - TIME_TOLERANCE
        since = call.cancelled_at
        if since is None and call.first_response_at > call.placed_at + timeout:
            since = call.placed_at
        return since is not None and now > since + timeout

    def _note_end(self, call: ObservedCall, message: str, *, at_once: bool = True) -> None:
        """Note a message by which the far end has ended the call; `at_once` umd must follow."""
        if call.heard_end is None and call.end is None:
            call.heard_end = message
        if at_once:
            self._ended_by_far_end.append(call)

    def at_rest(self, now: float) -> None:
        """Check that no ACK waits for its record any more."""
        self._check_acks(now)

    def crash(self) -> None:
        """Forget what umd received in the step of its crash, as if the message was lost."""
        self._ended_by_far_end.clear()
        self._to_ack.clear()

    def _check_acks(self, now: float) -> None:
        for call in self._to_ack:
            if call.unacked is not None:
                self.report(Rule.PROTOCOL, "a 2xx to INVITE got no ACK", now, call)
                call.unacked = None
        self._to_ack.clear()

    def step_done(self, now: float) -> None:
        """Check what has to follow within the step that is done."""
        if self._to_ack and self._journal is None:  # else the ACK waits for the record
            self._check_acks(now)
        if self._ended_by_far_end:
            for call in self._ended_by_far_end:
                if call.end is None:
                    text = f"the far end sent {call.heard_end}, and the call goes on"
                    self.report(Rule.HEARD, text, now, call)
            self._ended_by_far_end.clear()
