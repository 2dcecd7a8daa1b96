"""The base class of all errors that umd raises on purpose."""


class UmdError(Exception):
    """An expected error. Its text says what went wrong, with which thing, and what to do."""
