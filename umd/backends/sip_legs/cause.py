"""Why a SIP session has ended, as a cause of the call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from umd.call.cause import (
    INTERWORKING,
    NORMAL_CLEARING,
    Q850_OF_STATUS,
    RECOVERY_ON_TIMER_EXPIRY,
    Cause,
    EndedBy,
)
from umd.sip import session as sip
from umd.sip.fields import find_reason

REQUEST_TIMEOUT: Final = 408
REQUEST_TERMINATED: Final = 487


def cause_of(ended: sip.Ended, requested: Cause | None) -> Cause:
    """
    Return the cause of the end of a session.

    Args:
        ended: The last event of the session.
        requested: The cause that a hang-up by umd gave, if there was one.
    """
    failed = ended.status if ended.status >= 300 else None
    if ended.by == "remote":
        q850 = _q850_of(ended.reasons)
        if q850 is None:
            q850 = NORMAL_CLEARING if failed is None else Q850_OF_STATUS.get(failed, INTERWORKING)
        return Cause(by=EndedBy.FAR_END, q850=q850, sip_status=failed, reasons=ended.reasons)
    by = EndedBy.DAEMON if requested is None else requested.by
    if not ended.confirmed:
        status = failed or REQUEST_TIMEOUT
        q850 = RECOVERY_ON_TIMER_EXPIRY  # also of a 487, which a proxy has made
        if status != REQUEST_TERMINATED:
            q850 = Q850_OF_STATUS.get(status, q850)
        return Cause(by=by, q850=q850, sip_status=status, reasons=ended.reasons)
    if requested is None:
        q850 = Q850_OF_STATUS.get(ended.status, NORMAL_CLEARING)
    else:
        q850 = requested.q850
    return Cause(by=by, q850=q850, sip_status=ended.status, reasons=ended.reasons)


def _q850_of(reasons: Sequence[str]) -> int | None:
    """Return the Q.850 cause in a Reason header, or that of a SIP status there, or None."""
    found = [reason for reason in map(find_reason, reasons) if reason is not None]
    for reason in found:
        if reason.protocol.upper() == "Q.850" and reason.cause in range(1, 128):
            return reason.cause
    for reason in found:
        if reason.protocol.upper() == "SIP" and reason.cause is not None:
            if reason.cause in Q850_OF_STATUS:
                return Q850_OF_STATUS[reason.cause]
    return None
