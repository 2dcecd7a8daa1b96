"""Ends a call together with its partner, the other of two bridged legs."""

from __future__ import annotations

from dataclasses import replace

from umd.call.call import Call, HangUp
from umd.control.outcome import Outcome
from umd.control.registry import Registry
from umd.control.teardown import Teardown
from umd.control.teardowns import Teardowns


class Pairs:
    """
    Ends both calls of a pair by one request.

    Args:
        registry: knows the partner of a call.
        teardowns: end one call each.
    """

    def __init__(self, registry: Registry, teardowns: Teardowns) -> None:
        self._registry = registry
        self._teardowns = teardowns

    def request(self, call: Call, hang_up: HangUp) -> list[Teardown]:
        """
        Begin or join the teardown of a live call, and that of its partner if it has one.

        Raises:
            JournalUnavailable: the request cannot be recorded; nothing was done.
        """
        # Before the request: its backend may end both from within `hang_up`.
        partner = self._registry.partner_of(call)
        teardowns = [self._teardowns.request(call, hang_up)]
        if partner is not None and not partner.ended:
            following = replace(hang_up, caused_by=call.id)
            teardowns.append(self._teardowns.request(partner, following))
        return teardowns

    async def end(self, call: Call, hang_up: HangUp) -> Outcome:
        """
        End a live call and its partner.

        Returns:
            The weaker outcome of the two: OK means that every far end is down.

        Raises:
            BackendUnavailable, JournalUnavailable: as for one call.
        """
        partner = self._registry.partner_of(call)
        outcomes = [
            self._teardowns.known_outcome(teardown) or await self._teardowns.wait(teardown)
            for teardown in self.request(call, hang_up)
        ]
        is_unconfirmed = partner is not None and not partner.confirmed
        if is_unconfirmed or Outcome.ENDED_UNCONFIRMED in outcomes:
            return Outcome.ENDED_UNCONFIRMED
        return Outcome.ENDED
