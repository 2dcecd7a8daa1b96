"""Ends calls: records the request, hangs up through the backend, and replies to the clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from umd.backend import BackendUnavailable, NoSuchLeg
from umd.call.alias import SIP_CALL_ID
from umd.call.call import Call, CallState, HangUp
from umd.call.call_id import CallId
from umd.call.cause import RECOVERY_ON_TIMER_EXPIRY, Cause, EndedBy
from umd.call.events import EndEvent
from umd.call.leg import Ended
from umd.control.errors import JournalUnavailable
from umd.control.held_ends import HeldEnds
from umd.control.journal import CallJournal, MessageSummaries, require_recordable
from umd.control.links import BackendLink, Links
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings
from umd.control.teardown import Teardown, TeardownEvent, TeardownState
from umd.runtime.clock import Alarms

RETRY_INTERVAL: Final = 5.0
"""Seconds until `hang_up` is called again on a backend that failed to end a call."""

# Python 3.11 looks up a module's name 0.1 µs faster than a member of an enum.
_ENDED: Final = TeardownState.ENDED
_EXPIRED: Final = TeardownState.EXPIRED
_RECORDED: Final = TeardownState.RECORDED
_REQUESTED: Final = TeardownState.REQUESTED
_SENT: Final = TeardownState.SENT
_SETTLED: Final = TeardownState.SETTLED
_DEADLINE: Final = TeardownEvent.DEADLINE
_END_RECORDED: Final = TeardownEvent.END_RECORDED
_LEG_ENDED: Final = TeardownEvent.LEG_ENDED
_NOT_TAKEN: Final = TeardownEvent.NOT_TAKEN
_REQUEST_RECORDED: Final = TeardownEvent.REQUEST_RECORDED
_SEND: Final = TeardownEvent.SEND


class Teardowns:
    """
    The teardowns under way, at most one for each call.

    Args:
        links: the backends, by name.
        journal: records requests and ends.
        clock: for deadlines; monotonic.
        wall: the time written into events, seconds since the epoch.
        log: for what backends do wrong.
        summaries: of the messages of each call, recorded with its end; None: there are none.
        held: calls whose end is reported and waits for a witness; no backend is asked to end them.
    """

    def __init__(
        self,
        links: Links,
        journal: CallJournal,
        clock: IReactorTime,
        wall: Callable[[], float],
        log: FilteringBoundLogger,
        summaries: MessageSummaries | None,
        held: HeldEnds,
    ) -> None:
        self.settings = ControlSettings()
        """Used here: `deadline`. Replaced on reload."""
        self._links = links
        self._journal = journal
        self._wall = wall
        self._log = log
        self._summaries = summaries
        self._held = held
        self._by_call: dict[CallId, Teardown] = {}
        self._deadlines: Alarms[Teardown] = Alarms(clock, self._deadline_passed)
        self._retries: Alarms[Teardown] = Alarms(clock, self._retry)
        self._drained: Deferred[None] | None = None

    def get(self, call: Call) -> Teardown | None:
        """Return the teardown of a call that is not settled yet."""
        return self._by_call.get(call.id)

    async def drained(self) -> None:
        """Return when no teardown is under way."""
        if self._by_call:
            self._drained = Deferred()
            await self._drained

    def stop(self) -> None:
        """Cancel all timers."""
        self._deadlines.stop()
        self._retries.stop()

    def summarise(self, call: Call) -> None:
        """Summarise the messages of a call that a witness sees, once its Call-ID is known."""
        call_id = call.aliases.get(SIP_CALL_ID)
        if call_id is not None and self._summaries is not None and self._held.has_witness:
            self._summaries.begin(call.leg, call_id)

    # -- the course of a teardown

    def request(self, call: Call, hang_up: HangUp) -> Teardown:
        """
        Begin the teardown of a live call, or join it. If its backend was down, try it again.

        Raises:
            JournalUnavailable: the request cannot be recorded; nothing was done.
        """
        teardown = self._by_call.get(call.id)
        if teardown is not None:
            if teardown.state is _RECORDED:
                self._send(teardown)
            return teardown
        if call.state is CallState.DISCONNECTING:
            # Requested before the restart. The backend could not be asked for its legs since.
            return self.resume(call)
        if call.id in self._held.by_call:
            return self._join_end(call)
        require_recordable(self._journal)
        teardown = self._by_call[call.id] = Teardown(call)
        if self._summaries is not None:
            self._summaries.begin(call.leg, call.aliases.get(SIP_CALL_ID, ""))
        requested = call.apply(hang_up, self._wall())
        assert requested is not None
        teardown.deadline = self._deadlines.start(self.settings.deadline, teardown)
        self._journal.append(call, requested, None, self._request_recorded, teardown)
        return teardown

    def _join_end(self, call: Call) -> Teardown:
        """Let clients wait for the end of a call that is over and waits for its proof."""
        teardown = self._by_call[call.id] = Teardown(call, _SENT)
        teardown.deadline = self._deadlines.start(self.settings.deadline, teardown)
        return teardown

    def resume(self, call: Call) -> Teardown:
        """Carry out a request from before the restart, unless a client has made it again since."""
        teardown = self._by_call.get(call.id)
        if teardown is None:
            teardown = self._by_call[call.id] = Teardown(call, _RECORDED)
            self._send(teardown)
        return teardown

    def known_outcome(self, teardown: Teardown) -> Outcome | None:
        """
        Return the outcome of a teardown, or None while it is not known.

        Raises:
            BackendUnavailable: the backend has not accepted the request. umd tries again later.
        """
        state = teardown.state
        if state is _SETTLED:
            return outcome_of(teardown.call)
        if state is _EXPIRED:
            return Outcome.ENDED_UNCONFIRMED
        if state is _RECORDED:
            raise self._links[teardown.call.backend].unavailable()
        return None

    def wait(self, teardown: Teardown) -> Deferred[Outcome]:
        """
        Wait for an outcome that is not known yet, until the deadline at most.

        Returns:
            A Deferred that fails with BackendUnavailable, or with JournalUnavailable if the request
            or the end of the call was not recorded in time. A client that leaves cancels it.
        """
        if teardown.deadline is None:  # no request waited for the journal until now
            teardown.deadline = self._deadlines.start(self.settings.deadline, teardown)
        return teardown.settled()

    def record_end(self, call: Call, event: EndEvent) -> None:
        """Record the end of a call whose leg is over, then settle its teardown."""
        teardown = self._by_call.get(call.id)
        if teardown is None:
            # Requests that come before the end is on record must wait for it.
            self._by_call[call.id] = Teardown(call, _ENDED)
        else:
            teardown.advance(_LEG_ENDED)
        messages = None if self._summaries is None else self._summaries.take(call.leg)
        self._journal.append(call, event, messages, self._end_recorded, call)

    def _request_recorded(self, teardown: Teardown) -> None:
        if teardown.advance(_REQUEST_RECORDED) is _RECORDED:
            self._send(teardown)

    def _send(self, teardown: Teardown) -> None:
        """Call `hang_up` of the backend. If that fails, keep the request for later."""
        call = teardown.call
        link = self._links[call.backend]
        assert call.cause is not None
        was_down = link.down is not None
        # Before `hang_up`: the backend may report the end, or that it is down, from within it.
        teardown.advance(_SEND)
        if teardown.deadline is None:
            teardown.deadline = self._deadlines.start(self.settings.deadline, teardown)
        if call.id in self._held.by_call:
            return  # it is over, and its end waits for its proof
        try:
            link.backend.hang_up(call.leg, call.cause)
            if was_down:
                link.backend_up()
        except NoSuchLeg:
            # umd missed the end of the leg, so that nothing confirms it.
            self._log.error("backend.leg-lost", backend=link.name, call=call.id, leg=call.leg)
            lost = Cause(by=EndedBy.DAEMON, q850=RECOVERY_ON_TIMER_EXPIRY)
            link.leg_event(Ended(call.leg, lost, confirmed=False))
        except BackendUnavailable as error:
            self._not_taken(teardown)
            link.backend_down(str(error))
        except Exception:
            # A bug of the backend: what it did is unknown, so umd takes it for not done.
            self._log.exception("backend.failed", backend=link.name, call=call.id, leg=call.leg)
            if teardown.retry is None:
                teardown.retry = self._retries.start(RETRY_INTERVAL, teardown)
            self._not_taken(teardown)

    def _not_taken(self, teardown: Teardown) -> None:
        if teardown.advance(_NOT_TAKEN) is _RECORDED:
            self._fail(teardown)

    def _retry(self, teardown: Teardown) -> None:
        """Try a backend again that failed. One that is down is tried at its `backend_up`."""
        teardown.retry = None
        down = self._links[teardown.call.backend].down
        if teardown.state is _RECORDED and down is None:
            self._send(teardown)

    def _deadline_passed(self, teardown: Teardown) -> None:
        teardown.deadline = None
        if teardown.advance(_DEADLINE) is not _EXPIRED:
            self._fail(teardown)  # the journal does not answer
            return
        self._log.warning(
            "call.disconnect-unconfirmed",
            call=teardown.call.id,
            leg=teardown.call.leg,
            backend=teardown.call.backend,
            deadline_s=self.settings.deadline,
        )
        self._answer(teardown, Outcome.ENDED_UNCONFIRMED)

    def _end_recorded(self, call: Call) -> None:
        teardown = self._by_call.pop(call.id)
        teardown.advance(_END_RECORDED)
        self._answer(teardown, outcome_of(call))
        if self._drained is not None and not self._by_call:
            drained, self._drained = self._drained, None
            drained.callback(None)

    # -- when a backend or the journal fails

    def backend_down(self, link: BackendLink) -> None:
        """Answer the clients that wait for this backend, and keep their requests."""
        for teardown in self._of(link):
            if teardown.state in (_SENT, _EXPIRED):
                self._not_taken(teardown)

    def kept_for(self, link: BackendLink) -> list[Teardown]:
        """Return the teardowns that this backend has not accepted yet."""
        return [t for t in self._of(link) if t.state is _RECORDED]

    def send_kept(self, link: BackendLink, kept: list[Teardown]) -> None:
        """Hand the kept teardowns to a backend that is back."""
        for teardown in kept:
            # One end may bring about another, or the backend may go down again.
            if teardown.state is _RECORDED and link.down is None:
                self._send(teardown)

    def journal_failed(self) -> None:
        """Answer the clients that wait for the journal with an error."""
        for teardown in list(self._by_call.values()):
            if teardown.state in (_REQUESTED, _ENDED):
                self._fail(teardown)

    def dismiss(self) -> None:
        """Answer all clients with an error, as umd is about to stop."""
        for teardown in list(self._by_call.values()):
            self._fail(teardown)

    def _of(self, link: BackendLink) -> list[Teardown]:
        return [t for t in self._by_call.values() if t.call.backend == link.name]

    # -- answers

    def _answer(self, teardown: Teardown, outcome: Outcome) -> None:
        self._stop_deadline(teardown)
        while teardown.waiting:
            # One at a time: an answer can make another client leave.
            slot = next(iter(teardown.waiting))
            del teardown.waiting[slot]
            slot.callback(outcome)

    def _fail(self, teardown: Teardown) -> None:
        """Answer the clients with the reason why the teardown does not go on."""
        self._stop_deadline(teardown)
        while teardown.waiting:
            slot = next(iter(teardown.waiting))
            del teardown.waiting[slot]
            slot.errback(self._obstacle(teardown))

    def _stop_deadline(self, teardown: Teardown) -> None:
        if teardown.deadline is not None:
            teardown.deadline.cancel()
            teardown.deadline = None

    def _obstacle(self, teardown: Teardown) -> BackendUnavailable | JournalUnavailable:
        if teardown.state in (_REQUESTED, _ENDED):
            refusing = self._journal.refusing
            return JournalUnavailable(refusing or "the journal does not answer in time")
        link = self._links[teardown.call.backend]
        if teardown.state is _RECORDED:
            return link.unavailable()
        return BackendUnavailable(f"umd stops before backend {link.name} confirmed the end")


def outcome_of(call: Call) -> Outcome:
    """Return how the request that ended a call is answered."""
    return Outcome.ENDED if call.confirmed else Outcome.ENDED_UNCONFIRMED
