"""Ends one call for a principal, and its partner if it is one of two bridged legs."""

from __future__ import annotations

from umd.call.call import Call, HangUp
from umd.call.cause import Cause, EndedBy
from umd.call.principal import Principal
from umd.control.authorisation import Authorisation
from umd.control.errors import NoSuchCall
from umd.control.outcome import Outcome
from umd.control.pairs import Pairs
from umd.control.settings import ControlSettings
from umd.control.teardowns import Teardowns


class CallEnd:
    """
    The use case; `Control.disconnect` finds the call before it.

    Args:
        authorisation: decides whether the principal may end the call.
        teardowns: end one call each.
        pairs: end a call together with its partner.
    """

    def __init__(
        self, authorisation: Authorisation, teardowns: Teardowns, pairs: Pairs
    ) -> None:
        self.settings = ControlSettings()
        """Used here: `ended_is_success`. Replaced on reload."""
        self._authorisation = authorisation
        self._teardowns = teardowns
        self._pairs = pairs

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
        if call.partners:
            return await self._pairs.end(call, hang_up)
        teardown = self._teardowns.request(call, hang_up)
        return self._teardowns.known_outcome(teardown) or await self._teardowns.wait(teardown)

    async def _already_ended(self, call: Call) -> Outcome:
        teardown = self._teardowns.get(call)
        if teardown is not None:  # the end is not on record yet
            outcome = await self._teardowns.wait(teardown)
            if call.asked_at:
                return outcome
        if self.settings.ended_is_success:
            return Outcome.ALREADY_ENDED
        raise NoSuchCall(f"call {call.id} has ended")
