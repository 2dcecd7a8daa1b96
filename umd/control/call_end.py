"""Ends one call for a principal, and its partner if it is one of two bridged legs."""

from __future__ import annotations

from dataclasses import replace

from umd.call.call import Call, HangUp
from umd.call.cause import Cause, EndedBy
from umd.call.principal import Principal
from umd.control.authorisation import Authorisation
from umd.control.errors import NoSuchCall
from umd.control.outcome import Outcome
from umd.control.registry import Registry
from umd.control.settings import ControlSettings
from umd.control.teardown import Teardown
from umd.control.teardowns import Teardowns


class CallEnd:
    """
    The use case; `Control.disconnect` finds the call before it.

    Args:
        registry: finds the partner.
        authorisation: decides whether the principal may end the call.
        teardowns: hang up.
    """

    def __init__(
        self, registry: Registry, authorisation: Authorisation, teardowns: Teardowns
    ) -> None:
        self.settings = ControlSettings()
        """Used here: `ended_is_success`. Replaced on reload."""
        self._registry = registry
        self._authorisation = authorisation
        self._teardowns = teardowns

    async def end(
        self, principal: Principal, call: Call, request_id: str, by: EndedBy
    ) -> Outcome:
        """
        End a call, or join the teardown that is under way.

        Returns and raises as `Control.disconnect`.
        """
        self._authorisation.require_end(principal, call, request_id)
        if call.ended:
            return await self._already_ended(call)
        hang_up = HangUp(Cause(by=by), principal.name, request_id)
        teardown = self._teardowns.request(call, hang_up)
        if call.partners:
            return await self._end_with_partner(teardown, hang_up)
        return self._teardowns.known_outcome(teardown) or await self._teardowns.wait(teardown)

    async def _end_with_partner(self, teardown: Teardown, hang_up: HangUp) -> Outcome:
        """End the partner of a call whose teardown has begun; the weaker outcome counts."""
        teardowns = [teardown]
        partner = self._registry.partner_of(teardown.call)
        if partner is not None:
            hang_up = replace(hang_up, caused_by=teardown.call.id)
            teardowns.append(self._teardowns.request(partner, hang_up))
        outcomes = [
            self._teardowns.known_outcome(each) or await self._teardowns.wait(each)
            for each in teardowns
        ]
        return max(outcomes, key=lambda outcome: outcome is Outcome.ENDED_UNCONFIRMED)

    async def _already_ended(self, call: Call) -> Outcome:
        teardown = self._teardowns.get(call)
        if teardown is not None:  # the end is not on record yet
            outcome = await self._teardowns.wait(teardown)
            if call.asked_at:
                return outcome
        if self.settings.ended_is_success:
            return Outcome.ALREADY_ENDED
        raise NoSuchCall(f"call {call.id} has ended")
