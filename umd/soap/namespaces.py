"""The XML namespaces of the contract, in both spellings that clients use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SERVICES: Final = "://schemas.microsoft.com/exchange/services/2006/"
MESSAGES: Final = f"http{_SERVICES}messages"
TYPES: Final = f"http{_SERVICES}types"
ERRORS: Final = f"http{_SERVICES}errors"
# Microsoft's documentation once had https: in the namespaces. umd answers in the client's spelling.
MESSAGES_PASTED: Final = f"https{_SERVICES}messages"
TYPES_PASTED: Final = f"https{_SERVICES}types"

TYPES_OF: Final[Mapping[str, str]] = {MESSAGES: TYPES, MESSAGES_PASTED: TYPES_PASTED}
"""The types namespace, by the messages namespace of the same spelling."""
