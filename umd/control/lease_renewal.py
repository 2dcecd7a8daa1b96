"""Renews the leases of calls: umd ends a call whose owner does not renew its lease in time."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from umd.call.call import Call, CallState
from umd.call.principal import Principal
from umd.control.authorisation import Authorisation
from umd.control.errors import JournalUnavailable, NoSuchCall
from umd.control.journal import CallJournal, require_recordable
from umd.control.leases import Leases
from umd.control.lifecycle import Lifecycle
from umd.control.registry import Registry
from umd.control.settings import ControlSettings


class LeaseRenewal:
    """
    The use case: `select` the calls, `renew` each, then wait until that is `recorded`.

    Args:
        registry: has the calls.
        authorisation: decides whose leases a principal may renew: those of the calls it may end.
        lifecycle: records each renewal.
        leases: the timers.
        journal: says when the renewals are durable.
        clock: limits the wait for the journal; monotonic.
        wall: the time written into events, seconds since the epoch.
    """

    def __init__(
        self,
        registry: Registry,
        authorisation: Authorisation,
        lifecycle: Lifecycle,
        leases: Leases,
        journal: CallJournal,
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        self.settings = ControlSettings()
        """Used here: `deadline`. Replaced on reload."""
        self._registry = registry
        self._authorisation = authorisation
        self._lifecycle = lifecycle
        self._leases = leases
        self._journal = journal
        self._clock = clock
        self._wall = wall

    def select(self, principal: Principal, label: str) -> list[Call]:
        """
        Return the calls with a label whose leases the principal can renew, the oldest first.

        Raises:
            NoSuchCall: there is none.
        """
        calls = [
            call for call in self._registry.labelled(label) if self._renewable(principal, call)
        ]
        if not calls:
            raise NoSuchCall(f"no live call with a lease has the label {label!r}")
        return sorted(calls, key=attrgetter("began_at"))

    def renew(self, principal: Principal, call: Call, request_id: str = "") -> bool:
        """
        Let the lease of a selected call count from now on.

        Returns:
            False if the call is ending or has ended since it was selected.

        Raises:
            JournalUnavailable: the renewal cannot be recorded; the lease counts as before.
        """
        lease = call.lease
        if lease is None or not self._renewable(principal, call):
            return False
        require_recordable(self._journal)
        renewed = call.renew(lease, principal.name, request_id, self._wall())
        self._leases.renew(call)
        self._lifecycle.record(call, renewed)
        return True

    async def recorded(self) -> None:
        """
        Return when all renewals so far survive a restart.

        Raises:
            JournalUnavailable: the journal does not answer within `call.deadline`.
        """
        waiting: Deferred[None] = Deferred()
        self._journal.flush(waiting.callback, None)
        _ = waiting.addTimeout(self.settings.deadline, self._clock)
        try:
            await waiting
        except TimeoutError:
            raise JournalUnavailable(
                "the journal has not recorded the renewals yet; a restart may lose them"
            ) from None

    def _renewable(self, principal: Principal, call: Call) -> bool:
        return (
            call.lease is not None
            and not call.ended
            and call.state is not CallState.DISCONNECTING
            and self._authorisation.may_end(principal, call)
        )
