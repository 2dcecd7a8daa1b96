"""
The session of an INVITE that umd sent, or may have sent, before a restart.

The record has its first try. If servers asked for credentials there may have been more tries, which
are on no record, but each has the branch and CSeq that `Session._answer_challenge` gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from umd.sip.credentials import CHALLENGES, MAX_RETRIES, Login
from umd.sip.dialog import Dialog
from umd.sip.message import Request, Response
from umd.sip.outgoing import OwnRequest
from umd.sip.session.caller import CallerSession
from umd.sip.session.session import Agent, Alarm
from umd.sip.session.states import CANCELLING, GIVING_UP, PROCEEDING, Input, State
from umd.sip.transaction.hop import Hop
from umd.sip.transaction.transaction import Transaction

LAST_INVITE_CSEQ: Final = 1 + MAX_RETRIES
"""The CSeq of the last try of a session's INVITE; the first has 1."""


class RejoinedSession(CallerSession):
    """A caller's session that goes on with an INVITE from before a restart."""

    __slots__ = ("_tries", "_known_there")

    def __init__(
        self,
        agent: Agent,
        request: Request | None,
        hop: Hop,
        local_tag: str,
        *,
        state: State,
        login: Login | None = None,
        dialog: Dialog | None = None,
    ) -> None:
        super().__init__(agent, request, hop, local_tag, state=state, login=login, dialog=dialog)
        self._tries: dict[Transaction, OwnRequest] = {}
        """The tries that there may have been, in order."""
        self._known_there: dict[Transaction, bool] = {}
        """Whether the far end knows a try, once it has answered the CANCEL of that try."""

    def rejoin(self) -> None:
        """
        Expect the responses to the INVITE, which was sent before the restart, in order to end it.

        Which responses came before is unknown. A CANCEL need not wait for one: after a restart it
        cannot overtake the INVITE.
        """
        assert isinstance(self.request, OwnRequest)
        self.state = PROCEEDING
        self.local_body = self.request.body
        self._expect_tries(self.request)

    def _expect_tries(self, first: OwnRequest) -> None:
        """Expect the responses to a try and to all that may have followed it."""
        # The credentials are not needed to cancel a try.
        count = 1 if self._credentials is None else LAST_INVITE_CSEQ + 1 - first.cseq_number
        for number in range(count):
            request = first.again(first.branch + number * "a", first.cseq_number + number, ())
            self._tries[self._agent.expect(request, self._hop, self)] = request
        self._invite, self.request = next(iter(self._tries.items()))

    def _hang_up_early(
        self, before: State, status: int, reasons: Sequence[str], now: float
    ) -> None:
        if before is PROCEEDING and self._tries:
            self._cancel_next_try(now)
        else:
            super()._hang_up_early(before, status, reasons, now)

    def on_response(self, transaction: Transaction, response: Response, now: float) -> None:
        if transaction in self._tries and not self._is_outcome(transaction, response, now):
            return
        super().on_response(transaction, response, now)

    def _is_outcome(self, transaction: Transaction, response: Response, now: float) -> bool:
        """
        Return whether this response to a try tells the outcome of the INVITE.

        A challenge does not, since another try may have followed it.
        """
        if response.status in CHALLENGES and len(self._tries) > 1:
            waiting = transaction is self._invite and transaction not in self._known_there
            self._known_there[transaction] = False
            if waiting and self.state is CANCELLING:
                self._cancel_next_try(now)
            return False
        cancelled = transaction is self._invite or transaction in self._known_there
        self._invite, self.request = transaction, self._tries.pop(transaction)
        self._forget_tries()
        if response.status < 200 and self.state is CANCELLING and not cancelled:
            self._send_cancel(self.request, now)
        return True

    def _on_failure(self, response: Response, now: float) -> None:
        if self.state in (GIVING_UP, CANCELLING) and self._cancel_later_tries(response, now):
            return
        super()._on_failure(response, now)

    def _cancel_later_tries(self, response: Response, now: float) -> bool:
        """
        Cancel the tries from before the restart that may ring; return False if there are none.

        There may be some if the INVITE, sent once more, is challenged after the user has hung up.
        """
        request = self.request
        if response.status not in CHALLENGES or self._credentials is None:
            return False
        assert isinstance(request, OwnRequest)
        if self._known_there or request.cseq_number >= LAST_INVITE_CSEQ:
            return False  # the others were cancelled before
        self._advance(Input.CHALLENGE)
        self._expect_tries(request.again(f"{request.branch}a", request.cseq_number + 1, ()))
        self._cancel_next_try(now)
        return True

    def _cancel_next_try(self, now: float) -> None:
        """
        Cancel the next try that the far end has not answered for, or ask for the outcome of all.

        One after the other: the far end may accept the CANCEL of a try that it challenged a moment
        ago, and that says nothing of the next try.
        """
        timing = self._agent.timing
        for transaction, request in self._tries.items():
            if transaction not in self._known_there:
                self._invite, self.request = transaction, request
                self._send_cancel(request, now)
                return
        if self._is_unknown_there():
            # Any final response without an ACK is repeated every T2 (§13.3.1.4, §17.2.1).
            self._start_alarm(Alarm.NO_FINAL, timing.t1 + timing.t2, now)
            return
        # To a far end that knows the INVITE it is a repetition. Some peers do not repeat a final
        # response that went to the umd from before the restart, unless the INVITE is repeated.
        for transaction, request in self._tries.items():
            if self._known_there[transaction]:
                self._agent.send(request, self._hop)
        self._start_alarm(Alarm.NO_FINAL, timing.timeout, now)

    def _is_unknown_there(self) -> bool:
        """Return whether the far end says that it knows none of the tries."""
        return bool(self._tries) and not any(
            self._known_there.get(transaction, True) for transaction in self._tries
        )

    def _on_cancel_response(self, response: Response, now: float) -> None:
        super()._on_cancel_response(response, now)
        if self.state is not CANCELLING or response.status < 200 or self._invite is None:
            return
        if self._invite not in self._tries or self._invite in self._known_there:
            return
        # 481: the INVITE never arrived there, or it is over.
        self._known_there[self._invite] = response.status != 481
        if response.status == 481:
            self._cancel_next_try(now)
        else:
            self._start_alarm(Alarm.CANCEL_NEXT_TRY, self._agent.timing.t1, now)

    def on_alarm(self, alarm: Alarm, now: float) -> None:
        if alarm is Alarm.CANCEL_NEXT_TRY:
            self._alarm = None
            self._cancel_next_try(now)
        elif alarm is Alarm.NO_FINAL:
            self._alarm = None
            self._on_no_final(now, confirmed=self._is_unknown_there())
        else:
            super().on_alarm(alarm, now)

    def _settle(self) -> None:
        super()._settle()
        self._forget_tries()

    def _forget_tries(self) -> None:
        """Expect nothing more of the tries, except of the one that counts."""
        for transaction in self._tries:
            if transaction is not self._invite:
                self._agent.abandon(transaction)
        self._tries.clear()
