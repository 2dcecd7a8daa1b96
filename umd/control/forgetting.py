"""Gives up calls that umd cannot end: the record ends, and the PBX is not told."""

from __future__ import annotations

from typing import Final

from umd.call.call import Call
from umd.call.principal import Principal
from umd.control.authorisation import Authorisation
from umd.control.errors import NoSuchCall
from umd.control.journal import CallJournal, require_recordable
from umd.control.lifecycle import Lifecycle
from umd.errors import UmdError

MAX_REASON_LENGTH: Final = 500
"""Characters in the reason for which an operator gives up a call."""


class InvalidReason(UmdError):
    """A text cannot be the reason for which a call is given up."""


class Forgetting:
    """
    The use case of an operator who knows that a call is over although its PBX does not.

    Args:
        authorisation: decides whether the principal may operate umd.
        lifecycle: writes the one end event.
        journal: records it.
    """

    def __init__(
        self, authorisation: Authorisation, lifecycle: Lifecycle, journal: CallJournal
    ) -> None:
        self._authorisation = authorisation
        self._lifecycle = lifecycle
        self._journal = journal

    def forget(self, principal: Principal, call: Call, reason: str, request_id: str) -> None:
        """
        End the record of a live call, and tell its backend nothing.

        Clients that wait for its end are answered as unconfirmed. What its backend reports of the
        leg later changes nothing, and the leg is no new call while the backend lists it.

        Raises:
            MayNotOperate: the principal lacks the scope `operate`.
            InvalidReason: the reason is empty, too long, or has a character that cannot be printed.
            NoSuchCall: the call has ended.
            JournalUnavailable: the end cannot be recorded now.
            In each case nothing was done.
        """
        self._authorisation.require_operate(principal, call, request_id)
        reason = _checked_reason(reason)
        if call.ended:
            raise NoSuchCall(f"call {call.id} has ended; there is nothing to forget")
        require_recordable(self._journal)
        self._lifecycle.forget(call, principal.name, request_id, reason)


def _checked_reason(reason: str) -> str:
    reason = reason.strip()
    if not reason:
        raise InvalidReason("a reason is required: it is all that is known of such an end")
    if len(reason) > MAX_REASON_LENGTH:
        raise InvalidReason(f"the reason has more than {MAX_REASON_LENGTH} characters")
    if not reason.isprintable():
        raise InvalidReason("the reason has a character that cannot be printed")
    return reason
