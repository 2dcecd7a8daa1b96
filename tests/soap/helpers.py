"""What the tests of SOAP share."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from umd.soap.contract import SoapRequest


def values_of(request: SoapRequest) -> dict[str, Any]:
    """Return the arguments of a request by the names of their fields."""
    return asdict(request.arguments)
