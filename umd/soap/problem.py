"""The reasons why a request can fail, by the words of the log and of `X-UMD-Outcome`."""

from __future__ import annotations

from enum import StrEnum


class Problem(StrEnum):
    """
    A reason for a failure. Each family of operations has its own fault or response code for it.
    """

    UNKNOWN_CALL = "unknown"
    INVALID_OBJECT = "invalid-object"
    NOT_DIALABLE = "not-dialable"
    NOT_ENABLED = "not-enabled"
    PIN_NOT_SENT = "pin-not-sent"
    SETTINGS_UNAVAILABLE = "settings-unavailable"
    BUSY = "busy"
    BACKEND_UNAVAILABLE = "backend-unavailable"
    JOURNAL_UNAVAILABLE = "journal-unavailable"
    IMPERSONATION_DENIED = "impersonation-denied"
    INVALID_VERSION = "invalid-version"
    INVALID_REQUEST = "invalid-request"
    INTERNAL = "internal-error"
