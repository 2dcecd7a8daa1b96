"""The XML namespaces of the contract, and the spelling that the documentation once gave them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SERVICES: Final = "://schemas.microsoft.com/exchange/services/2006/"
MESSAGES: Final = f"http{_SERVICES}messages"
TYPES: Final = f"http{_SERVICES}types"
ERRORS: Final = f"http{_SERVICES}errors"
# What pasted documentation says instead (reference um-web-service, 2.4): answered in kind.
MESSAGES_PASTED: Final = f"https{_SERVICES}messages"
TYPES_PASTED: Final = f"https{_SERVICES}types"

TYPES_OF: Final[Mapping[str, str]] = {MESSAGES: TYPES, MESSAGES_PASTED: TYPES_PASTED}
"""The types namespace in the spelling of a messages namespace."""
