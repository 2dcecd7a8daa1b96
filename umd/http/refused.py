"""The error that ends the reading of requests, and the refusals that several checks share."""

from __future__ import annotations

from collections.abc import Mapping

from umd.errors import UmdError
from umd.http.limits import Limits


class Refused(UmdError):
    """
    Raised for a request that umd does not serve. The connection is closed after the response.

    The message of the exception is the body of the response. It quotes nothing that the client
    sent.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}
        """Header fields of the response besides the usual ones."""


def body_too_long(limits: Limits) -> Refused:
    """Return the refusal of a body over the limit."""
    return Refused(413, f"The body is longer than {limits.max_body} octets.")


def target_too_long(limits: Limits) -> Refused:
    """Return the refusal of a request target over the limit."""
    return Refused(414, f"The target is longer than {limits.max_target} octets.")
