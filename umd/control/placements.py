"""Dials each placed call once its record is durable."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import Deferred

from umd.backend import BackendUnavailable, CannotPlace, Media
from umd.call.call import Call, CallState
from umd.call.call_id import CallId
from umd.call.cause import NETWORK_OUT_OF_ORDER, Cause, EndedBy
from umd.call.events import Placed
from umd.call.leg import Ended, Proof
from umd.control.errors import JournalUnavailable
from umd.control.journal import CallJournal
from umd.control.links import BackendLink, Links


class Placement:
    """A call that is not dialled yet, and the client that waits for it."""

    __slots__ = ("call", "media", "withdrawn", "refused", "_waiting")

    def __init__(self, call: Call, media: Media | None) -> None:
        self.call = call
        self.media = media
        self.withdrawn = False
        """Whether the client got JournalUnavailable: the call must never be dialled."""
        self.refused: BackendUnavailable | CannotPlace | None = None
        """Why the backend did not dial."""
        self._waiting: Deferred[None] | None = None

    async def dialled(self) -> None:
        """Return when the backend has dialled, or raise why it did not."""
        if self.refused is None:
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
        if self.refused is not None:
            raise self.refused

    def settle(self) -> None:
        """Answer the client, as the call is dialled, refused or over."""
        if self._waiting is not None:
            self._waiting.callback(None)

    def withdraw(self, why: str) -> None:
        """If a client waits, answer it with JournalUnavailable, and never dial the call."""
        if self._waiting is not None:
            self.withdrawn = True
            self._waiting.errback(JournalUnavailable(why))


class Placements:
    """
    The calls that are not dialled yet.

    Args:
        links: the backends, by name.
        journal: records that a call is placed.
        log: for what backends do wrong.
    """

    def __init__(self, links: Links, journal: CallJournal, log: FilteringBoundLogger) -> None:
        self._links = links
        self._journal = journal
        self._log = log
        self._by_call: dict[CallId, Placement] = {}
        """Also the refused ones, until `dialled` has raised the refusal."""

    def __contains__(self, call_id: CallId) -> bool:
        """Whether the backend of a call was not told of it yet."""
        return call_id in self._by_call

    def add(self, call: Call, event: Placed, media: Media | None) -> None:
        """Record a placed call, then dial it."""
        placement = self._by_call[call.id] = Placement(call, media)
        self._journal.append(call, event, None, self._recorded, placement)

    async def dialled(self, call: Call) -> None:
        """
        Return when the backend has dialled a call.

        Raises:
            BackendUnavailable, CannotPlace: the backend did not; the call has ended.
            JournalUnavailable: the journal failed before; the call is never dialled.
        """
        placement = self._by_call.get(call.id)
        if placement is not None:
            try:
                await placement.dialled()
            finally:
                self._by_call.pop(call.id, None)

    def journal_failed(self, why: str) -> None:
        """Withdraw the calls whose clients wait."""
        for placement in list(self._by_call.values()):
            placement.withdraw(why)

    def _recorded(self, placement: Placement) -> None:
        call = placement.call
        link = self._links[call.backend]
        if placement.withdrawn or call.state is not CallState.CONNECTING:
            # A client got a fault, or has requested the end: send nothing.
            if not call.ended:
                self._end(link, call)
        else:
            self._dial(link, placement)
        if placement.refused is None:
            self._by_call.pop(call.id, None)
        placement.settle()

    def _dial(self, link: BackendLink, placement: Placement) -> None:
        call, media = placement.call, placement.media
        try:
            if media is not None and link.carries_media is not None:
                link.carries_media.place_with_media(call.leg, call.number, media)
            else:
                link.backend.place(call.leg, call.number)
            return
        except (BackendUnavailable, CannotPlace) as error:
            placement.refused = error
        except Exception:
            self._log.exception("backend.failed", backend=link.name, call=call.id)
            placement.refused = BackendUnavailable(f"backend {link.name} has failed")
        # The journal has the placing, so it needs an end.
        if not call.ended:
            self._end(link, call)

    def _end(self, link: BackendLink, call: Call) -> None:
        cause = call.cause or Cause(by=EndedBy.DAEMON, q850=NETWORK_OUT_OF_ORDER)
        link.leg_event(Ended(call.leg, cause, shown_by=Proof.NOT_DIALLED))
